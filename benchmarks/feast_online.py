"""Latency of online reads: ours, stock Feast, and the floors, call by call in turns."""

from __future__ import annotations

import gc
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import lmdb
import numpy as np
import numpy.typing as npt
import redis
from feast import FeatureStore

from benchmarks import feast_world as world

COUNTS = (1, 10, 100, 500)
TURNS, IN_A_ROW = 41, 10  # the first turn is for warming up
STOCK_EVERY = 8  # it takes long
BARS = {"sqlite": {1: 1.0, 500: 30.0}, "redis": {1: 1.0, 500: 20.0}}
DICT_BAR, GATHER_BAR, TAIL_BAR = 5.0, 1.5, 2.5
REFERENCES = [*(f"scalars:{name}" for name in world.SCALARS), "embedding:embedding"]
WIDTH = world.DIM + len(world.SCALARS)

Call = Callable[[list[str]], Any]
Seconds = npt.NDArray[np.float64]


class Notes(Protocol):
    """Where claims go; see `benchmarks.feast.Bench`."""

    rows: int
    port: int

    def note(self, claim: str, ours: float, peer: float, bar: float, unit: str, *, most: bool = False) -> None:
        """A claim."""


def in_turns(calls: dict[str, Call], ids: Sequence[str], count: int) -> dict[str, Seconds]:
    """Seconds of each call. All get random ids of the same making, some calls in a row and then the next one's turn.

    A turn starts with a call that does not count: Feast works out its request anew when the store has changed.
    """
    rng = np.random.default_rng(count)
    taken: dict[str, list[float]] = defaultdict(list)
    for turn in range(TURNS):
        for name, call in calls.items():
            if name.startswith("stock") and turn % STOCK_EVERY:
                continue
            for counts in (False, *[True] * IN_A_ROW):
                asked = [ids[row] for row in rng.integers(0, len(ids), count)]
                start = time.perf_counter()
                call(asked)
                if counts and turn:
                    taken[name].append(time.perf_counter() - start)
    return {name: np.array(seconds) for name, seconds in taken.items()}


def measure(bench: Notes, folders: dict[str, Path]) -> None:
    """Read scalars and embedding of 1 to 500 contents."""
    ids = world.content_ids(bench.rows)
    with tempfile.TemporaryDirectory() as name:
        calls = _floors(Path(name), ids, bench.port) | _stores(bench, folders)
        gc.collect()
        gc.freeze()
        for count in COUNTS:
            _note(bench, count, {call: 1e3 * taken for call, taken in in_turns(calls, ids, count).items()})
        gc.unfreeze()


def _stores(bench: Notes, folders: dict[str, Path]) -> dict[str, Call]:
    """Features with the values in hand: numpy for ours, protobuf for stock; and `to_dict` on each."""
    calls: dict[str, Call] = {}
    for kind, folder in folders.items():
        views = world.views(folder.parent / f"contents-{bench.rows}")
        store = world.open_store(folder, world.stores_of(kind, bench.port), views)
        calls |= _ours(store) if kind == "ours" else _stock(f"stock {kind}", store)
    return calls


def _stock(name: str, store: FeatureStore) -> dict[str, Call]:
    def proto(asked: list[str]) -> Any:
        return store.get_online_features(REFERENCES, {"content_id": asked}).proto

    return {name: proto, f"{name} to_dict": _to_dict(store)}


def _ours(store: FeatureStore) -> dict[str, Call]:
    online: Any = store._get_provider().online_store
    view = store.get_feature_view("embedding")

    def values(asked: list[str]) -> Any:
        answer: Any = store.get_online_features(REFERENCES, {"content_id": asked})
        return [column.values for column in answer.columns.values()]

    def read_columns(asked: list[str]) -> Any:
        return online.read_columns(store.config, view, asked).values

    return {"ours": values, "ours to_dict": _to_dict(store), "read_columns": read_columns}


def _to_dict(store: FeatureStore) -> Call:
    return lambda asked: store.get_online_features(REFERENCES, {"content_id": asked}).to_dict()


def _floors(folder: Path, ids: list[str], port: int) -> dict[str, Call]:
    """A memory-mapped matrix, LMDB values and Redis strings, all of raw bytes and found by id."""
    matrix = np.memmap(folder / "matrix", np.float32, "w+", shape=(len(ids), world.DIM))
    rng = np.random.default_rng(0)
    for first in range(0, len(ids), world.ROW_GROUP):
        part = matrix[first : first + world.ROW_GROUP]
        part[:] = rng.standard_normal(part.shape, np.float32)
    place = {content_id: row for row, content_id in enumerate(ids)}
    mapped = np.asarray(matrix)
    calls: dict[str, Call] = {"gather": lambda asked: mapped[[place[content_id] for content_id in asked]]}
    if len(ids) > world.WINDOW_ROWS:
        return calls
    values = {content_id: mapped[row].tobytes() for content_id, row in place.items()}
    environment = lmdb.open(str(folder / "lmdb"), map_size=1 << 33)
    with environment.begin(write=True) as txn, txn.cursor() as cursor:
        cursor.putmulti((content_id.encode(), value) for content_id, value in values.items())
    client = redis.Redis(port=port)
    for first in range(0, len(ids), world.ROW_GROUP):
        client.mset({f"raw:{content_id}": values[content_id] for content_id in ids[first : first + world.ROW_GROUP]})

    def from_lmdb(asked: list[str]) -> Any:
        with environment.begin(buffers=True) as txn:
            found: Any = [txn.get(content_id.encode()) for content_id in asked]
            return np.frombuffer(b"".join(found), np.float32)

    def from_redis(asked: list[str]) -> Any:
        found: Any = client.mget([f"raw:{content_id}" for content_id in asked])
        return np.frombuffer(b"".join(found), np.float32)

    return calls | {"floor LMDB": from_lmdb, "floor Redis MGET": from_redis}


def _note(bench: Notes, count: int, taken: dict[str, Seconds]) -> None:
    middle = {name: float(np.median(milliseconds)) for name, milliseconds in taken.items()}
    for kind, bars in BARS.items():
        if f"stock {kind}" in middle:
            claim, bar = f"get_online_features {count}, stock {kind} over ours", bars.get(count, 0.0)
            bench.note(claim, middle[f"stock {kind}"], middle["ours"], bar, "ms")
            claim, bar = f"to_dict {count}, stock {kind} over ours", DICT_BAR if count == COUNTS[-1] else 0.0
            bench.note(claim, middle[f"stock {kind} to_dict"], middle["ours to_dict"], bar, "ms")
    for name in ("read_columns", "floor LMDB", "floor Redis MGET"):
        if name in middle:
            bar = GATHER_BAR if name == "read_columns" and count >= 100 else float("inf")
            bench.note(f"{name} {count} over a mapped gather", middle[name], middle["gather"], bar, "ms", most=True)
    for name in ("ours", "read_columns"):
        tail = float(np.percentile(taken[name], 99))
        bench.note(f"{name} {count}: p99 over p50", tail, middle[name], TAIL_BAR, "ms", most=True)
