"""A full disk and a read-only one give clear errors and leave the store readable."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from feature_repo.columnar import storage_slots
from feature_repo.columnar.storage import Column, Environment, Table
from feature_repo.errors import UnavailableError

ROOT = Path(__file__).parents[3]
SCHEMA = [Column("vector", "f4", 64), Column("text", "bytes")]
FULL = """
import resource, sys
import numpy as np
from feature_repo.columnar.storage import Column, Environment
from feature_repo.errors import UnavailableError
path, limit, text = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
def put(table, start, count):
    keys = [b"%d" % n for n in range(start, start + count)]
    one = np.ones(count, np.int64)
    table.write(keys, one, one, {"vector": (np.ones((count, 64), np.float32), None), "text": [b"x" * text] * count})
with Environment(path) as environment:
    table = environment.table("t")
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        put(table, 100, 4000)
    except UnavailableError as error:
        print(error)
    else:
        sys.exit("the write should have failed")
    assert table.read([b"1", b"100"], ["vector", "text"]).present.tolist() == [True, False]
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    put(table, 100, 4000)
    assert table.read([b"1", b"100"], ["vector", "text"]).present.all()
    assert table.count() == 4100
"""


def put(table: Table, keys: list[bytes]) -> None:
    one = np.ones(len(keys), np.int64)
    values: dict[str, Any] = {"vector": (np.ones((len(keys), 64), np.float32), None), "text": [b"x"] * len(keys)}
    table.write(keys, one, one, values)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    with Environment(tmp_path / "store") as environment:
        put(environment.create("t", SCHEMA), [b"%d" % n for n in range(100)])
    return tmp_path / "store"


@pytest.mark.parametrize(("limit", "text"), [(1 << 19, 1), (1 << 21, 1500)], ids=["slots", "index"])
def test_no_room_for_the_slot_file_or_for_lmdb(store: Path, limit: int, text: int) -> None:
    """The limit on a file's size hits the slot file first, or, with long texts, LMDB's file."""
    command = [sys.executable, "-c", FULL, str(store), str(limit), str(text)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "the disk is full" in done.stdout
    with Environment(store, readonly=True) as opened:
        assert opened.table("t").count() == 4100


def test_evolve_on_a_full_disk_keeps_the_old_schema(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with Environment(store) as environment:
        with monkeypatch.context() as patched:
            patched.setattr(storage_slots.SlotWriter, "put", full)
            with pytest.raises(UnavailableError, match="disk is full"):
                environment.evolve("t", [Column("vector", "f4", 64), Column("more", "f4")])
        assert [column.name for column in environment.table("t").schema] == ["vector", "text"]
        environment.evolve("t", [Column("vector", "f4", 64), Column("more", "f4")])
        assert environment.table("t").read([b"1"], ["vector"]).columns["vector"][1].all()
        assert len(list(store.glob("*.slots"))) == 1


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_write_permission(store: Path) -> None:
    for file in store.iterdir():
        file.chmod(0o444)
    store.chmod(0o555)
    try:
        with pytest.raises(UnavailableError, match="read-only"):
            Environment(store)
    finally:
        store.chmod(0o755)


def test_a_read_only_file_system_is_named(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.open

    def refuse(path: Any, flags: int, *rest: Any, **more: Any) -> int:
        if flags & (os.O_RDWR | os.O_CREAT):
            raise OSError(30, "Read-only file system", str(path))
        return real(path, flags, *rest, **more)

    with Environment(store) as environment:
        table = environment.table("t")
        monkeypatch.setattr(os, "open", refuse)
        with pytest.raises(UnavailableError, match="this place is read-only; make it writable"):
            put(table, [b"new"])
        assert table.read([b"1", b"new"], ["text"]).present.tolist() == [True, False]
