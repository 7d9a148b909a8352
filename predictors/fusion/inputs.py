"""Columns of the store -> the tensors that a fusion net reads, fitted on the training split only."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt
import torch

from feature_repo.columns import Columns
from feature_repo.errors import StateError
from feature_repo.files import write_json
from feature_repo.vectors import tokens_column
from predictors.engagement import Examples
from predictors.fusion.config import FusionConfig
from predictors.fusion.encodings import Bins, Matrix, Scale, TokenMap
from predictors.popularity.creators import Creators
from predictors.popularity.features import frequent_words, one_hot, popularity_features
from predictors.popularity.reduction import Reduction, fit_reduction, fold_of
from predictors.popularity.stack import AS_OF, CREATORS, as_of, made_by

logger = logging.getLogger(__name__)

LEAST_VECTORS = 30  # training vectors below which an embedding is left out
FACTS = "facts"  # the modality of all that is no vector


@dataclass(frozen=True, slots=True)
class Shape:
    """Numbers that a row has: in its facts, and by embedding in its vector and in each of its tokens."""

    facts: int
    vectors: Mapping[str, int]
    tokens: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Inputs:
    """n rows as a net reads them. `facts` (n, F) float32; by embedding its `vectors` (n, V) and `tokens` (n, K, C);
    `known` (n, M) bool: which modality each row has, the facts first, then the embeddings in their order.

    Everything is standardised on training rows, and zero where it is unknown.
    """

    facts: torch.Tensor
    vectors: Mapping[str, torch.Tensor]
    tokens: Mapping[str, torch.Tensor]
    known: torch.Tensor

    def take(self, rows: npt.NDArray[np.intp]) -> Inputs:
        """The given rows."""
        picked = torch.from_numpy(rows)
        vectors, tokens = ({name: t[picked] for name, t in kind.items()} for kind in (self.vectors, self.tokens))
        return Inputs(self.facts[picked], vectors, tokens, self.known[picked])

    def flat(self) -> torch.Tensor:
        """The same side by side: (n, F + V… + M + C…), tokens as their mean."""
        means = [tokens.mean(dim=1) for tokens in self.tokens.values()]
        return torch.cat([self.facts, *self.vectors.values(), self.known.float(), *means], dim=1)


@dataclass(frozen=True, slots=True)
class Encoder:
    """The fitted map from columns to `Inputs`; saved as `encoder.npz` and `encoder.json`.

    A vector becomes its ridge score and its first principal components, as `popularity` reads it; `token_columns`
    name where each embedding's tokens are: in its vector, where it keeps none. `creators` says how a creator's earlier
    contents did; there is none where no content has one.
    """

    numbers: tuple[str, ...]
    vocabularies: Mapping[str, tuple[str, ...]]
    creators: Creators | None
    bins: Bins
    facts: Scale
    reductions: Mapping[str, Reduction]
    vectors: Mapping[str, Scale]
    tokens: Mapping[str, TokenMap]
    token_columns: Mapping[str, str]

    @classmethod
    def fit(cls, examples: Examples, config: FusionConfig) -> tuple[Encoder, Inputs]:
        """Fit on the training rows and give the inputs of all rows; training rows have out-of-fold ridge scores."""
        train = examples.splits.train
        # Each row as of its own publication: a creator's history is then of earlier contents
        published = np.array([content.published_at.timestamp() * 1e6 for content in examples.contents])
        dated = replace(examples.columns, values={**examples.columns.values, AS_OF: published})
        seen, targets = dated.take(train), examples.scores[train]
        known = popularity_features(())
        vocabularies = {name: frequent_words(seen.objects(name), config.top_words) for name in known.words}
        creators = None
        if any(seen.objects(CREATORS[0])):
            creators = Creators.fit(*made_by(seen), as_of(seen), targets)
        matrix = _facts(seen, known.numbers, vocabularies, creators)
        bins = Bins.fit(matrix, config.bins)
        facts = Scale.fit(bins(matrix))
        folds = fold_of([examples.content_ids[row] for row in train], config.folds, config.seed)
        reductions: dict[str, Reduction] = {}
        scales, tokens, columns, held_out = {}, {}, {}, {}
        for name in sorted(examples.digests):
            vectors = seen.vectors(name)
            has = np.isfinite(vectors).all(axis=1) if vectors.shape[1] else np.zeros(len(train), bool)
            if has.sum() < LEAST_VECTORS:
                logger.warning("%s is left out: %d training vectors, %d are needed", name, has.sum(), LEAST_VECTORS)
                continue
            reductions[name], block = fit_reduction(vectors, targets, folds, config.components)
            scales[name] = Scale.fit(block)
            held_out[name] = scales[name](block)
            count = examples.tokens.get(name, 1)
            columns[name] = tokens_column(name) if name in examples.tokens else name
            kept = seen.vectors(columns[name])[has]
            tokens[name] = TokenMap.fit(kept.reshape(len(kept), count, -1), config.token_components)
        encoder = cls(known.numbers, vocabularies, creators, bins, facts, reductions, scales, tokens, columns)
        inputs = encoder(dated)
        for name, block in held_out.items():
            inputs.vectors[name][torch.from_numpy(train)] = torch.from_numpy(block)
        return encoder, inputs

    @property
    def shape(self) -> Shape:
        """What a net of these inputs must be shaped for."""
        vectors = {name: reduction.width for name, reduction in self.reductions.items()}
        tokens = {name: found.axes.shape[1] for name, found in self.tokens.items()}
        return Shape(len(self.facts.mean), vectors, tokens)

    @property
    def modalities(self) -> tuple[str, ...]:
        """The facts, then the embeddings."""
        return (FACTS, *self.reductions)

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column that is read."""
        facts = (*self.numbers, *self.vocabularies, *(CREATORS if self.creators else ()))
        return tuple(dict.fromkeys((*facts, *self.reductions, *self.token_columns.values())))

    def __call__(self, columns: Columns) -> Inputs:
        """Raises StateError where a column is missing or a vector has another length than in training."""
        vectors, tokens = {}, {}
        known: list[npt.NDArray[np.bool_]] = [np.ones(columns.rows, bool)]
        for name, reduction in self.reductions.items():
            values = columns.vectors(name)
            if values.shape[1] not in (0, reduction.dim):
                raise StateError(
                    f"{name} vectors have {values.shape[1]} numbers, the model was trained on {reduction.dim}: "
                    "train again after changing an embedding"
                )
            if values.shape[1] == 0:  # a frame or an answer in which no content has one
                values = np.full((columns.rows, reduction.dim), np.nan, np.float32)
            known.append(np.asarray(np.isfinite(values).all(axis=1)))
            vectors[name] = torch.from_numpy(self.vectors[name](reduction(values)))
            tokens[name] = torch.from_numpy(self.tokens[name](columns.vectors(self.token_columns[name])))
        facts = self.facts(self.bins(_facts(columns, self.numbers, self.vocabularies, self.creators)))
        return Inputs(torch.from_numpy(facts), vectors, tokens, torch.from_numpy(np.stack(known, axis=1)))

    def save(self, folder: Path) -> None:
        """Write the files; the same state gives the same bytes."""
        arrays = {f"bins.{key}": getattr(self.bins, key) for key in ("low", "width", "column")}
        if self.creators:
            arrays |= {f"creators.{key}": array for key, array in self.creators.arrays().items()}
        scales = {"facts": self.facts, **{f"{name}.vector": scale for name, scale in self.vectors.items()}}
        for name, scale in scales.items():
            arrays |= {f"{name}.mean": scale.mean, f"{name}.scale": scale.scale}
        for name, reduction in self.reductions.items():
            arrays |= {f"{name}.weights": reduction.weights, f"{name}.offset": reduction.offset}
            arrays |= {f"{name}.token.mean": self.tokens[name].mean, f"{name}.token.axes": self.tokens[name].axes}
        np.savez(folder / "encoder.npz", allow_pickle=False, **arrays)
        embeddings = {
            name: {"alpha": reduction.alpha, "tokens": self.tokens[name].count, "column": self.token_columns[name]}
            for name, reduction in self.reductions.items()
        }
        said = {"numbers": self.numbers, "vocabularies": dict(self.vocabularies), "embeddings": embeddings}
        write_json(folder / "encoder.json", said)

    @classmethod
    def load(cls, folder: Path) -> Encoder:
        """Read what `save` wrote. Raises StateError where it cannot be read."""
        try:
            state = json.loads((folder / "encoder.json").read_text())
            said = state["embeddings"]
            with np.load(folder / "encoder.npz", allow_pickle=False) as arrays:
                a = dict(arrays)
            return cls(
                tuple(state["numbers"]),
                {name: tuple(words) for name, words in state["vocabularies"].items()},
                _creators_of(a),
                Bins(a["bins.low"], a["bins.width"], a["bins.column"]),
                Scale(a["facts.mean"], a["facts.scale"]),
                {n: Reduction(a[f"{n}.weights"], a[f"{n}.offset"], said[n]["alpha"]) for n in said},
                {n: Scale(a[f"{n}.vector.mean"], a[f"{n}.vector.scale"]) for n in said},
                {n: TokenMap(said[n]["tokens"], a[f"{n}.token.mean"], a[f"{n}.token.axes"]) for n in said},
                {n: said[n]["column"] for n in said},
            )
        except (OSError, ValueError, KeyError, TypeError, BadZipFile) as error:
            raise StateError(f"{folder}: the encoder cannot be read ({error}); train again") from error


def _creators_of(arrays: Mapping[str, npt.NDArray[Any]]) -> Creators | None:
    kept = {key.removeprefix("creators."): array for key, array in arrays.items() if key.startswith("creators.")}
    return Creators.from_arrays(kept) if kept else None


def _facts(
    columns: Columns,
    numbers: Sequence[str],
    vocabularies: Mapping[str, tuple[str, ...]],
    creators: Creators | None,
) -> Matrix:
    """(n, numbers, words and `creators.NAMES`) float32, NaN where unknown."""
    blocks: list[npt.NDArray[np.floating]] = [columns.numbers(name)[:, None] for name in numbers]
    blocks += [one_hot(columns.objects(name), vocabulary) for name, vocabulary in vocabularies.items()]
    if creators:
        blocks.append(creators(*made_by(columns), as_of(columns)))
    return np.hstack(blocks).astype(np.float32)
