"""LogInteraction over a real socket: what is acknowledged is in the log, and the next Predict sees it."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import polars as pl
import pytest

from feature_repo.columns import Columns, Users
from feature_repo.contracts import Event, EventType, Interaction
from feature_repo.errors import InputError, OverloadedError, StateError, UnavailableError
from feature_repo.events import EventLog
from feature_repo.recorder import Recorder
from feature_repo.settings import Settings
from grpc_api.client import Scorer
from grpc_api.interactions import intake, sending
from grpc_api.messages.events import Acknowledged
from grpc_api.wire.events import request
from predictors.loaded import LoadedRelease
from tests.grpc_api.interactions.taking import Features
from tests.grpc_api.parts import TableStore, until
from tests.grpc_api.running import RunningServer, running

START = datetime(2025, 1, 1, tzinfo=UTC)


def event(number: int, user: str = "u1", kind: EventType = EventType.VIEW) -> Event:
    return Event(f"e{number}", Interaction(user, "c01", kind, START + timedelta(minutes=number)), "a-call")


class Seeing(TableStore):
    """The predictor adds what the user has viewed to its scores; `disk` is asked before each write."""

    def __init__(self, home: Path) -> None:
        super().__init__()
        self.features = Features(home)
        self.disk: Any = lambda: None

    def push(self, view: str, rows: pl.DataFrame) -> None:
        self.disk()
        self.features.push(view, rows)

    def read(self, service: str, content_ids: Sequence[str], user_id: Users = None, **options: Any) -> Columns:
        found = super().read(service, content_ids, **options)
        if isinstance(user_id, str):
            [row] = self.features.read("user_stats", [user_id])
            found.values["user_views"] = np.full(found.rows, row["user_views"])
        return found


@pytest.fixture
def seeing(settings: Settings) -> Seeing:
    return Seeing(settings.home)


@pytest.fixture
def server(settings: Settings, built: LoadedRelease, seeing: Seeing) -> Iterator[RunningServer]:
    release = replace(built, store=seeing)
    with running(settings, release, lambda: Recorder(settings, seeing.push)) as started:
        yield started


@pytest.fixture
def log(settings: Settings) -> EventLog:
    return EventLog(settings.interactions_dir)


def test_acknowledged_is_in_the_log_and_seen(scorer: Scorer, log: EventLog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "BATCH", 3)
    seen: list[float] = []
    told: list[Acknowledged] = []

    def look(said: Acknowledged) -> None:
        told.append(said)
        seen.append(scorer.predict(["c00"], user="u1")[0].score)

    total = scorer.log([event(number) for number in range(10)], told=look)
    assert total == Acknowledged(10, 10, 0)
    assert [said.offset for said in told] == [3, 6, 9, 10]
    assert all(score >= said.offset for score, said in zip(seen, told, strict=True))
    assert seen[-1] == 10
    found = log.scan().collect()
    assert sorted(found["event_id"]) == sorted(f"e{number}" for number in range(10))
    assert set(found["request_id"]) == {"a-call"}


def test_sent_again_they_count_once(scorer: Scorer, log: EventLog) -> None:
    assert scorer.log([event(1), event(2), event(1)]) == Acknowledged(3, 2, 1)
    assert scorer.log([event(2), event(3)]) == Acknowledged(2, 1, 1)
    assert log.count() == 3
    assert scorer.predict(["c00"], user="u1")[0].score == 3


def test_refused_one_by_one(scorer: Scorer, log: EventLog) -> None:
    far = Event("far", Interaction("u1", "c01", EventType.LIKE, datetime(2200, 1, 1, tzinfo=UTC)))
    said = scorer.log([event(1), far, event(2)])
    assert (said.accepted, [one.event_id for one in said.rejected]) == (2, ["far"])
    assert said.rejected[0].reason.startswith("timestamp: ")
    assert log.count() == 2


@pytest.fixture
def raw(server: RunningServer) -> Iterator[Any]:
    """The method, taking bytes."""
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        yield channel.stream_stream("/larder.v1.ScoringService/LogInteraction", None, None)


def message(offset: int, *events: Event) -> bytes:
    return request(offset, events).SerializeToString()


def test_a_message_that_is_none(raw: Any, log: EventLog) -> None:
    answers = raw(iter([message(1, event(1)), b"\xff\xff"]))
    next(answers)
    with pytest.raises(grpc.RpcError, match=r"request: is no larder\.v1\.LogInteractionRequest") as caught:
        next(answers)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert log.count() == 1


def test_offsets_rise(raw: Any) -> None:
    with pytest.raises(grpc.RpcError, match="offset: 5 follows 5") as caught:
        list(raw(iter([message(5), message(5)])))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_what_waits_goes_into_one_commit(raw: Any, seeing: Seeing, monkeypatch: pytest.MonkeyPatch) -> None:
    commits: list[int] = []
    arrived: list[bytes] = []
    busy, go_on = threading.Event(), threading.Event()
    record, arrive = Recorder.record, intake.Intake.record

    def counted(self: Recorder, events: Sequence[Event]) -> list[bool]:
        commits.append(len(events))
        return record(self, events)

    def noted(self: intake.Intake, payload: bytes) -> intake.Answer:
        arrived.append(payload)
        return arrive(self, payload)

    def wait() -> None:
        busy.set()
        assert go_on.wait(10)

    monkeypatch.setattr(Recorder, "record", counted)
    monkeypatch.setattr(intake.Intake, "record", noted)
    seeing.disk = wait
    streams = [raw(iter([message(1, event(1))]))]
    assert busy.wait(10)
    streams += [raw(iter([message(1, event(number))])) for number in range(2, 7)]
    assert until(lambda: len(arrived) == 6)
    go_on.set()
    assert [len(list(answers)) for answers in streams] == [1] * 6
    assert commits == [1, 5]


def test_a_disk_that_fails_acknowledges_nothing_and_tells_no_path(
    raw: Any, scorer: Scorer, seeing: Seeing, log: EventLog
) -> None:
    failing = threading.Event()

    def fail() -> None:
        if failing.is_set():
            raise UnavailableError("/secret/place: the disk is full")

    seeing.disk = fail
    failing.set()
    with pytest.raises(grpc.RpcError, match="cannot be kept at the moment") as caught:
        list(raw(iter([message(1, event(1))])))
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert "secret" not in str(caught.value)
    with pytest.raises(UnavailableError):
        scorer.log([event(1)], patience_s=0.1)
    threading.Timer(0.3, failing.clear).start()
    assert scorer.log([event(1), event(2)]).offset == 2
    assert sorted(log.scan().collect()["event_id"]) == ["e1", "e2"]
    assert scorer.predict(["c00"], user="u1")[0].score == 2


def test_too_much_at_once_is_told_when_to_come_back(scorer: Scorer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "WAITING_BYTES", 10)
    with pytest.raises(OverloadedError) as caught:
        scorer.log([event(1)], patience_s=0)
    assert caught.value.retry_s == intake.RETRY_S


def test_a_server_without_a_log(settings: Settings, release: LoadedRelease) -> None:
    with (
        running(settings, release) as server,
        Scorer(f"127.0.0.1:{server.port}") as scorer,
        pytest.raises(StateError, match="takes no events"),
    ):
        scorer.log([event(1)])


def test_a_server_started_anew_knows_what_was_taken(settings: Settings, built: LoadedRelease) -> None:
    seeing = Seeing(settings.home)
    release = replace(built, store=seeing)
    for first, taken in ((0, Acknowledged(100, 100, 0)), (50, Acknowledged(100, 50, 50))):
        with (
            running(settings, release, lambda: Recorder(settings, seeing.push)) as server,
            Scorer(f"127.0.0.1:{server.port}") as scorer,
        ):
            assert scorer.log([event(number) for number in range(first, first + 100)]) == taken
            assert scorer.predict(["c00"], user="u1")[0].score == first + 100


def test_nothing_is_sent_to_no_server() -> None:
    with Scorer("127.0.0.1:1") as scorer, pytest.raises(UnavailableError):
        scorer.log([event(1)], patience_s=0.2)


def test_other_errors_are_not_tried_again(scorer: Scorer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "BATCH", 20_000)
    opened: list[object] = []
    with pytest.raises(InputError):
        scorer.log((event(number) for number in range(20_000)), told=opened.append)
    assert not opened
