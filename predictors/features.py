"""Columns of the store -> the matrix that a tree model reads, fitted on the training split only."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from feature_repo.columns import Columns
from feature_repo.contracts import digest
from feature_repo.errors import StateError
from feature_repo.files import write_json
from feature_repo.schema import CONTENT_META, CREATOR_STATS, NUMBER
from predictors.config import TrainConfig
from predictors.reduction import Reduction, fit_reduction, fold_of
from predictors.splits import Splits

logger = logging.getLogger(__name__)

Matrix = npt.NDArray[np.float32]

LEAST_VECTORS = 30  # training vectors below which an embedding is left out: a ridge on fewer says nothing
LEAST_WORDS = 5  # training contents that a tag or language needs: a rarer one would be learnt by heart


@dataclass(frozen=True, slots=True)
class FeatureSet:
    """The columns that a model may read, and no other: `numbers` as they are, `words` (a text or a list of texts)
    as one column per frequent word, `embeddings` reduced.
    """

    numbers: tuple[str, ...]
    words: tuple[str, ...] = ()
    embeddings: tuple[str, ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column by name."""
        return (*self.numbers, *self.words, *self.embeddings)


def popularity_features(embeddings: Iterable[str]) -> FeatureSet:
    """What is known of a content at publication: facts, its creator's history, its vectors. No counters."""
    known = {**CONTENT_META, **CREATOR_STATS}
    numbers = tuple(name for name, dtype in known.items() if dtype == NUMBER)
    return FeatureSet(numbers, ("language", "tags"), tuple(sorted(embeddings)))


@dataclass(frozen=True, slots=True)
class Examples:
    """Labelled contents: row i of `columns` is `content_ids[i]`, whose score is `scores[i]`; n rows in all."""

    columns: Columns
    content_ids: Sequence[str]
    scores: npt.NDArray[np.float64]
    splits: Splits

    def digest(self, features: FeatureSet) -> str:
        """Changes whenever a feature, an id, a score or the split does."""
        columns = self.columns
        numbers = [columns.numbers(name).tobytes() for name in features.numbers]
        words = [json.dumps(columns.objects(name).tolist()) for name in features.words]
        vectors = [columns.vectors(name).tobytes() for name in features.embeddings]
        rows = [part.tobytes() for part in (self.splits.train, self.splits.valid, self.splits.test)]
        return digest(*features.columns, *self.content_ids, self.scores.tobytes(), *rows, *numbers, *words, *vectors)


@dataclass(frozen=True, slots=True)
class Assembler:
    """The fitted map from columns to a matrix; saved as `assembler.npz` and `assembler.json`."""

    features: FeatureSet
    vocabularies: Mapping[str, tuple[str, ...]]
    reductions: Mapping[str, Reduction]

    @classmethod
    def fit(cls, examples: Examples, features: FeatureSet, config: TrainConfig) -> tuple[Assembler, Matrix]:
        """Fit on the training rows and give the matrix of all rows; training rows have out-of-fold scores in it."""
        train = examples.splits.train
        seen, targets = examples.columns.take(train), examples.scores[train]
        vocabularies = {name: _frequent(seen.objects(name), config.top_words) for name in features.words}
        folds = fold_of([examples.content_ids[row] for row in train], config.folds, config.seed)
        reductions: dict[str, Reduction] = {}
        held_out: list[Matrix] = []
        for name in features.embeddings:
            vectors = seen.vectors(name)
            known = int(np.isfinite(vectors).all(axis=1).sum()) if vectors.shape[1] else 0
            if known < LEAST_VECTORS:
                logger.warning("%s is left out: %d training vectors, %d are needed", name, known, LEAST_VECTORS)
                continue
            reductions[name], block = fit_reduction(vectors, targets, folds, config.pca_components)
            held_out.append(block)
        assembler = cls(FeatureSet(features.numbers, features.words, tuple(reductions)), vocabularies, reductions)
        matrix = assembler(examples.columns)
        if held_out:
            reduced = np.hstack(held_out)
            matrix[train, -reduced.shape[1] :] = reduced
        return assembler, matrix

    @property
    def names(self) -> tuple[str, ...]:
        """The matrix's columns."""
        words = [f"{name}={word}" for name, vocabulary in self.vocabularies.items() for word in vocabulary]
        reduced = [
            f"{name}:{column}"
            for name, reduction in self.reductions.items()
            for column in ("ridge", *(f"pc{k}" for k in range(1, reduction.width)))
        ]
        return (*self.features.numbers, *words, *reduced)

    def __call__(self, columns: Columns) -> Matrix:
        """(n, len(names)) float32, NaN where unknown; column-major, which CatBoost reads fastest.

        Raises StateError where a column is missing or a vector has another length than in training.
        """
        matrix = np.empty((columns.rows, len(self.names)), np.float32, order="F")
        at = 0
        for name in self.features.numbers:
            matrix[:, at] = columns.numbers(name)
            at += 1
        for name, vocabulary in self.vocabularies.items():
            matrix[:, at : at + len(vocabulary)] = _one_hot(columns.objects(name), vocabulary)
            at += len(vocabulary)
        for name, reduction in self.reductions.items():
            matrix[:, at : at + reduction.width] = _reduced(name, columns, reduction)
            at += reduction.width
        return matrix

    def save(self, folder: Path) -> None:
        """Write the two files; the same state gives the same bytes."""
        arrays = {}
        for name, reduction in self.reductions.items():
            arrays[f"{name}.weights"], arrays[f"{name}.offset"] = reduction.weights, reduction.offset
        np.savez(folder / "assembler.npz", allow_pickle=False, **arrays)
        alphas = {name: reduction.alpha for name, reduction in self.reductions.items()}
        state = {"features": asdict(self.features), "vocabularies": self.vocabularies, "alphas": alphas}
        write_json(folder / "assembler.json", state)

    @classmethod
    def load(cls, folder: Path) -> Assembler:
        """Read what `save` wrote. Raises StateError where it cannot be read."""
        try:
            state = json.loads((folder / "assembler.json").read_text())
            with np.load(folder / "assembler.npz", allow_pickle=False) as arrays:
                reductions = {
                    name: Reduction(arrays[f"{name}.weights"], arrays[f"{name}.offset"], state["alphas"][name])
                    for name in state["features"]["embeddings"]
                }
            features = FeatureSet(**{kind: tuple(names) for kind, names in state["features"].items()})
            vocabularies = {name: tuple(state["vocabularies"][name]) for name in features.words}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StateError(f"{folder}: the assembler cannot be read ({error}); train again") from error
        return cls(features, vocabularies, reductions)


def _words(value: object) -> Iterable[str]:
    return (value,) if isinstance(value, str) else value  # type: ignore[return-value]


def _frequent(values: npt.NDArray[np.object_], top: int) -> tuple[str, ...]:
    """The `top` words of most contents, most frequent first, equal ones by name."""
    counts = Counter(word for value in values if value is not None for word in set(_words(value)) if word)
    ordered = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    return tuple(word for word, count in ordered[:top] if count >= LEAST_WORDS)


def _one_hot(values: npt.NDArray[np.object_], vocabulary: tuple[str, ...]) -> Matrix:
    """(n, words) float32: 1 where the content has the word, NaN where it is unknown what it has."""
    place = {word: column for column, word in enumerate(vocabulary)}
    marked = np.zeros((len(values), len(vocabulary)), np.float32)
    for row, value in enumerate(values):
        if value is None:
            marked[row] = np.nan
            continue
        for word in _words(value):
            if (column := place.get(word)) is not None:
                marked[row, column] = 1.0
    return marked


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
