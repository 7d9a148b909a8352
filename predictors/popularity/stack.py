"""Embeddings -> stacked columns of the trees: scores of simpler models that read the vectors (Wolpert 1992)."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from feature_repo.columns import Columns
from feature_repo.errors import StateError
from predictors.config import TrainConfig
from predictors.popularity import creators as history
from predictors.popularity import kernel as kernel
from predictors.popularity.creators import Creators
from predictors.popularity.kernel import JointKernel, fit_kernel
from predictors.popularity.neighbours import Neighbours
from predictors.popularity.reduction import Reduction, fit_reduction

logger = logging.getLogger(__name__)

Floats = npt.NDArray[np.float64]
Matrix = npt.NDArray[np.float32]
Arrays = Mapping[str, npt.NDArray[Any]]

LEAST_VECTORS = 30  # training vectors below which an embedding is left out: a ridge on fewer says nothing
CREATORS = ("content_creator", "content_id")
AS_OF = "event_timestamp"  # µs since 1970: the moment that a row is asked for; without it, now


@dataclass(frozen=True, slots=True)
class Stack:
    """What the creator's earlier contents scored, a ridge score and `shown` components of each embedding, its
    neighbours' mean score, how alike the picture and the text are where both are in one space, and the joint kernel's
    two scores where no content has a creator.
    """

    reductions: Mapping[str, Reduction]
    shown: int
    neighbours: Mapping[str, Neighbours]
    joint: JointKernel | None
    creators: Creators | None

    @classmethod
    def fit(
        cls,
        columns: Columns,
        facts: Matrix,
        targets: Floats,
        folds: npt.NDArray[np.intp],
        names: Sequence[str],
        config: TrainConfig,
        *,
        creators: bool,
    ) -> tuple[Stack, Matrix]:
        """Fit on the training rows, which `columns` and `facts` are, dated: the map, and their out-of-fold columns."""
        reductions: dict[str, Reduction] = {}
        reduced: dict[str, Matrix] = {}
        near: dict[str, Neighbours] = {}
        kept = max(config.pca_components, config.kernel_components if config.kernel_centres else 0)
        for name in names:
            vectors = columns.vectors(name)
            known = int(np.isfinite(vectors).all(axis=1).sum()) if vectors.shape[1] else 0
            if known < LEAST_VECTORS:
                logger.warning("%s is left out: %d training vectors, %d are needed", name, known, LEAST_VECTORS)
                continue
            reductions[name], reduced[name] = fit_reduction(vectors, targets, folds, kept)
            if config.neighbours:
                near[name] = Neighbours.fit(vectors, columns.numbers(AS_OF), targets, config.neighbours)
        makers, made = None, np.empty((len(targets), 0), np.float32)
        if creators and any(columns.objects(CREATORS[0])):
            makers = Creators.fit(*made_by(columns), columns.numbers(AS_OF), targets)
            made = makers(*made_by(columns), columns.numbers(AS_OF))
        joint, held_out = None, np.empty((len(targets), 0), np.float32)
        # Beside the creators' histories the kernel said nothing more: R2 0.575 with it, 0.583 without (docs/quality.md)
        if reductions and config.kernel_centres and makers is None:
            axes = {name: block[:, 1:] for name, block in reduced.items()}
            joint, held_out = fit_kernel(facts, axes, targets, folds, config.kernel_centres)
        stack = cls(reductions, config.pca_components, near, joint, makers)
        return stack, stack._together(columns, reduced, held_out, made)

    @property
    def names(self) -> tuple[str, ...]:
        """The columns."""
        parts = ("ridge", *(f"pc{k}" for k in range(1, self.shown + 1)))
        return (
            *(f"{name}:{part}" for name in self.reductions for part in parts),
            *(f"{name}:neighbours" for name in self.neighbours),
            *(f"{image}:cosine" for image, _ in self._pairs),
            *(f"kernel:{name}" for name in (kernel.NAMES if self.joint else ())),
            *(f"creator:{name}" for name in (history.NAMES if self.creators else ())),
        )

    def __call__(self, columns: Columns, facts: Matrix) -> Matrix:
        """(n, len(names)) float32, NaN where there is no vector."""
        reduced = {name: _reduced(name, columns, reduction) for name, reduction in self.reductions.items()}
        joint = made = np.empty((columns.rows, 0), np.float32)
        if self.creators:
            made = self.creators(*made_by(columns), as_of(columns))
        if self.joint:
            joint = self.joint(facts, {name: block[:, 1:] for name, block in reduced.items()})
        return self._together(columns, reduced, joint, made)

    def _together(self, columns: Columns, reduced: Mapping[str, Matrix], joint: Matrix, made: Matrix) -> Matrix:
        blocks = [
            *(block[:, : 1 + self.shown] for block in reduced.values()),
            *(near(_vectors(name, columns), as_of(columns))[:, None] for name, near in self.neighbours.items()),
            *(_cosines(_vectors(a, columns), _vectors(b, columns))[:, None] for a, b in self._pairs),
            joint,
            made,
        ]
        return np.hstack(blocks)

    @property
    def _pairs(self) -> list[tuple[str, str]]:
        """Embeddings of pictures and of texts by one model: their vectors lie in one space."""
        found = [(n, n.removesuffix("_image") + "_text") for n in self.reductions if n.endswith("_image")]
        dims = {name: reduction.dim for name, reduction in self.reductions.items()}
        return [(image, text) for image, text in found if dims[image] == dims.get(text)]

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """All of it, by name."""
        said: dict[str, npt.NDArray[Any]] = {"shown": np.array(self.shown)}
        for name, reduction in self.reductions.items():
            said[f"{name}.weights"], said[f"{name}.offset"] = reduction.weights, reduction.offset
            said[f"{name}.alpha"] = np.array(reduction.alpha)
        for name, near in self.neighbours.items():
            said[f"{name}.near.vectors"], said[f"{name}.near.published"] = near.vectors, near.published
            said[f"{name}.near.targets"], said[f"{name}.near.nearest"] = near.targets, np.array(near.nearest)
        if self.joint:
            for part in ("mean", "scale", "facts", "weights"):
                said[f"kernel.{part}"] = getattr(self.joint, part)
            said["kernel.level"] = np.array(self.joint.level)
            said |= {f"{name}.kernel": vectors for name, vectors in self.joint.vectors.items()}
        if self.creators:
            said |= {f"creators.{name}": array for name, array in self.creators.arrays().items()}
        return said

    @classmethod
    def from_arrays(cls, names: Sequence[str], arrays: Arrays) -> Stack:
        """Of the embeddings `names`, from what `arrays` gave. Raises KeyError where one is missing."""
        reductions = {
            n: Reduction(arrays[f"{n}.weights"], arrays[f"{n}.offset"], float(arrays[f"{n}.alpha"])) for n in names
        }
        near = {
            n: Neighbours(
                arrays[f"{n}.near.vectors"],
                arrays[f"{n}.near.published"],
                arrays[f"{n}.near.targets"],
                int(arrays[f"{n}.near.nearest"]),
            )
            for n in names
            if f"{n}.near.nearest" in arrays
        }
        joint = None
        if "kernel.level" in arrays:
            vectors = {n: arrays[f"{n}.kernel"] for n in names}
            mean, scale, facts, weights = (arrays[f"kernel.{p}"] for p in ("mean", "scale", "facts", "weights"))
            joint = JointKernel(mean, scale, facts, vectors, weights, float(arrays["kernel.level"]))
        makers = None
        if "creators.level" in arrays:
            makers = Creators.from_arrays({name: arrays[f"creators.{name}"] for name in Creators.__slots__})
        return cls(reductions, int(arrays["shown"]), near, joint, makers)


def as_of(columns: Columns) -> Floats:
    """The moments that the rows are asked for, (n,)."""
    return columns.numbers(AS_OF) if AS_OF in columns.values else np.full(columns.rows, np.inf)


def made_by(columns: Columns) -> tuple[npt.NDArray[np.object_], npt.NDArray[Any]]:
    """Creators and ids, both (n,)."""
    creator, own = CREATORS
    return columns.objects(creator), columns.objects(own).astype(str)


def _vectors(name: str, columns: Columns) -> Matrix:
    """Vectors of that name, or a NaN a row: a request in which no content has one."""
    vectors = columns.vectors(name)
    return vectors if vectors.shape[1] else np.full((len(vectors), 1), np.nan, np.float32)


def _cosines(left: Matrix, right: Matrix) -> Matrix:
    """(n,) float32, NaN where one of the two is absent."""
    if left.shape != right.shape:  # no row has the one of them
        return np.full(len(left), np.nan, np.float32)
    lengths = np.sqrt(np.vecdot(left, left) * np.vecdot(right, right))
    cosines: Matrix = np.vecdot(left, right) / np.maximum(lengths, np.float32(1e-12))
    return cosines


def _reduced(name: str, columns: Columns, reduction: Reduction) -> Matrix:
    vectors = columns.vectors(name)
    if vectors.shape[1] == 0:  # a frame or an answer in which no content has one
        return np.full((len(vectors), reduction.width), np.nan, np.float32)
    if vectors.shape[1] != reduction.dim:
        raise StateError(
            f"{name} vectors have {vectors.shape[1]} numbers, the model was trained on {reduction.dim}: "
            "train again after changing an embedding"
        )
    return reduction(vectors)
