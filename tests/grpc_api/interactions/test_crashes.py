"""Servers and senders are killed at random, two of each at work: nothing acknowledged is lost or counts twice."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import polars as pl

from feature_repo.events import EventLog
from feature_repo.schema import VIEWS, full_schema
from feature_repo.settings import Settings
from feature_repo.statistics import content_stats, user_recent, user_stats
from grpc_api.ports import reserved
from tests.grpc_api.interactions.taking import Features
from tests.grpc_api.interactions.telling import events

ROOT = Path(__file__).parents[3]
COUNT = 2000
KILLS = 8
BATCH = {"content_stats": content_stats, "user_stats": user_stats, "user_recent": user_recent}


def start(module: str, *arguments: object) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", f"tests.grpc_api.interactions.{module}", *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT)


@contextmanager
def ended(processes: Sequence[subprocess.Popen[bytes]]) -> Iterator[None]:
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def test_kills_at_random(settings: Settings, tmp_path: Path) -> None:
    chance = random.Random(0)
    with reserved("127.0.0.1", 0) as port:
        commands = [("taking", settings.home, port)] * 2 + [
            ("telling", port, seed, COUNT, tmp_path / f"{seed}") for seed in (0, 1)
        ]
        processes = [start(*command) for command in commands]
        with ended(processes):
            for _ in range(KILLS):
                time.sleep(chance.uniform(0.2, 2))
                number = chance.randrange(len(processes))
                if number < 2 or processes[number].poll() is None:  # a sender that is done is left in peace
                    processes[number].kill()
                    processes[number].wait()
                    processes[number] = start(*commands[number])
            assert [sender.wait(60) for sender in processes[2:]] == [0, 0]
    log = EventLog(settings.interactions_dir)
    sent = {event.event_id for seed in (0, 1) for event in events(seed, COUNT)}
    found = log.scan().collect()
    assert log.count() == len(sent)
    assert set(found["event_id"]) == sent
    assert found["request_id"].str.strip_prefix("call-").to_list() == found["event_id"].str.strip_prefix("e").to_list()
    for view, make in BATCH.items():
        assert_online(Features(settings.home), view, make(found))


def assert_online(online: Features, view: str, dated: pl.DataFrame) -> None:
    key = f"{VIEWS[view][0]}_id"
    columns = [name for name in full_schema(view) if name != "created"]
    frame = dated.select(pl.col(name).cast(full_schema(view)[name]) for name in columns)
    last = frame.sort(key, "event_timestamp").group_by(key, maintain_order=True).last()
    expected = [{**row, "event_timestamp": str(row["event_timestamp"])} for row in last.iter_rows(named=True)]
    assert online.read(view, last[key].to_list()) == expected
