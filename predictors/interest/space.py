"""Contents as vectors whose dot products say how alike they are: reduced embeddings, tags and age."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from feature_repo.columns import Columns
from feature_repo.errors import StateError
from predictors.popularity.reduction import steady_product

Matrix = npt.NDArray[np.float32]

LEAST_WORDS = 5  # contents that a tag needs


@dataclass(frozen=True, slots=True)
class Space:
    """Blocks by name, each scaled to a mean square length of 1 over the contents that it was fitted on.

    `axes` and `offsets` are an affine map (dim, k), (k,) for each embedding, `tags` the vocabulary and
    `tag_map` ((tags + 1), tags) centres and scales what is in it, `years` are the mean and the scale of the year.
    """

    axes: Mapping[str, Matrix]
    offsets: Mapping[str, Matrix]
    tags: tuple[str, ...]
    tag_offset: Matrix
    tag_scale: float
    years: tuple[float, float]

    @classmethod
    def fit(cls, contents: Columns, embeddings: tuple[str, ...], components: int, top_tags: int) -> Space:
        """On the contents that training has met."""
        maps = {name: _principal(contents.vectors(name), components) for name in embeddings}
        counts = Counter(tag for tags in contents.objects("tags") for tag in set(tags or ()))
        ordered = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
        tags = tuple(tag for tag, count in ordered[:top_tags] if count >= LEAST_WORDS)
        raw = _tagged(contents, tags)
        offset = raw.mean(axis=0)
        year = contents.numbers("published_year")
        years = (float(np.nanmean(year)), max(float(np.nanstd(year)), 1.0)) if np.isfinite(year).any() else (0.0, 1.0)
        return cls(
            {name: axes for name, (axes, _) in maps.items()},
            {name: shift for name, (_, shift) in maps.items()},
            tags,
            offset.astype(np.float32),
            _scale(raw - offset),
            years,
        )

    @property
    def blocks(self) -> tuple[str, ...]:
        """Their names, in order."""
        return (*self.axes, "tags", "year")

    @property
    def widths(self) -> tuple[int, ...]:
        """Columns of each block."""
        return (*(axes.shape[1] for axes in self.axes.values()), len(self.tags), 1)

    def __call__(self, contents: Columns) -> dict[str, Matrix]:
        """(m, k) float32 of each block, 0 where nothing is known. Raises StateError for vectors of another length."""
        said = {name: self._reduced(name, contents) for name in self.axes}
        said["tags"] = (_tagged(contents, self.tags) - self.tag_offset) * np.float32(self.tag_scale)
        mean, scale = self.years
        year = (contents.numbers("published_year") - mean) / scale
        said["year"] = np.nan_to_num(year, nan=0.0).astype(np.float32)[:, None]
        return said

    def _reduced(self, name: str, contents: Columns) -> Matrix:
        vectors, axes = contents.vectors(name), self.axes[name]
        if vectors.shape[1] == 0:
            return np.zeros((len(vectors), axes.shape[1]), np.float32)
        if vectors.shape[1] != len(axes):
            raise StateError(
                f"{name} vectors have {vectors.shape[1]} numbers, the model was trained on {len(axes)}: "
                "train again after changing an embedding"
            )
        reduced: Matrix = np.nan_to_num(steady_product(vectors, axes.T) + self.offsets[name], nan=0.0)
        return reduced


def _principal(vectors: Matrix, components: int) -> tuple[Matrix, Matrix]:
    known = vectors[np.isfinite(vectors).all(axis=1)].astype(np.float64)
    mean = known.mean(axis=0)
    values, basis = np.linalg.eigh((known - mean).T @ (known - mean))
    axes = basis[:, ::-1][:, :components]
    axes = axes / np.sqrt(max(values[::-1][:components].sum() / len(known), 1e-12))
    return np.ascontiguousarray(axes, np.float32), (-mean @ axes).astype(np.float32)


def _tagged(contents: Columns, tags: tuple[str, ...]) -> Matrix:
    """(m, tags): 1 over the root of how many a content has, so that each content weighs the same."""
    place = {tag: column for column, tag in enumerate(tags)}
    marked = np.zeros((contents.rows, len(tags)), np.float32)
    for row, named in enumerate(contents.objects("tags")):
        found = [place[tag] for tag in named or () if tag in place]
        if found:
            marked[row, found] = 1 / np.sqrt(len(found))
    return marked


def _scale(rows: Matrix) -> float:
    return float(1 / np.sqrt(max(np.square(rows).sum(axis=1).mean(), 1e-12)))
