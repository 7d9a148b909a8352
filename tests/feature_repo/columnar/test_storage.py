"""The storage engine's contract, one behaviour a test."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from feature_repo.columnar import storage_index, storage_keys, storage_table, storage_write
from feature_repo.columnar.storage import Column, Environment, Table
from feature_repo.columnar.storage_records import State
from feature_repo.errors import ConfigurationError, InputError, NotFoundError, UnavailableError

SCHEMA = [Column("vector", "f4", 5), Column("score", "f8"), Column("count", "i8"), Column("flag", "bool")]


@pytest.fixture(params=["lmdb", "index"])
def environment(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Environment]:
    """An empty store whose reads all go one way: by LMDB, or by the hash index built anew at every chance."""
    few, stale = (10**9, 10**9) if request.param == "lmdb" else (0, 0)
    monkeypatch.setattr(storage_table, "FEW_KEYS", few)
    monkeypatch.setattr(storage_index, "_STALE_MIN", stale)
    with Environment(tmp_path / "store") as opened:
        yield opened


def times(values: Sequence[int]) -> Any:
    return np.array(values, np.int64)


def put(table: Table, keys: Sequence[bytes], event: int = 1, created: int = 0, offset: float = 0.0) -> int:
    """Write rows whose values follow from their position and `offset`."""
    count = len(keys)
    at = np.arange(count) + offset
    columns: dict[str, Any] = {"score": (at, None), "vector": ((at[:, None] + np.arange(5)).astype(np.float32), None)}
    return table.write(keys, times([event] * count), times([created] * count), columns)


def scores(table: Table, keys: Sequence[bytes]) -> list[float | None]:
    batch = table.read(keys, ["score"])
    values, valid = batch.columns["score"]
    return [float(v) if p and ok else None for v, ok, p in zip(values, valid, batch.present, strict=True)]


def test_rows_come_back_in_the_order_asked_with_duplicates_and_absent_ones(environment: Environment) -> None:
    table = environment.create("a view", SCHEMA)
    assert put(table, [b"a", b"b", b"c"], event=7) == 3
    batch = table.read([b"c", b"missing", b"a", b"c"], ["vector", "score", "count"])
    assert batch.present.tolist() == [True, False, True, True]
    assert batch.event_us.tolist() == [7, 0, 7, 7]
    assert batch.columns["score"][0].tolist() == [2.0, 0.0, 0.0, 2.0]
    assert batch.columns["score"][1].tolist() == [True, False, True, True]
    assert batch.columns["vector"][0].tolist() == [[2, 3, 4, 5, 6], [0] * 5, [0, 1, 2, 3, 4], [2, 3, 4, 5, 6]]
    assert batch.columns["count"][1].tolist() == [False] * 4
    assert batch.columns["vector"][0].dtype == np.float32


def test_keys_that_differ_by_trailing_zeros_or_beyond_the_slots_room_are_different(environment: Environment) -> None:
    table = environment.create("t", SCHEMA)
    keys = [b"a", b"a\0", b"a\0\0", b"\0", b"\0\0", b"x" * 8, b"x" * 9]
    put(table, keys)
    longer = [b"x" * 100, b"x" * 101, b"x" * 480, b"a" + b"\0" * 100]
    put(table, longer, offset=50)
    assert scores(table, keys + longer) == [0, 1, 2, 3, 4, 5, 6, 50, 51, 52, 53]
    assert scores(table, [b"x" * 10, b"a\0\0\0", b"x" * 102]) == [None] * 3


def test_equal_or_newer_wins_and_older_never_does(environment: Environment) -> None:
    table = environment.create("t", SCHEMA)
    put(table, [b"a"], event=5, created=5, offset=1)
    assert put(table, [b"a"], event=4, created=9, offset=2) == 0
    assert put(table, [b"a"], event=5, created=4, offset=3) == 0
    assert scores(table, [b"a"]) == [1]
    assert put(table, [b"a"], event=5, created=5, offset=4) == 1
    assert put(table, [b"a", b"b"], event=6, created=0, offset=5) == 2
    assert scores(table, [b"a", b"b"]) == [5, 6]


def test_of_one_key_given_twice_the_newer_and_else_the_later_row_wins(environment: Environment) -> None:
    table = environment.create("t", SCHEMA)
    keys = [b"a", b"b", b"a", b"b", b"c", b"c"]
    event, created = times([2, 1, 1, 1, 3, 3]), times([0, 0, 9, 0, 2, 1])
    assert table.write(keys, event, created, {"score": (np.arange(6.0), None)}) == 3
    assert scores(table, [b"a", b"b", b"c"]) == [0, 3, 4]
    assert table.count() == 3


def test_nulls_bytes_and_columns_left_out(environment: Environment) -> None:
    table = environment.create("t", [*SCHEMA, Column("name", "bytes"), Column("tags", "bytes")])
    columns: dict[str, Any] = {
        "score": (np.array([1.0, np.nan]), np.array([True, False])),
        "name": [b"", None],
        "tags": [None, "é".encode() * 3000],
    }
    table.write([b"a", b"b"], times([1, 1]), times([0, 0]), columns)
    batch = table.read([b"b", b"a", b"x"], ["tags", "score", "flag", "name"])
    assert batch.columns["name"] == [None, b"", None]
    assert batch.columns["tags"] == ["é".encode() * 3000, None, None]
    assert batch.columns["score"][0].tolist() == [0.0, 1.0, 0.0]
    assert not batch.columns["flag"][1].any()
    table.write([b"b"], times([2]), times([0]), {"name": [b"new"]})
    assert table.read([b"b"], ["name", "tags"]).columns == {"name": [b"new"], "tags": [None]}


def test_delete_count_keys_and_scan(environment: Environment) -> None:
    table = environment.create("t", [*SCHEMA, Column("name", "bytes")])
    keys = [b"%03d" % n for n in range(100)]
    put(table, keys)
    assert table.delete([b"007", b"007", b"none"]) == 1
    assert table.count() == 99
    assert scores(table, [b"006", b"007", b"008"]) == [6, None, 8]
    kept = [key for key in keys if key != b"007"]
    assert [key for part in table.keys(batch=10) for key in part] == kept
    found = [
        (key, at)
        for part, rows in table.scan(["score"], 33)
        for key, at in zip(part, rows.columns["score"][0], strict=True)
    ]
    assert found == [(key, float(key)) for key in kept]
    put(table, [b"007"], event=0, offset=70)
    assert scores(table, [b"007"]) == [70], "a deleted row leaves no event time behind"


def test_empty_calls_do_nothing(environment: Environment) -> None:
    table = environment.create("t", SCHEMA)
    assert put(table, []) == 0
    assert table.delete([]) == 0
    assert table.read([], ["score"]).present.shape == (0,)
    assert table.read([b"a"], ["vector"]).columns["vector"][0].shape == (1, 5)
    assert list(table.keys()) == []
    assert table.stats().rows == 0


@pytest.mark.parametrize(
    ("keys", "columns", "words"),
    [
        ([b""], {}, "0 bytes"),
        ([b"k" * 481], {}, "481 bytes"),
        ([b"a"], {"vector": (np.zeros((1, 4), np.float32), None)}, r"\(1, 4\)"),
        ([b"a"], {"score": (np.zeros(1), np.ones(2, bool))}, r"mask \(2,\)"),
        ([b"a"], {"score": (np.zeros(3), None)}, r"\(3,\)"),
    ],
)
def test_bad_input_is_refused_whole(
    environment: Environment, keys: list[bytes], columns: dict[str, Any], words: str
) -> None:
    table = environment.create("t", SCHEMA)
    with pytest.raises(InputError, match=words):
        table.write(keys, times([1]), times([1]), columns)
    with pytest.raises(InputError, match="event_us"):
        table.write([b"a"], np.zeros(2, np.int64), times([1]), {})
    assert table.count() == 0


def test_unknown_names(environment: Environment) -> None:
    table = environment.create("t", SCHEMA)
    with pytest.raises(NotFoundError, match="no column 'nope'; it has count, flag, score, vector"):
        table.read([b"a"], ["nope"])
    with pytest.raises(NotFoundError, match="no column"):
        table.write([b"a"], times([1]), times([1]), {"nope": (np.zeros(1), None)})
    with pytest.raises(NotFoundError, match="no table 'other'"):
        environment.table("other")
    with pytest.raises(ConfigurationError, match="already"):
        environment.create("t", SCHEMA)
    with pytest.raises(ConfigurationError, match="twice"):
        environment.create("u", [*SCHEMA, SCHEMA[0]])
    with pytest.raises(ConfigurationError, match="unknown kind 'f2'"):
        Column("x", "f2")


def test_tables_have_any_name_and_live_apart(environment: Environment) -> None:
    names = ["a", "a/b", "", "ünï ☃", "x" * 2000]
    for number, name in enumerate(names):
        put(environment.create(name, SCHEMA), [b"k", b"l"], offset=number * 10)
    assert environment.tables() == sorted(names)
    environment.drop("a/b")
    assert environment.tables() == sorted(set(names) - {"a/b"})
    assert [scores(environment.table(n), [b"k"]) for n in environment.tables()] == [[20], [0], [30 + 10], [30]]
    again = environment.create("a/b", SCHEMA)
    assert scores(again, [b"k"]) == [None]
    assert len(list(environment.path.glob("*.slots"))) == 4


def test_evolve_keeps_what_stays(environment: Environment) -> None:
    table = environment.create("t", [*SCHEMA, Column("name", "bytes"), Column("old", "bytes")])
    keys = [b"%d" % n for n in range(50)]
    put(table, keys)
    table.write(keys[:1], times([2]), times([0]), {"name": [b"n"], "old": [b"o"], "score": (np.ones(1), None)})
    changed = [Column("score", "f8"), Column("count", "f4"), Column("vector", "f4", 5), Column("extra", "i4")]
    table = environment.evolve("t", [*changed, Column("name", "bytes"), Column("more", "bytes")])
    batch = table.read(keys, ["score", "count", "vector", "extra", "name", "more"])
    assert batch.present.all()
    assert batch.columns["score"][0].tolist() == [1, *range(1, 50)]
    assert batch.columns["vector"][0][7].tolist() == [7, 8, 9, 10, 11]
    assert not batch.columns["count"][1].any()
    assert not batch.columns["extra"][1].any()
    assert batch.columns["name"][:2] == [b"n", None]
    assert batch.columns["more"] == [None] * 50
    table = environment.evolve("t", [Column("old", "bytes"), Column("score", "f8")])
    assert table.read(keys[:1], ["old"]).columns["old"] == [None], "a column that comes back comes back empty"
    assert scores(table, keys[:3]) == [1, 1, 2]
    assert len(list(environment.path.glob("*.slots"))) == 1


def test_another_table_object_sees_the_change(environment: Environment) -> None:
    ours = environment.create("t", SCHEMA)
    put(ours, [b"a"])
    environment.evolve("t", [Column("score", "f8"), Column("more", "i4")])
    assert [column.name for column in ours.schema] == ["score", "more"]
    assert scores(ours, [b"a"]) == [0]
    environment.drop("t")
    with pytest.raises(NotFoundError, match="create it first"):
        ours.read([b"a"], ["score"])


def test_it_is_all_there_after_reopening(tmp_path: Path) -> None:
    with Environment(tmp_path / "s") as first:
        put(first.create("t", SCHEMA), [b"%d" % n for n in range(200)])
    first.close()
    with pytest.raises(ConfigurationError, match="closed"):
        first.tables()
    with Environment(tmp_path / "s") as second:
        assert scores(second.table("t"), [b"%d" % n for n in range(200)]) == list(range(200))


def test_the_index_only_hints(environment: Environment, monkeypatch: pytest.MonkeyPatch) -> None:
    """With every hash equal each answer of the index is wrong but one, and reads are still right."""
    for module in (storage_index, storage_keys):
        monkeypatch.setattr(module, "hashes_of", lambda words: np.full(len(words), 7 << 32, np.uint64))
    table = environment.create("t", SCHEMA)
    keys = [b"%d" % n for n in range(30)]
    put(table, keys)
    table.optimise()
    assert scores(table, [*keys, b"none"]) == [*range(30), None]


def test_slots_are_used_again_but_not_while_a_reader_sees_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage_write, "_SPARE_MIN", 0)
    monkeypatch.setattr(storage_write, "_SPARE_SHARE", 0.0)
    with Environment(tmp_path / "s") as environment:
        table = environment.create("t", SCHEMA)
        keys = [b"%d" % n for n in range(700)]
        for event in range(6):
            put(table, keys, event=event)
        settled = slots_of(table)
        for event in range(6, 30):
            put(table, keys[event : event + 300], event=event)
        assert slots_of(table) == settled <= 3 * 700
        with table._handle.reading():
            for event in range(30, 34):
                put(table, keys, event=event)
            assert slots_of(table) >= settled + 700, "a reader holds an old state, so its slots are not taken"


def slots_of(table: Table) -> int:
    with table._handle.reading() as txn:
        return State.of(txn, table.info(txn).id).slots


def test_the_map_grows_under_readers(tmp_path: Path) -> None:
    with Environment(tmp_path / "s", map_size=1 << 17) as environment:
        table = environment.create("t", [Column("text", "bytes"), Column("score", "f8")])
        stop, failures = threading.Event(), []

        def read() -> None:
            while not stop.is_set():
                batch = table.read([b"0"], ["score"])
                if batch.present[0] and batch.columns["score"][0][0] != 0.0:
                    failures.append(batch)

        readers = [threading.Thread(target=read) for _ in range(2)]
        for reader in readers:
            reader.start()
        for part in range(8):
            keys = [b"%d" % n for n in range(part * 50, part * 50 + 50)]
            table.write(
                keys, times([1] * 50), times([1] * 50), {"text": [b"x" * 5000] * 50, "score": (np.zeros(50), None)}
            )
        stop.set()
        for reader in readers:
            reader.join()
        assert table.count() == 400
        assert not failures


def test_a_second_process_reads_writes_and_adopts_a_grown_map(tmp_path: Path) -> None:
    """The child is forked with the store open, and reads, and makes the map grow; then the parent reads on."""
    with Environment(tmp_path / "s", map_size=1 << 17) as environment:
        table = environment.create("t", [Column("text", "bytes")])
        table.write([b"a"], times([1]), times([1]), {"text": [b"A"]})
        child = multiprocessing.get_context("fork").Process(target=_grow, args=(table,))
        child.start()
        child.join(30)
        assert child.exitcode == 0
        assert table.read([b"a", b"b999"], ["text"]).columns["text"] == [b"A", b"y" * 1000]
        table.write([b"a"], times([2]), times([1]), {"text": [b"B"]})
        assert table.read([b"a"], ["text"]).columns["text"] == [b"B"]


def _grow(table: Table) -> None:
    keys = [b"b%d" % n for n in range(1000)]
    table.write(keys, times([1] * 1000), times([1] * 1000), {"text": [b"y" * 1000] * 1000})
    os._exit(0 if table.read([b"a"], ["text"]).columns["text"] == [b"A"] else 1)


def test_one_process_may_open_a_store_twice(tmp_path: Path) -> None:
    first = Environment(tmp_path / "s")
    put(first.create("t", SCHEMA), [b"a"])
    with Environment(tmp_path / "s", readonly=True) as second:
        assert scores(second.table("t"), [b"a"]) == [0]
        with pytest.raises(ConfigurationError, match="read-only"):
            put(second.table("t"), [b"b"])
        with pytest.raises(ConfigurationError, match="read-only"):
            second.drop("t")
        first.close()
        assert scores(second.table("t"), [b"a"]) == [0]


def test_read_only(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no store there"):
        Environment(tmp_path / "none", readonly=True)
    with Environment(tmp_path / "s") as environment:
        put(environment.create("t", SCHEMA), [b"a"])
    with Environment(tmp_path / "s", readonly=True) as environment:
        assert scores(environment.table("t"), [b"a"]) == [0]
        with pytest.raises(ConfigurationError, match="read-only"):
            environment.create("u", SCHEMA)
        with pytest.raises(ConfigurationError, match="close that first"):
            Environment(tmp_path / "s")


def test_a_writer_waits_for_another_only_so_long(tmp_path: Path) -> None:
    with Environment(tmp_path / "s", lock_timeout_s=0.05) as environment:
        table = environment.create("t", SCHEMA)
        with table._handle._file_lock(), pytest.raises(UnavailableError, match="another process has been writing"):
            put(table, [b"a"])
        assert put(table, [b"a"]) == 1


def test_sizes(tmp_path: Path) -> None:
    with Environment(tmp_path / "s") as environment:
        table = environment.create("t", [Column("vector", "f4", 512), Column("score", "f4"), Column("name", "bytes")])
        keys = [b"%d" % n for n in range(2000)]
        columns: dict[str, Any] = {"vector": (np.zeros((2000, 512), np.float32), None), "name": [b"four"] * 2000}
        table.write(keys, times([1] * 2000), times([1] * 2000), columns)
        stats = table.stats()
        assert stats.rows == 2000
        assert stats.raw_bytes == 2000 * (513 * 4 + 4)
        assert stats.raw_bytes < stats.disk_bytes < 1.3 * stats.raw_bytes
        table.delete(keys)
        assert table.stats().raw_bytes == 0
