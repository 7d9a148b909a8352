from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from feature_repo import exposures
from feature_repo.contracts import Event, EventType, Interaction
from feature_repo.events import to_frame
from predictors.evaluation.arms import ArmOutcome, ArmsReport, compare, report, wilson
from predictors.experiments import Experiment, arms_of

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
EXPERIMENT = Experiment("depth", arms_of(["control=aa:0.5", "new=bb:0.5"]), NOON)


def shown(user: str | None, variant: str, request: str, contents: list[str], name: str = "depth") -> tuple[object, ...]:
    scores = [0.5] * len(contents)
    return (NOON, name, variant, "aa", "Predict", request, user, "popularity", contents, scores)


def event(user: str, content: str, after: timedelta, request: str | None = None, kind: str = "like") -> Event:
    said = Interaction(user, content, EventType(kind), NOON + after)
    return Event(f"{user}{content}{after}{request}{kind}", said, request)


def judge(rows: list[tuple[object, ...]], events: list[Event]) -> ArmsReport:
    frame = pl.DataFrame(rows, schema=exposures.SCHEMA, orient="row")
    return report(EXPERIMENT, frame.lazy(), to_frame(events).lazy(), [EventType.LIKE], DAY)


ROWS = [
    shown("u1", "control", "r1", ["c1", "c2"]),
    shown("u1", "control", "r2", ["c3"]),
    shown("u2", "control", "r3", ["c1"]),
    shown("u3", "new", "r4", ["c1", "c9"]),
    shown("u4", "new", "r5", ["c1"]),
    shown("u5", "new", "r6", ["c7"], name="another"),
]


class TestReport:
    def test_counts_users_and_calls(self) -> None:
        found = judge(ROWS, [])
        assert [(arm.name, arm.exposures, arm.units, arm.hits) for arm in found.arms] == [
            ("control", 3, 2, 0),
            ("new", 2, 2, 0),
        ]
        assert found.unit == "users"

    @pytest.mark.parametrize(
        ("one", "control", "new"),
        [
            (event("u1", "c8", 9 * DAY, "r1"), 1, 0),  # by its request, whatever it is about and when
            (event("u1", "c1", DAY, "elsewhere"), 0, 0),  # of a call outside of the experiment
            (event("u3", "c9", timedelta(hours=1)), 0, 1),
            (event("u3", "c9", 2 * DAY), 0, 0),  # too late
            (event("u3", "c9", -timedelta(hours=1)), 0, 0),  # before it was shown
            (event("u3", "c2", timedelta(hours=1)), 0, 0),  # was not shown
            (event("u9", "c1", timedelta(hours=1)), 0, 0),  # no user of the experiment
            (event("u3", "c9", timedelta(hours=1), kind="view"), 0, 0),  # not what is hoped for
        ],
    )
    def test_an_outcome_belongs_to_what_was_shown(self, one: Event, control: int, new: int) -> None:
        assert [arm.hits for arm in judge(ROWS, [one]).arms] == [control, new]

    def test_a_user_counts_once(self) -> None:
        again = [event("u1", content, timedelta(hours=n)) for content in ("c1", "c2", "c3") for n in range(3)]
        assert [arm.hits for arm in judge(ROWS, again).arms] == [1, 0]

    def test_without_users_requests_are_counted(self) -> None:
        rows = [shown(None, "control", f"r{n}", ["c1"]) for n in range(3)]
        found = judge(rows, [event("u1", "c1", timedelta(), "r0")])
        assert (found.unit, found.arms[0].units, found.arms[0].hits) == ("requests", 3, 1)

    def test_of_nothing(self) -> None:
        found = judge([], [])
        assert [(arm.units, arm.low, arm.high) for arm in found.arms] == [(0, 0, 1), (0, 0, 1)]
        assert found.comparisons[0].p == 1

    def test_shares_that_are_not_as_planned_are_seen(self) -> None:
        few, many = (
            [shown(f"{name}{n}", name, f"{name}{n}", ["c"]) for n in range(count)]
            for name, count in (("control", 100), ("new", 300))
        )
        assert judge([*few, *many], []).share_p < ArmsReport.SUSPECT
        assert judge([*few, *many[:100]], []).share_p == 1


def arm(hits: int, count: int) -> ArmOutcome:
    return ArmOutcome("a", "v", count, count, hits, *wilson(hits, count))


def test_intervals_are_those_of_the_papers() -> None:
    """Newcombe 1998: 81 of 263 in part I (Wilson, 0.2553 to 0.3662), 56 of 70 against 48 of 80 in part II."""
    assert wilson(81, 263)[1:] == pytest.approx((0.2553, 0.3662), abs=5e-5)
    found = compare(arm(48, 80), arm(56, 70))
    assert (found.difference, found.low, found.high) == pytest.approx((0.2, 0.0524, 0.3339), abs=5e-5)


def test_the_test_is_sure_when_it_may_be() -> None:
    """Of arms that are alike, a twentieth has p < 0.05, and as many intervals miss 0; of arms that differ, all do."""
    draw = np.random.default_rng(0)
    alike = [
        compare(arm(*pair[0]), arm(*pair[1]))
        for pair in (((int(a), 2000), (int(b), 2000)) for a, b in draw.binomial(2000, 0.1, (2000, 2)))
    ]
    assert np.mean([one.p < 0.05 for one in alike]) == pytest.approx(0.05, abs=0.015)
    assert np.mean([one.low > 0 or one.high < 0 for one in alike]) == pytest.approx(0.05, abs=0.015)
    assert compare(arm(200, 2000), arm(300, 2000)).p < 1e-4
