"""Encounters: what a user did with a content at one meeting, and whether that counts as engaged."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from feature_repo.contracts import EventType
from feature_repo.errors import ConfigurationError
from predictors.config import require_at_least
from predictors.labels import Floats

HEADS = ("like", "share", "comment", "finish")
_ACTS = (EventType.LIKE, EventType.SHARE, EventType.COMMENT)
_UNKNOWN_VIEW = 0.5  # the reaction of a view of a content whose duration is not known
_SHOWN = (EventType.IMPRESSION, EventType.VIEW)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExampleConfig:
    """What every predictor of interest is told: what counts as engaged, its split, how it is measured."""

    stars: float = 4.0  # a rating of so many engages
    watched: float = 0.5  # share of the duration after which a view engages
    finished: float = 0.95  # share of the duration after which a view has finished
    meeting_hours: float = 24.0  # events of a user with a content so close together are one encounter
    split: str = "per-user"  # a name of interest_splits.EVENT_SPLITS, or a folder with train.csv, valid.csv, test.csv
    max_examples: int = 1_000_000  # of a larger log, the encounters of users that a hash picks
    grain: str = "1s"  # how finely training rows tell their past: Polars' durations; a coarser one needs less memory
    seed: int = 0
    resamples: int = 200  # of the bootstrap behind the 95 % intervals

    def __post_init__(self) -> None:
        require_at_least(self, {"seed": 0, "resamples": 1, "max_examples": 1, "meeting_hours": 0})
        for name in ("watched", "finished"):
            if not 0 < getattr(self, name) <= 1:
                raise ConfigurationError(f"{name} must be above 0 and at most 1, got {getattr(self, name)}")
        if self.grain not in ("1s", "1m", "1h", "1d"):
            raise ConfigurationError(f"grain must be 1s, 1m, 1h or 1d, got {self.grain!r}")

    def to_json(self) -> dict[str, Any]:
        """Everything that decides what the model is."""
        return asdict(self)


def number_encounters(events: pl.DataFrame, meeting_hours: float) -> pl.DataFrame:
    """The events, by time, each with the number of its `encounter`; encounters are numbered as they begin."""
    pair = ("user_id", "content_id")
    gap = (pl.col("timestamp") - pl.col("timestamp").shift(1).over(pair)).dt.total_seconds()
    begins = (gap.is_null() | (gap > meeting_hours * 3600)).cast(pl.Int64)
    ordered = events.sort("timestamp", "event_id").with_columns(begins=begins)
    nth = pl.col("begins").cum_sum().over(pair)
    first = pl.when(pl.col("begins") == 1).then(pl.col("begins").cum_sum() - 1)
    numbered = ordered.with_columns(nth=nth, first=first)
    return numbered.with_columns(encounter=pl.col("first").max().over(*pair, "nth")).drop("begins", "nth", "first")


def label_encounters(events: pl.DataFrame, durations: pl.DataFrame, config: ExampleConfig) -> pl.DataFrame:
    """One row an encounter, in their order: `content_id`, `user_id`, `event_timestamp` (its first event), `engaged`
    and the `HEADS`, 0 or 1, and `reaction`, that of the event which says most. A head is null where the log has no
    such event, or where the content was not shown.

    `events` are numbered, `durations` has `content_id` and `duration_s`, null where unknown.
    """
    share = pl.col("value") / pl.col("duration_s")
    viewed = pl.col("event") == EventType.VIEW.value
    rated = (pl.col("event") == EventType.RATING.value) & (pl.col("value") >= config.stars)
    acted = pl.col("event").is_in([act.value for act in _ACTS])
    met = (
        events.join(durations, on="content_id", how="left", maintain_order="left")
        .with_columns(
            engaged=(rated | acted | (viewed & (share >= config.watched))).fill_null(False),
            shown=pl.col("event").is_in([kind.value for kind in _SHOWN]),
            finish=pl.when(viewed).then(share >= config.finished),
            reaction=reaction(),
            **{act.value: pl.col("event") == act.value for act in _ACTS},
        )
        .group_by("encounter")
        .agg(
            pl.col("content_id", "user_id").first(),
            pl.col("timestamp").min().alias("event_timestamp"),
            pl.col("engaged", "shown", "reaction", *HEADS).max(),
        )
        .sort("encounter")
    )
    logged = {act.value: bool(met[act.value].any()) for act in _ACTS}
    known = {
        name: pl.when(pl.lit(there) & (pl.col("shown") | pl.col(name))).then(pl.col(name))
        for name, there in logged.items()
    }
    labels = ("engaged", "reaction", *HEADS)
    return met.with_columns(**known).select("content_id", "user_id", "event_timestamp", pl.col(labels).cast(pl.Float64))


def reactions(kinds: npt.NDArray[np.str_], values: Floats, durations: Floats) -> Floats:
    """`reaction` of n events as arrays, durations NaN where unknown: a frame costs a request more than all else."""
    watched = np.nan_to_num(np.clip(values / durations, 0.0, 1.0), nan=_UNKNOWN_VIEW)
    stars = np.clip((values - 1) / 4, 0.0, 1.0)
    rated, viewed = kinds == EventType.RATING.value, kinds == EventType.VIEW.value
    said: Floats = np.select(
        [rated, viewed], [stars, watched], (kinds != EventType.IMPRESSION.value).astype(np.float64)
    )
    return said


def reaction() -> pl.Expr:
    """How much an event says that the content was liked, in [0, 1], of the columns `event`, `value` and `duration_s`:
    one star is 0 and five are 1, of a view it is the share that was watched, an impression is 0.
    """
    kind = pl.col("event")
    watched = (pl.col("value") / pl.col("duration_s")).clip(0.0, 1.0).fill_null(_UNKNOWN_VIEW)
    return (
        pl.when(kind == EventType.RATING.value)
        .then(((pl.col("value") - 1) / 4).clip(0.0, 1.0))
        .when(kind == EventType.VIEW.value)
        .then(watched)
        .otherwise((kind != EventType.IMPRESSION.value).cast(pl.Float64))
    )
