"""What became of the arms of an experiment: outcomes joined to what was shown, and how sure the difference is.

Users are what is counted: one user's answers are alike, so to count answers would make any difference look surer than
it is. Without user ids, requests are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from math import sqrt
from typing import ClassVar

import polars as pl
from scipy.special import ndtr
from scipy.stats import chisquare

from feature_repo.contracts import EventType
from predictors.experiments import Experiment

_Z = 1.959964  # of 95 %


@dataclass(frozen=True, slots=True)
class ArmOutcome:
    """An arm: `hits` of its `units` did what was hoped for at least once; `low` to `high` is Wilson's 95 % interval."""

    name: str
    release: str
    exposures: int
    units: int
    hits: int
    rate: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """An arm's rate less the first arm's, with Newcombe's 95 % interval, and the two-sided p of a pooled z-test."""

    name: str
    against: str
    difference: float
    low: float
    high: float
    p: float


@dataclass(frozen=True)
class ArmsReport:
    """`share_p` is how likely the arms' sizes are under their shares; below `SUSPECT` something is wrong with them."""

    SUSPECT: ClassVar[float] = 0.001

    experiment: str
    outcomes: tuple[str, ...]
    unit: str
    arms: tuple[ArmOutcome, ...]
    comparisons: tuple[Comparison, ...]
    share_p: float


def report(
    experiment: Experiment,
    exposures: pl.LazyFrame,
    events: pl.LazyFrame,
    outcomes: Sequence[EventType],
    horizon: timedelta,
) -> ArmsReport:
    """Judge the arms by how many of their users did one of `outcomes`.

    An event belongs to the call that its `request_id` names; without one, to an exposure of its user to its content
    at most `horizon` before. Columns as in `feature_repo.exposures.SCHEMA` and `feature_repo.events.SCHEMA`.
    """
    mine = exposures.filter(pl.col("experiment") == experiment.name)
    shown = mine.with_columns(unit=pl.coalesce("user_id", "request_id")).collect()
    hits = _hits(shown, events.filter(pl.col("event").is_in([one.value for one in outcomes])).collect(), horizon)
    arms = []
    for arm in experiment.arms:
        answered = shown.filter(pl.col("variant") == arm.name)
        units = answered["unit"].unique()
        count = int(units.is_in(hits.implode()).sum())
        rate, low, high = wilson(count, len(units))
        calls = answered["request_id"].n_unique()
        arms.append(ArmOutcome(arm.name, arm.release, calls, len(units), count, rate, low, high))
    return ArmsReport(
        experiment.name,
        tuple(one.value for one in outcomes),
        "requests" if shown["user_id"].is_null().all() else "users",
        tuple(arms),
        tuple(compare(arms[0], arm) for arm in arms[1:]),
        _share_p([arm.units for arm in arms], [arm.share for arm in experiment.arms]),
    )


def _hits(shown: pl.DataFrame, events: pl.DataFrame, horizon: timedelta) -> pl.Series:
    """The units that an outcome belongs to."""
    named = events.filter(pl.col("request_id").is_not_null()).join(shown, on="request_id")
    keys = ["user_id", "content_ids"]
    seen = shown.filter(pl.col("user_id").is_not_null()).explode("content_ids").select(*keys, "time", "unit")
    unnamed = events.filter(pl.col("request_id").is_null()).rename({"content_id": "content_ids"})
    met = unnamed.sort("timestamp").join_asof(
        seen.sort("time"), left_on="timestamp", right_on="time", by=keys, tolerance=horizon, check_sortedness=False
    )
    return pl.concat([named["unit"], met["unit"]]).drop_nulls().unique()


def wilson(hits: int, count: int) -> tuple[float, float, float]:
    """The rate and its 95 % score interval (Wilson 1927); 0 to 1 of nothing."""
    if not count:
        return 0.0, 0.0, 1.0
    rate, z2 = hits / count, _Z**2
    centre = (rate + z2 / (2 * count)) / (1 + z2 / count)
    half = _Z * sqrt(rate * (1 - rate) / count + z2 / (4 * count**2)) / (1 + z2 / count)
    return rate, max(0.0, centre - half), min(1.0, centre + half)


def compare(first: ArmOutcome, other: ArmOutcome) -> Comparison:
    """Newcombe 1998, Statistics in Medicine 17, method 10, and the z-test of two proportions with a pooled variance."""
    difference = other.rate - first.rate
    low = difference - sqrt((other.rate - other.low) ** 2 + (first.high - first.rate) ** 2)
    high = difference + sqrt((other.high - other.rate) ** 2 + (first.rate - first.low) ** 2)
    count = first.units + other.units
    pooled = (first.hits + other.hits) / count if count else 0.0
    inverse = sum(1 / arm.units for arm in (first, other) if arm.units)
    error = sqrt(pooled * (1 - pooled) * inverse)
    p = 2 * float(ndtr(-abs(difference) / error)) if error and first.units and other.units else 1.0
    return Comparison(other.name, first.name, difference, low, high, p)


def _share_p(units: Sequence[int], shares: Sequence[float]) -> float:
    """Of Pearson's test that the arms have their shares of the users."""
    total = sum(units)
    return float(chisquare(units, [total * share for share in shares]).pvalue) if total else 1.0
