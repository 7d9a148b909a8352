"""What servers take: in the log once, in the features as a batch would have it, in whatever order it comes."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl
import pytest
from hypothesis import given
from hypothesis import settings as tries
from hypothesis import strategies as st

from feature_repo import recorder as recorders
from feature_repo.contracts import Event, EventType, Interaction
from feature_repo.errors import UnavailableError
from feature_repo.events import SCHEMA, EventLog, to_frame
from feature_repo.recorder import Recorder
from feature_repo.schema import RECENT, VIEWS, full_schema
from feature_repo.settings import Settings, load_settings
from feature_repo.statistics import content_stats, user_recent, user_stats

ROOT = Path(__file__).parents[2]
START = datetime(2025, 1, 1, tzinfo=UTC)
BATCH = {"content_stats": content_stats, "user_stats": user_stats, "user_recent": user_recent}


class Online:
    """Rows by view and key, under the online store's rule; `fails` makes the next writes fail."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[str, dict[str, object]]] = {view: {} for view in BATCH}
        self.fails = False

    def push(self, view: str, frame: pl.DataFrame) -> None:
        if self.fails:
            raise UnavailableError("the disk is gone")
        assert dict(frame.schema) == full_schema(view)
        stored = self.rows[view]
        for row in frame.iter_rows(named=True):
            key = row[f"{VIEWS[view][0]}_id"]
            if key not in stored or _age(row) >= _age(stored[key]):
                stored[key] = row

    def features(self, view: str) -> list[dict[str, object]]:
        """Without the times at which rows were made, by key."""
        return [{k: v for k, v in row.items() if k != "created"} for _, row in sorted(self.rows[view].items())]


def _age(row: dict[str, object]) -> tuple[object, object]:
    return row["event_timestamp"], row["created"]


def by_batch(view: str, log: pl.DataFrame) -> list[dict[str, object]]:
    """The last row of each key that `statistics` makes of the whole log."""
    key = f"{VIEWS[view][0]}_id"
    frame = BATCH[view](log).select(pl.col(name).cast(dtype) for name, dtype in full_schema(view).items())
    last = frame.sort(key, "event_timestamp").group_by(key, maintain_order=True).last()
    return list(last.select(name for name in full_schema(view) if name != "created").iter_rows(named=True))


def assert_folded(online: Online, settings: Settings, *, whole: bool = True) -> None:
    """Online is what a batch makes of the log; unless `whole`, keys may be left to a batch."""
    log = EventLog(settings.interactions_dir).scan().collect()
    for view in BATCH:
        folded, batch = online.features(view), by_batch(view, log)
        assert folded == [row for row in batch if whole or row in folded], view


@pytest.fixture
def online() -> Online:
    return Online()


@pytest.fixture
def recorder(settings: Settings, online: Online) -> Iterator[Recorder]:
    made = Recorder(settings, online.push)
    yield made
    made.close()


def event(number: int, user: str = "u", content: str = "c", kind: EventType = EventType.VIEW) -> Event:
    moment = START + timedelta(hours=number)
    return Event(f"e{number}", Interaction(user, content, kind, moment, float(number % 5)), f"call-{number}")


# stars in quarters, so that sums are exact in whatever order floats are added
EVENTS = st.lists(
    st.builds(
        Interaction,
        st.sampled_from(["u0", "u1", "ü" * 300]),
        st.sampled_from(["c0", "c1"]),
        st.sampled_from(list(EventType)),
        st.integers(0, 3 * 86_400 * 4).map(lambda quarters: START + timedelta(seconds=quarters / 4)),
        st.integers(0, 20).map(lambda quarters: quarters / 4),
    ),
    min_size=1,
    max_size=120,
)


@tries(max_examples=25, deadline=None)
@given(st.data())
def test_in_any_order_and_however_often_the_features_are_those_of_a_batch(data: st.DataObject) -> None:
    events = [Event(f"e{number}", one) for number, one in enumerate(data.draw(EVENTS))]
    ingested = data.draw(st.lists(st.sampled_from(events), max_size=10, unique_by=lambda one: one.event_id))
    sent = data.draw(st.permutations(events + data.draw(st.lists(st.sampled_from(events), max_size=20))))
    size = data.draw(st.integers(1, 50))
    with TemporaryDirectory() as folder:
        settings, online = load_settings(home=Path(folder)), Online()
        log = EventLog(settings.interactions_dir)
        if ingested:
            log.write_segment(to_frame(ingested))
        new = 0
        for first in range(0, len(sent), size):  # a restart before every batch
            made = Recorder(settings, online.push)
            made.catch_up()
            new += sum(made.record(sent[first : first + size]))
            if data.draw(st.booleans()):
                made.seal()
            made.close()
        assert new == len(events) - len(ingested)
        assert sorted(log.scan().collect()["event_id"]) == sorted(one.event_id for one in events)
        assert_folded(online, settings, whole=not ingested)


def test_only_the_last_events_are_listed(recorder: Recorder, online: Online, settings: Settings) -> None:
    recorder.record([event(number) for number in reversed(range(3 * RECENT))])
    [row] = online.features("user_recent")
    hours = [(START + timedelta(hours=number)).timestamp() for number in range(2 * RECENT, 3 * RECENT)]
    assert row["recent_times"] == hours
    assert_folded(online, settings)


def test_what_is_already_in_a_segment_is_known_and_counts(settings: Settings, online: Online) -> None:
    log = EventLog(settings.interactions_dir)
    history = [event(number).interaction for number in range(10)]
    list(log.append(history))
    recorder = Recorder(settings, online.push)
    recorder.catch_up()
    assert not any(online.rows.values())  # the batch brings these online
    assert recorder.record([Event(history[0].event_id, history[0]), event(99)]) == [False, True]
    assert_folded(online, settings)
    later = event(50).interaction
    list(log.append([later]))  # ingested while a server runs
    recorder.catch_up()
    assert_folded(online, settings)
    recorder.close()


def test_a_batch_does_not_undo_what_was_folded_since(recorder: Recorder, online: Online, settings: Settings) -> None:
    recorder.record([event(1), event(2)])
    log = EventLog(settings.interactions_dir).scan().collect()
    stale = {view: make(log).cast(pl.Schema(full_schema(view))) for view, make in BATCH.items()}
    recorder.record([event(3)])
    for view, frame in stale.items():
        online.push(view, frame.select(full_schema(view).keys()))
    assert_folded(online, settings)


def test_states_go_online_in_the_order_of_their_versions(settings: Settings) -> None:
    """A process that is slow to bring its rows online does not take back what another has brought since."""
    slow, quick = [], Online()
    one = Recorder(settings, lambda view, rows: slow.append((view, rows)))
    other = Recorder(settings, quick.push)
    one.record([event(1)])
    other.record([event(2)])
    for view, rows in slow:
        quick.push(view, rows)
    assert_folded(quick, settings)
    one.close()
    other.close()


def test_what_did_not_come_online_does_when_it_is_sent_again(
    recorder: Recorder, online: Online, settings: Settings
) -> None:
    online.fails = True
    with pytest.raises(UnavailableError):
        recorder.record([event(1), event(2, user="v")])
    online.fails = False
    assert recorder.record([event(1)]) == [False]
    assert [row["user_id"] for row in online.features("user_stats")] == ["u"]
    recorder.catch_up()
    assert_folded(online, settings)


def test_sealed_at_a_size_and_never_missed(
    recorder: Recorder, settings: Settings, online: Online, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorders, "SEAL_EVENTS", 10)
    log = EventLog(settings.interactions_dir)
    for number in range(25):
        recorder.record([event(number)])
        found = log.scan().collect()
        assert sorted(found["request_id"]) == sorted(f"call-{n}" for n in range(number + 1))
        assert found.schema == pl.Schema(SCHEMA)
        assert log.count() == number + 1
    assert len(log.segments()) == 2
    assert pl.concat(log.by_user(5)).height == 25
    assert recorder.seal() == 5
    assert recorder.seal() == 0
    recorder.catch_up()
    assert_folded(online, settings)


def test_a_seal_that_fails_keeps_the_events(
    recorder: Recorder, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> str:
        raise OSError("no space left")

    monkeypatch.setattr(recorders, "SEAL_EVENTS", 1)
    monkeypatch.setattr(EventLog, "write_segment", full)
    assert recorder.record([event(1)]) == [True]
    assert EventLog(settings.interactions_dir).count() == 1


KILLED = """
import os, signal, sys
from pathlib import Path
from feature_repo.events import EventLog
from feature_repo.recorder import Recorder
from feature_repo.settings import load_settings

write = EventLog.write_segment

def die(log, frame):
    if sys.argv[2] == "whole":
        write(log, frame)
    os.kill(os.getpid(), signal.SIGKILL)

EventLog.write_segment = die
Recorder(load_settings(home=Path(sys.argv[1])), lambda *_: None).seal()
"""


@pytest.mark.parametrize("segment", ["whole", "absent"])
def test_a_seal_that_is_killed_counts_nothing_twice(
    recorder: Recorder, settings: Settings, online: Online, segment: str
) -> None:
    log = EventLog(settings.interactions_dir)
    recorder.record([event(1)])
    recorder.record([event(2), event(3)])
    killed = subprocess.run([sys.executable, "-c", KILLED, str(settings.home), segment], cwd=ROOT)
    assert killed.returncode == -signal.SIGKILL
    assert len(log.segments()) == (segment == "whole")
    assert log.count() == 3
    recorder.catch_up()
    recorder.record([event(2), event(4)])  # others come before the seal is done again
    assert log.count() == 4
    assert recorder.seal() == 4
    assert [log.read_segment(path).height for path in log.segments()] in ([3, 1], [1, 3])
    assert log.count() == log.scan().collect().height == 4
    assert recorder.seal() == 0
    assert_folded(online, settings)


def test_segments_from_before_requests_were_noted_are_read(settings: Settings) -> None:
    log = EventLog(settings.interactions_dir)
    name = log.write_segment(to_frame([event(1)]))
    path = settings.interactions_dir / name
    pl.read_parquet(path).drop("request_id").write_parquet(path)
    list(log.append([event(2).interaction]))
    assert log.scan().collect()["request_id"].to_list() == [None, None]
