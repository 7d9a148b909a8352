"""Columns of the store -> the matrix that a tree model reads, fitted on the training split only."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from feature_repo.columns import Columns
from feature_repo.errors import StateError
from feature_repo.files import write_json
from feature_repo.schema import CONTENT_META, CREATOR_STATS, NUMBER
from predictors.config import TrainConfig
from predictors.engagement import Examples
from predictors.popularity.reduction import fold_of
from predictors.popularity.stack import AS_OF, CREATORS, Stack

Matrix = npt.NDArray[np.float32]

LEAST_WORDS = 5  # training contents that a tag or language needs: a rarer one would be learnt by heart


@dataclass(frozen=True, slots=True)
class FeatureSet:
    """The columns that a model may read, and no other: `numbers` as they are, `words` (a text or a list of texts)
    as one column per frequent word, `embeddings` reduced, `creators` as what their earlier contents scored.
    """

    numbers: tuple[str, ...]
    words: tuple[str, ...] = ()
    embeddings: tuple[str, ...] = ()
    creators: tuple[str, ...] = ()  # a content's creator and its id, by which its own score is left out

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column by name."""
        return (*self.numbers, *self.words, *self.embeddings, *self.creators)


def popularity_features(embeddings: Iterable[str]) -> FeatureSet:
    """What is known of a content at publication: facts, its creator's history, its vectors. No counters."""
    known = {**CONTENT_META, **CREATOR_STATS}
    numbers = tuple(name for name, dtype in known.items() if dtype == NUMBER)
    return FeatureSet(numbers, ("language", "tags"), tuple(sorted(embeddings)), CREATORS)


@dataclass(frozen=True, slots=True)
class Assembler:
    """The fitted map from columns to a matrix; saved as `assembler.npz` and `assembler.json`."""

    features: FeatureSet
    vocabularies: Mapping[str, tuple[str, ...]]
    stack: Stack

    @classmethod
    def fit(cls, examples: Examples, features: FeatureSet, config: TrainConfig) -> tuple[Assembler, Matrix]:
        """Fit on the training rows and give the matrix of all rows; training rows have out-of-fold scores in it."""
        train = examples.splits.train
        # Each row as of its own publication: no content is then a neighbour of itself, or of an earlier one
        published = np.array([content.published_at.timestamp() * 1e6 for content in examples.contents])
        columns = replace(examples.columns, values={**examples.columns.values, AS_OF: published})
        seen, targets = columns.take(train), examples.scores[train]
        vocabularies = {name: frequent_words(seen.objects(name), config.top_words) for name in features.words}
        folds = fold_of([examples.content_ids[row] for row in train], config.folds, config.seed)
        facts = _facts(seen, features.numbers, vocabularies)
        stack, held_out = Stack.fit(
            seen, facts, targets, folds, features.embeddings, config, creators=bool(features.creators)
        )
        known = replace(features, embeddings=tuple(stack.reductions))
        assembler = cls(known, vocabularies, stack)
        matrix = assembler(columns)
        matrix[train, facts.shape[1] :] = held_out
        return assembler, matrix

    @property
    def names(self) -> tuple[str, ...]:
        """The matrix's columns."""
        words = [f"{name}={word}" for name, vocabulary in self.vocabularies.items() for word in vocabulary]
        return (*self.features.numbers, *words, *self.stack.names)

    def __call__(self, columns: Columns) -> Matrix:
        """(n, len(names)) float32, NaN where unknown; column-major, which CatBoost reads fastest.

        Raises StateError where a column is missing or a vector has another length than in training.
        """
        facts = _facts(columns, self.features.numbers, self.vocabularies)
        return np.asfortranarray(np.hstack([facts, self.stack(columns, facts)]))

    def save(self, folder: Path) -> None:
        """Write the two files; the same state gives the same bytes."""
        np.savez(folder / "assembler.npz", allow_pickle=False, **self.stack.arrays())
        write_json(
            folder / "assembler.json", {"features": asdict(self.features), "vocabularies": dict(self.vocabularies)}
        )

    @classmethod
    def load(cls, folder: Path) -> Assembler:
        """Read what `save` wrote. Raises StateError where it cannot be read."""
        try:
            state = json.loads((folder / "assembler.json").read_text())
            features = FeatureSet(**{kind: tuple(names) for kind, names in state["features"].items()})
            with np.load(folder / "assembler.npz", allow_pickle=False) as saved:
                stack = Stack.from_arrays(features.embeddings, dict(saved))
            vocabularies = {name: tuple(state["vocabularies"][name]) for name in features.words}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StateError(f"{folder}: the assembler cannot be read ({error}); train again") from error
        return cls(features, vocabularies, stack)


def _facts(columns: Columns, numbers: tuple[str, ...], vocabularies: Mapping[str, tuple[str, ...]]) -> Matrix:
    """(n, numbers and words) float32, column-major."""
    width = len(numbers) + sum(map(len, vocabularies.values()))
    matrix = np.empty((columns.rows, width), np.float32, order="F")
    for at, name in enumerate(numbers):
        matrix[:, at] = columns.numbers(name)
    at = len(numbers)
    for name, vocabulary in vocabularies.items():
        matrix[:, at : at + len(vocabulary)] = one_hot(columns.objects(name), vocabulary)
        at += len(vocabulary)
    return matrix


def _words(value: object) -> Iterable[str]:
    return (value,) if isinstance(value, str) else value  # type: ignore[return-value]


def frequent_words(values: npt.NDArray[np.object_], top: int) -> tuple[str, ...]:
    """The `top` words of most contents, most frequent first, equal ones by name."""
    counts = Counter(word for value in values if value is not None for word in set(_words(value)) if word)
    ordered = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    return tuple(word for word, count in ordered[:top] if count >= LEAST_WORDS)


def one_hot(values: npt.NDArray[np.object_], vocabulary: tuple[str, ...]) -> Matrix:
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
