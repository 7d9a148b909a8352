"""What the models of interest read of a content, fitted on those that training rows met."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from embedders.user_items import id_hashes
from feature_repo.columns import Columns
from feature_repo.errors import StateError
from feature_repo.schema import CONTENT_META, NUMBER
from predictors.interest.codes import Codebook
from predictors.popularity.features import frequent_words, one_hot

Matrix = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]
Arrays = dict[str, npt.NDArray[Any]]

NUMBERS = tuple(name for name, dtype in CONTENT_META.items() if dtype == NUMBER)
WORDS = ("language", "tags")
CREATOR = "content_creator"
MOST_BUCKETS = 2**17  # rows of a table of ids, at most
LEAST_VECTORS = 30  # training vectors below which an embedding is left out


@dataclass(frozen=True, slots=True)
class Ids:
    """Rows of a table of ids by hash. `seen` are the hashes that training met, ascending; row 0 is for all others."""

    seen: Rows
    buckets: int

    @classmethod
    def fit(cls, ids: Iterable[str]) -> Ids:
        """A table of twice as many rows as there are ids, so that few share one."""
        seen = np.unique(id_hashes(sorted(set(ids))))
        return cls(seen, min(1 << int(2 * len(seen)).bit_length(), MOST_BUCKETS))

    def rows(self, ids: Iterable[str]) -> Rows:
        """The row of each id, (n,)."""
        hashes = id_hashes(list(ids))
        if not len(self.seen):
            return np.zeros(len(hashes), np.int64)
        place = np.minimum(np.searchsorted(self.seen, hashes), len(self.seen) - 1)
        return np.where(self.seen[place] == hashes, 1 + hashes % self.buckets, 0)


@dataclass(frozen=True, slots=True)
class Projection:
    """The first principal components of an embedding, all divided by the first one's deviation: the others stay small.

    `mean` is (dim,), `axes` (dim, components), both float32.
    """

    mean: Matrix
    axes: Matrix

    @classmethod
    def fit(cls, vectors: Matrix, components: int) -> Projection:
        """Fit on (n, dim) vectors, all of them finite."""
        mean = vectors.mean(axis=0, dtype=np.float64)
        centred = vectors.astype(np.float64) - mean
        values, basis = np.linalg.eigh(centred.T @ centred / len(vectors))
        axes = basis[:, ::-1][:, :components]
        signs = np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])])
        scale = 1 / np.sqrt(max(values[-1], 1e-12))
        return cls(mean.astype(np.float32), (axes * signs * scale).astype(np.float32))

    @property
    def width(self) -> int:
        """Numbers that come out."""
        return int(self.axes.shape[1])

    def __call__(self, vectors: Matrix) -> Matrix:
        """(n, dim) float32 without NaN -> (n, width)."""
        return np.asarray((vectors - self.mean) @ self.axes, np.float32)


@dataclass(frozen=True, slots=True)
class ContentInputs:
    """The fitted map from contents to numbers: facts, frequent words and each embedding's components or codes.

    `mean` and `scale` standardise the facts. A content that lacks something has zeros there, and for an embedding
    a 1 in a column that says so.
    """

    mean: Matrix
    scale: Matrix
    vocabularies: Mapping[str, tuple[str, ...]]
    projections: Mapping[str, Projection | Codebook]
    ids: Ids

    @classmethod
    def fit(
        cls,
        met: Columns,
        embeddings: Iterable[str],
        components: int,
        top_words: int,
        codes: tuple[int, int] = (0, 0),
        texts: Iterable[str] = WORDS,
    ) -> ContentInputs:
        """Fit on the contents that training rows met; `codes` are the levels and words of codes instead of components,
        `texts` the columns whose frequent words have columns of their own.

        An embedding that too few of them have is left out.
        """
        facts = np.stack([met.numbers(name) for name in NUMBERS], axis=1)
        mean, scale = standard(facts)
        vocabularies = {name: frequent_words(met.objects(name), top_words) for name in sorted(texts)}
        projections: dict[str, Projection | Codebook] = {}
        for name in sorted(embeddings):
            vectors = met.vectors(name)
            known = vectors[np.isfinite(vectors).all(axis=1)] if vectors.shape[1] else vectors[:0]
            if len(known) >= LEAST_VECTORS:
                levels, words = codes
                fitted = Codebook.fit(known, levels, words) if levels else Projection.fit(known, components)
                projections[name] = fitted
        return cls(mean, scale, vocabularies, projections, Ids.fit(met.objects("content_id")))

    @property
    def width(self) -> int:
        """How many numbers a content becomes."""
        words = sum(len(vocabulary) for vocabulary in self.vocabularies.values())
        return len(self.mean) + words + sum(1 + each.width for each in self.projections.values())

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that are read of a content, its id apart."""
        return (*NUMBERS, *self.vocabularies, *self.projections)

    def __call__(self, contents: Columns) -> Matrix:
        """(n, width) float32. Raises StateError where a vector has another length than in training."""
        facts = np.stack([contents.numbers(name) for name in NUMBERS], axis=1)
        blocks = [np.nan_to_num((facts - self.mean) * self.scale).astype(np.float32)]
        for name, vocabulary in self.vocabularies.items():
            blocks.append(np.nan_to_num(one_hot(contents.objects(name), vocabulary)))
        for name, projection in self.projections.items():
            blocks.append(_projected(name, contents, projection))
        return np.hstack(blocks)

    def arrays(self) -> Arrays:
        """Everything that is fitted but the words, by name."""
        said: Arrays = {"facts.mean": self.mean, "facts.scale": self.scale, "ids.seen": self.ids.seen}
        for name, projection in self.projections.items():
            kind = "codes" if isinstance(projection, Codebook) else "axes"
            said |= {f"{kind}:{name}.{part}": value for part, value in asdict(projection).items()}
        return said

    def facts(self) -> dict[str, Any]:
        """The rest, as JSON holds it."""
        return {"words": {k: list(v) for k, v in self.vocabularies.items()}, "buckets": self.ids.buckets}

    @classmethod
    def of(cls, arrays: Mapping[str, npt.NDArray[Any]], facts: Mapping[str, Any]) -> ContentInputs:
        """From what `arrays` and `facts` gave. Raises KeyError where something is missing."""
        projections: dict[str, Projection | Codebook] = {}
        for key in arrays:
            kind, _, name = key.removesuffix(".mean").partition(":")
            if name and key.endswith(".mean"):
                if kind == "codes":
                    projections[name] = Codebook(arrays[key], arrays[f"codes:{name}.words"])
                else:
                    projections[name] = Projection(arrays[key], arrays[f"axes:{name}.axes"])
        words = {name: tuple(said) for name, said in sorted(facts["words"].items())}
        ids = Ids(arrays["ids.seen"], int(facts["buckets"]))
        return cls(arrays["facts.mean"], arrays["facts.scale"], words, dict(sorted(projections.items())), ids)


def standard(values: npt.NDArray[np.float64]) -> tuple[Matrix, Matrix]:
    """Mean and one over the deviation of each column of (n, k), NaN left out; 0 where a column says nothing."""
    known = np.isfinite(values)
    count = np.maximum(known.sum(axis=0), 1)
    filled = np.where(known, values, 0.0)
    mean = filled.sum(axis=0) / count
    deviation = np.sqrt((np.where(known, values - mean, 0.0) ** 2).sum(axis=0) / count)
    scale = np.divide(1.0, deviation, out=np.zeros_like(deviation), where=deviation > 1e-9)
    return mean.astype(np.float32), scale.astype(np.float32)


def _projected(name: str, contents: Columns, projection: Projection | Codebook) -> Matrix:
    """The projection and, last, 1 where there is no vector."""
    vectors = contents.vectors(name)
    made = np.zeros((contents.rows, projection.width + 1), np.float32)
    known = np.isfinite(vectors).all(axis=1) & bool(vectors.shape[1])
    if vectors.shape[1] not in (0, len(projection.mean)):
        raise StateError(
            f"{name} vectors have {vectors.shape[1]} numbers, the model was trained on {len(projection.mean)}: "
            "train again after changing an embedding"
        )
    made[~known, -1] = 1.0
    if known.any():
        made[known, :-1] = projection(vectors[known])
    return made
