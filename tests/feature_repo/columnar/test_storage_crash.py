"""Real writer processes killed at random moments while real reader processes read."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from feature_repo.columnar.storage import Environment, Table
from feature_repo.columnar.storage_records import State, look_up, prefix
from tests.feature_repo.columnar.storage_child import KEYS, SCHEMA, rows, wrong

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
KILLS = 50
READERS = 4


def start(*words: str) -> subprocess.Popen[str]:
    command = [sys.executable, str(HERE / "storage_child.py"), *words]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def start_readers(store: Path, stop: Path, count: int) -> list[subprocess.Popen[str]]:
    """So many, once each has read."""
    readers = [start("read", str(store), str(stop)) for _ in range(count)]
    for reader in readers:
        assert reader.stdout is not None
        assert reader.stdout.readline() == "reading\n"
    return readers


@pytest.fixture
def store(tmp_path: Path) -> Path:
    path = tmp_path / "store"
    with Environment(path) as environment:
        one = np.ones(len(KEYS), np.int64)
        environment.create("t", SCHEMA).write(KEYS, one, one, rows(KEYS, 1))
    return path


def slot_count(table: Table) -> int:
    """Slots of the table, after a check that each belongs to one row or is free: none leaked, none twice."""
    with table._handle.reading() as txn:
        number = table.info(txn).id
        slots = State.of(txn, number).slots
        held = look_up(txn, number, KEYS)["slot"].tolist()
        with txn.cursor() as cursor:
            cursor.set_range(prefix("f", number))
            for key, value in cursor.iternext():
                if bytes(key[:5]) != prefix("f", number):
                    break
                held += np.frombuffer(value, np.int64).tolist()
    assert sorted(held) == list(range(slots))
    return slots


def kill_soon(nursery: subprocess.Popen[str], chance: random.Random) -> int:
    """Start a writer, kill it at a random moment after its first commit; the last version it said was committed."""
    assert nursery.stdin is not None
    assert nursery.stdout is not None
    nursery.stdin.write("go\n")
    nursery.stdin.flush()
    said = [nursery.stdout.readline().strip(), nursery.stdout.readline().strip()]
    number = next(int(line.split()[1]) for line in said if line.startswith("writer"))
    time.sleep(chance.random() * 0.08)
    os.kill(number, signal.SIGKILL)
    while said[-1] != "dead":
        said.append(nursery.stdout.readline().strip())
    return max(int(line) for line in said if line.isdigit())


@pytest.mark.crash
def test_fifty_kills_of_the_writer_while_four_processes_read(store: Path, tmp_path: Path) -> None:
    stop = tmp_path / "stop"
    readers = start_readers(store, stop, READERS)
    nursery = start("nursery", str(store))
    chance, committed = random.Random(0), 0
    for _ in range(KILLS):
        committed = max(committed, kill_soon(nursery, chance))
        assert all(reader.poll() is None for reader in readers), [reader.communicate() for reader in readers]
    nursery.communicate(timeout=30)
    stop.touch()
    for reader in readers:
        out, error = reader.communicate(timeout=30)
        assert reader.returncode == 0, error
        reads, seen = map(int, out.split())
        assert reads > KILLS / 2
        assert seen > committed / 2
    with Environment(store) as environment:
        table = environment.table("t")
        batch = table.read(KEYS, [column.name for column in SCHEMA])
        assert wrong(KEYS, batch, np.full(len(KEYS), committed)) == "", "what was said to be committed is there"
        after = np.full(len(KEYS), int(batch.event_us.max()) + 1, np.int64)
        assert table.write(KEYS, after, after, rows(KEYS, int(after[0]))) == len(KEYS)
        settled = slot_count(table)
        for version in range(1, 6):
            assert table.write(KEYS, after + version, after, rows(KEYS, int(after[0]) + version)) == len(KEYS)
        assert slot_count(table) == settled, "free slots are used again once no reader sees them"


@pytest.mark.crash
def test_a_killed_reader_does_not_hold_slots_for_ever(store: Path, tmp_path: Path) -> None:
    [reader] = start_readers(store, tmp_path / "never", 1)
    reader.kill()
    reader.communicate()
    with Environment(store) as environment:
        table = environment.table("t")
        for version in range(2, 30):
            times = np.full(len(KEYS), version, np.int64)
            table.write(KEYS, times, times, rows(KEYS, version))
        assert slot_count(table) <= 3 * len(KEYS)


def test_readers_beside_a_writer_that_lives(store: Path, tmp_path: Path) -> None:
    stop = tmp_path / "stop"
    readers = start_readers(store, stop, 2)
    with Environment(store) as environment:
        table = environment.table("t")
        until, version = time.monotonic() + 3, 1
        while time.monotonic() < until:
            version += 1
            times = np.full(len(KEYS), version, np.int64)
            table.write(KEYS, times, times, rows(KEYS, version))
    stop.touch()
    for reader in readers:
        out, error = reader.communicate(timeout=30)
        assert reader.returncode == 0, error
        assert int(out.split()[0]) > 5
