"""Columns of the store -> the matrix that the trees of `interest_catboost` read."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from feature_repo.columns import Columns, Wanted
from feature_repo.errors import StateError
from feature_repo.files import write_json
from feature_repo.schema import CONTENT_META, CONTENT_STATS, CREATOR_STATS, NUMBER, USER_STATS
from predictors.interest.crowd import Crowd
from predictors.interest.examples import RELATED
from predictors.interest.history import Histories, read_histories
from predictors.interest.space import Space
from predictors.interest.taste import Tastes, solve_tastes
from predictors.popularity.reduction import Reduction

Matrix = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

CONTENT_NUMBERS = tuple(n for n, dtype in (CONTENT_META | CREATOR_STATS | CONTENT_STATS).items() if dtype == NUMBER)
USER_NUMBERS = tuple(name for name, dtype in USER_STATS.items() if dtype == NUMBER)
LISTS = (RELATED, "recent_events", "recent_values", "recent_times")
TASTE = "taste"  # the block that the crowd's factors add to those of the space
_MADE = (
    "expected", "crowd_bias", "crowd_count", "content_quality", "content_popularity", "leniency", "liking",
    "history", "history_reaction", "last_reaction", "hours_since", "hour", "weekday",
)  # fmt: skip
_HOUR = 3.6e9  # µs


@dataclass(frozen=True, slots=True)
class TasteConfig:
    """Prior variances of the Gaussian process, in units of the noise: those of blocks by name."""

    blocks: Mapping[str, float]
    leniency: float


@dataclass(frozen=True, slots=True)
class Described:
    """Contents as the features need them: `blocks` (m, k), `priors` (m, 2 + company) of bias, log count and factors of
    company as far as content says, and the crowd's `rows` (m,).
    """

    blocks: Mapping[str, Matrix]
    priors: Matrix
    rows: Ints

    def take(self, rows: Ints) -> Described:
        """Those contents, in that order."""
        return Described({name: block[rows] for name, block in self.blocks.items()}, self.priors[rows], self.rows[rows])

    def packed(self) -> Matrix:
        """All of it side by side, (m, k): numbers of rows are whole as float32 up to 16 million."""
        return np.column_stack([*self.blocks.values(), self.priors, self.rows.astype(np.float32)])


@dataclass(frozen=True, slots=True)
class InterestAssembler:
    """The fitted map from columns to a matrix; saved as `assembler.npz` and `assembler.json`."""

    space: Space
    crowd: Crowd
    priors: Reduction
    content_ids: Mapping[str, int]
    config: TasteConfig
    embeddings: tuple[str, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        """The store's columns that it reads."""
        keys = ("content_id", "event_timestamp", "tags")
        return (*keys, *CONTENT_NUMBERS, *USER_NUMBERS, *LISTS, *self.embeddings)

    @property
    def names(self) -> tuple[str, ...]:
        """The matrix's columns."""
        likings = (f"liking:{name}" for name in (*self.space.blocks, TASTE))
        return (*_MADE, "company", *likings, *CONTENT_NUMBERS, *USER_NUMBERS)

    def __call__(self, columns: Columns) -> Matrix:
        """(n, len(names)) float32, NaN where unknown. Raises StateError where a column is missing."""
        candidates, related = self.describe(columns), self.describe(columns.related[RELATED])
        return self.matrix(columns, candidates, related, self.crowd)

    def describe(self, contents: Columns) -> Described:
        """Of each row what the features need of it as a content."""
        blocks = self.space(contents)
        unknown = len(self.content_ids)
        ids = contents.objects("content_id")
        rows = np.fromiter((self.content_ids.get(content_id, unknown) for content_id in ids), np.int64, contents.rows)
        return Described(blocks, self.priors(np.hstack(list(blocks.values()))), rows)

    @property
    def live(self) -> Wanted:
        """The columns that are read beside described contents."""
        return Wanted(frozenset((*CONTENT_NUMBERS, *USER_NUMBERS, *LISTS)), frozenset({"duration_s"}))

    @property
    def packed_width(self) -> int:
        """Columns of `Described.packed`."""
        return sum(self.space.widths) + self.priors.width + 1

    def unpacked(self, packed: Matrix) -> Described:
        """What `Described.packed` gave."""
        *blocks, priors, rows = np.split(packed, np.cumsum([*self.space.widths, self.priors.width]), axis=1)
        return Described(dict(zip(self.space.blocks, blocks, strict=True)), priors, rows[:, 0].astype(np.int64))

    def matrix(self, columns: Columns, candidates: Described, related: Described, crowd: Crowd) -> Matrix:
        """The same of described contents, by what that crowd says."""
        histories = read_histories(columns)
        tastes = self._tastes(histories, related, crowd)
        made = self._made(columns, histories, tastes, candidates, crowd)
        places = crowd.company.places(histories, _company(related, crowd))
        made["company"] = np.vecdot(_company(candidates, crowd), places[histories.of_row])
        matrix = np.empty((columns.rows, len(self.names)), np.float32, order="F")
        for column, name in enumerate(self.names):
            matrix[:, column] = made[name] if name in made else columns.numbers(name)
        return matrix

    def _tastes(self, histories: Histories, related: Described, crowd: Crowd) -> Tastes:
        blocks = {**related.blocks, TASTE: crowd.taste[related.rows]}
        expected = _expected(related, crowd).astype(np.float64)
        return solve_tastes(histories, expected, blocks, self.config.blocks, self.config.leniency, 1.0)

    def _made(
        self, columns: Columns, histories: Histories, tastes: Tastes, candidates: Described, crowd: Crowd
    ) -> dict[str, Any]:
        of_row, rows = histories.of_row, candidates.rows
        likings = tastes(of_row, {**candidates.blocks, TASTE: crowd.taste[rows]})
        expected, leniency = _expected(candidates, crowd), tastes.leniency[of_row]
        known = histories.known.sum(axis=1)
        with np.errstate(invalid="ignore"):
            mean = np.where(known > 0, histories.reactions.sum(axis=1) / np.maximum(known, 1), np.nan)
        newest = np.where(known > 0, histories.reactions[np.arange(len(known)), np.maximum(known - 1, 0)], np.nan)
        time = columns.numbers("event_timestamp")
        since = np.maximum(time - histories.last[of_row], 0.0) / _HOUR
        values = (
            expected + leniency + sum(likings.values()), crowd.bias[rows], np.log1p(crowd.counts[rows]),
            candidates.priors[:, 0], candidates.priors[:, 1], leniency, sum(likings.values()),
            known[of_row], mean[of_row], newest[of_row], np.log1p(since), time // _HOUR % 24,
            (time // (24 * _HOUR) + 3) % 7,
        )  # fmt: skip
        return dict(zip(_MADE, values, strict=True)) | {f"liking:{name}": said for name, said in likings.items()}

    def save(self, folder: Path) -> None:
        """Write the two files; the same state gives the same bytes."""
        arrays = {f"crowd.{name}": value for name, value in self.crowd.arrays().items()}
        for name in self.space.axes:
            arrays[f"axes.{name}"], arrays[f"offset.{name}"] = self.space.axes[name], self.space.offsets[name]
        arrays |= {"tag_offset": self.space.tag_offset, "priors.weights": self.priors.weights}
        np.savez(folder / "assembler.npz", allow_pickle=False, **arrays, **{"priors.offset": self.priors.offset})
        state = {
            "content_ids": list(self.content_ids),
            "taste": asdict(self.config),
            "embeddings": self.embeddings,
            "tags": self.space.tags,
            "tag_scale": self.space.tag_scale,
            "years": self.space.years,
            "alpha": self.priors.alpha,
        }
        write_json(folder / "assembler.json", state)

    @classmethod
    def load(cls, folder: Path) -> InterestAssembler:
        """Read what `save` wrote. Raises StateError where it cannot be read."""
        try:
            state = json.loads((folder / "assembler.json").read_text())
            with np.load(folder / "assembler.npz", allow_pickle=False) as arrays:
                return _restored(state, arrays)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StateError(f"{folder}: the assembler cannot be read ({error}); train again") from error


def numbered(content_ids: Sequence[str]) -> dict[str, int]:
    """The crowd's row of each content."""
    return {content_id: row for row, content_id in enumerate(content_ids)}


def _restored(state: Mapping[str, Any], arrays: Mapping[str, Any]) -> InterestAssembler:
    names = tuple(state["embeddings"])
    crowd = {name.removeprefix("crowd."): arrays[name] for name in arrays if name.startswith("crowd.")}
    space = Space(
        {name: arrays[f"axes.{name}"] for name in names},
        {name: arrays[f"offset.{name}"] for name in names},
        tuple(state["tags"]),
        arrays["tag_offset"],
        state["tag_scale"],
        tuple(state["years"]),
    )
    priors = Reduction(arrays["priors.weights"], arrays["priors.offset"], state["alpha"])
    taste = TasteConfig(**state["taste"])
    return InterestAssembler(space, Crowd.of(crowd), priors, numbered(state["content_ids"]), taste, names)


def _expected(contents: Described, crowd: Crowd) -> Matrix:
    """What an average user's reaction to each content is: of one that nobody has met, what its content promises."""
    bias = np.where(crowd.counts[contents.rows] > 0, crowd.bias[contents.rows], contents.priors[:, 0])
    expected: Matrix = (crowd.level + bias).astype(np.float32)
    return expected


def _company(contents: Described, crowd: Crowd) -> Matrix:
    """The factors of company (m, k): of a content that nobody has met, those that its content promises."""
    known = crowd.counts[contents.rows] > 0
    return np.where(known[:, None], crowd.company.factors[contents.rows], contents.priors[:, 2:])
