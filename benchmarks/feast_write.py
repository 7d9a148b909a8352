"""What a small upsert costs beside the full write, and bytes on disk beside the raw values."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks import feast_world as world
from benchmarks.feast_online import Notes
from feature_repo.columnar.engine import BATCH_ROWS
from feature_repo.columnar.storage import Stats

UPSERTS, SHARE = 40, 0.01
UPSERT_BAR, DISK_BAR = 0.03, 1.3


class Written(Notes, Protocol):
    """A bench that has contents."""

    contents: Path


def measure(bench: Written) -> None:
    """Write both views whole, then many times one row in a hundred; sizes before and after."""
    fresh: list[Stats] = []
    after: list[Stats] = []
    with tempfile.TemporaryDirectory(dir=bench.contents.parent) as folder:
        store = world.open_store(Path(folder), world.stores_of("ours", bench.port), world.views(bench.contents))
        online: Any = store._get_provider().online_store
        for name in ("scalars", "embedding"):
            view = store.get_feature_view(name)
            file = pq.ParquetFile(bench.contents / f"{name}.parquet")
            start = time.perf_counter()
            for batch in file.iter_batches(BATCH_ROWS):
                online.write_arrow(store.config, view, batch)
            online.optimise(store.config, view, bench.rows)
            full = time.perf_counter() - start
            table = online._places.table(store.config, f"bench/{name}")
            fresh.append(table.stats())
            taken = [_upsert(online, store.config, view, file, turn) for turn in range(UPSERTS)]
            after.append(table.stats())
            floors = [_scattered(Path(folder), fresh[-1], turn) for turn in range(UPSERTS // 4)]
            for what, seconds in (("first 5", taken[:5]), (f"last {UPSERTS // 2}", taken[UPSERTS // 2 :])):
                claim = f"upsert of 1 % over the full write, {name}, {what}"
                bench.note(claim, 1e3 * median(seconds), 1e3 * full, UPSERT_BAR, "ms", most=True)
            claim = f"floor: 1 % of the rows written here and there and flushed, over the full write, {name}"
            bench.note(claim, 1e3 * median(floors), 1e3 * full, float("inf"), "ms", most=True)
    for when, sizes in (("fresh", fresh), (f"after {UPSERTS} upserts", after)):
        disk, raw = sum(size.disk_bytes for size in sizes), sum(size.raw_bytes for size in sizes)
        bench.note(
            f"bytes on disk over raw values, both views, {when}", disk / 1e6, raw / 1e6, DISK_BAR, "MB", most=True
        )


def _scattered(folder: Path, size: Stats, turn: int) -> float:
    """Seconds to write one row in a hundred at random places of a file as large as the values, and to flush it."""
    width = size.raw_bytes // size.rows
    path = folder / f"scattered-{width}"
    if not path.exists():
        path.write_bytes(bytes(width * size.rows))
    with path.open("r+b", buffering=0) as file:
        os.fsync(file.fileno())
        row = np.random.default_rng(turn).bytes(width)
        places = np.random.default_rng(turn).choice(size.rows, int(size.rows * SHARE), replace=False)
        start = time.perf_counter()
        for place in np.sort(places).tolist():
            os.pwrite(file.fileno(), row, place * width)
        os.fdatasync(file.fileno())
        return time.perf_counter() - start


def _upsert(online: Any, config: Any, view: Any, file: Any, turn: int) -> float:
    """Seconds to write one row in a hundred, of all over the table, at a newer time."""
    rows = file.metadata.num_rows
    table = file.read_row_group(turn % file.metadata.num_row_groups)
    part = table.take(np.random.default_rng(turn).integers(0, len(table), int(rows * SHARE)))
    ids = world.content_ids(rows)
    picked = np.random.default_rng(turn).choice(rows, len(part), replace=False)
    at = np.full(len(part), np.datetime64("2026-01-01", "us") + np.timedelta64(turn, "h"))
    part = part.set_column(0, "content_id", pa.array([ids[row] for row in picked]))
    part = part.set_column(1, "event_timestamp", pa.array(at).cast(pa.timestamp("us", "UTC")))
    batch = part.combine_chunks().to_batches()[0]
    start = time.perf_counter()
    online.write_arrow(config, view, batch)
    return time.perf_counter() - start
