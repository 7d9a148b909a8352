"""Loads on a real server: what is counted, and that a stall is seen."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from feature_repo.errors import ConfigurationError, NotFoundError, UnavailableError
from feature_repo.settings import Settings
from grpc_api.client import Access
from grpc_api.load.outcome import Outcome
from grpc_api.load.plan import Subjects, draw
from grpc_api.load.run import Target, pinned, run, runner
from predictors.loaded import LoadedRelease
from tests.grpc_api.parts import IDS, TableStore
from tests.grpc_api.running import RunningServer, running

ABOUT = Subjects(IDS, [], candidates=3, k=3)
RATE, SECONDS = 100.0, 1.5


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """A server that sheds nothing, however busy the machine."""
    return settings.model_copy(update={"max_waiting": 1000, "max_waiting_s": 1000.0})


def target(port: int) -> Target:
    return Target(f"127.0.0.1:{port}", Access(), 2, 20.0)


def load(
    port: int, mix: dict[str, float], about: Subjects = ABOUT, told: Callable[[int, int], None] = lambda done, of: None
) -> Outcome:
    with runner() as loop:
        return loop.run(run(draw(about, mix, RATE, SECONDS, 0), target(port), told))


def test_every_call_is_counted_once(server: RunningServer) -> None:
    told: list[tuple[int, int]] = []
    mix = {"predict": 1.0, "similar": 1.0, "recommend": 1.0, "describe": 1.0}
    plan = draw(ABOUT, mix, RATE, SECONDS, 0)
    outcome = load(server.port, mix, told=lambda *done: told.append(done))
    assert outcome.whole.codes == {"OK": len(plan.due)}
    assert outcome.whole.times.count == outcome.lag.count == len(plan.due)
    assert sum(part.answered for part in outcome.slices) == len(plan.due)
    assert [tally.answered for tally in outcome.kinds.values()] == [int((plan.kind == n).sum()) for n in range(4)]
    assert told[0] == (0, len(plan.due))
    assert outcome.holds(20)
    assert not outcome.holds(1e-6)


def test_what_fails_is_counted_by_its_code_and_holds_no_rate(server: RunningServer, store: TableStore) -> None:
    def fail() -> None:
        raise UnavailableError("out")

    def break_store(done: int, of: int) -> None:
        store.before_read = fail

    outcome = load(server.port, {"predict": 1, "describe": 3}, told=break_store)
    assert set(outcome.kinds["predict"].codes) == {"UNAVAILABLE"}
    assert set(outcome.kinds["describe"].codes) == {"OK"}
    assert not outcome.holds(20)
    said = outcome.as_json()
    assert said["kinds"]["predict"]["answered_per_s"] == 0
    assert said["kinds"]["all"]["codes"] == dict(outcome.whole.codes)


def test_what_the_server_does_not_know_is_said_at_once(server: RunningServer) -> None:
    with pytest.raises(NotFoundError, match="weather"):
        load(server.port, {"predict": 1}, replace(ABOUT, predictor="weather"))


def test_a_stall_is_seen_by_all_who_would_have_waited(settings: Settings, release: LoadedRelease) -> None:
    stall_s = 0.8
    store = TableStore()

    def stall_once() -> None:
        store.before_read = lambda: None
        time.sleep(stall_s)

    def stall(done: int, of: int) -> None:
        store.before_read = stall_once

    with running(settings, replace(release, store=store)) as server:
        times = load(server.port, {"predict": 1}, told=stall).whole.times
    late = [share for share in range(100) if times.quantile(share / 100) > stall_s / 4]
    assert len(late) >= 20, "a caller who waits for answers would see one late call"


def test_nobody_there() -> None:
    with pytest.raises(UnavailableError, match=r"127.0.0.1:1 cannot answer"):
        load(1, {"describe": 1})


def test_pinned_for_as_long_as_it_runs() -> None:
    cores = os.sched_getaffinity(0)
    with pinned(None):
        assert os.sched_getaffinity(0) == {max(cores)}
    assert os.sched_getaffinity(0) == cores
    with pytest.raises(ConfigurationError, match="core 100000"), pinned(100_000):
        pass
