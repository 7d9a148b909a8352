"""Measurements of `benchmarks.feast` that want a process of their own, because they state peak memory.

Each prints one JSON object: seconds, and the peak of resident memory above the idle process in MB.
"""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
from feast import FeatureStore

from benchmarks import feast_world as world

LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)


def run_child(measurement: str, *arguments: object) -> dict[str, float]:
    """Take one measurement in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.feast_children", measurement, *map(str, arguments)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def _resident(field: str) -> float:
    """VmRSS or VmHWM of this process, in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(field))


def _measured(work: Callable[[], Any]) -> dict[str, float]:
    gc.collect()
    gc.freeze()
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    idle, start, cpu = _resident("VmRSS"), time.perf_counter(), time.process_time()
    work()
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    return {"seconds": seconds, "cpu": cpu, "peak_mb": _resident("VmHWM") - idle}


def materialize(kind: str, views: str, contents: str, folder: str, port: str, rows: str) -> dict[str, float]:
    """Materialize views of a fresh store; stock stores get them in windows of rows."""
    store = world.open_store(Path(folder), world.stores_of(kind, int(port)), world.views(Path(contents)))
    ranges = [(LONG_AGO, datetime.now(UTC))] if kind == "ours" else world.windows(int(rows))

    def work() -> None:
        for start, end in ranges:
            store.materialize(start, end, feature_views=views.split(","))

    with world.quiet():
        return _measured(work)


def history(kind: str, what: str, contents: str, histories: str, folder: str) -> dict[str, float]:
    """Features of all the three views, or the embedding, for the rows of `asked.parquet`."""
    asked = pl.read_parquet(Path(histories) / "asked.parquet")
    names = list(world.HISTORY_VIEWS)
    if what == "embedding":
        asked = asked.select("content_id", "event_timestamp", "label").head(50_000)
        names = ["embedding"]
    if kind == "naive":
        _naive(asked, Path(histories)).to_arrow()
        return _measured(lambda: _naive(asked, Path(histories)).to_arrow())
    made = world.views(Path(contents), Path(histories))
    store = world.open_store(Path(folder), {"offline_store": {"type": world.OFFLINE[kind]}}, made)
    entities: Any = asked if kind == "ours" else asked.to_pandas()
    _retrieve(store, entities if kind == "ours" else entities.head(1000), names)  # warm, as the naive join is
    return _measured(lambda: _retrieve(store, entities, names))


def _retrieve(store: FeatureStore, entities: Any, names: list[str]) -> Any:
    """The features in hand as an Arrow table."""
    fields = {name: ["embedding"] if name == "embedding" else [f"{name}_{s}" for s in world.SCALARS] for name in names}
    features = [f"{name}:{field}" for name in names for field in fields[name]]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return store.get_historical_features(entities, features).to_arrow()


def _naive(asked: pl.DataFrame, histories: Path) -> pl.DataFrame:
    """What one would write in Polars: a join over the text keys, a view at a time."""
    found = asked.sort("event_timestamp")
    for name, key in world.HISTORY_VIEWS.items():
        rows = pl.read_parquet(histories / f"{name}.parquet")
        found = found.join_asof(rows, on="event_timestamp", by=key, tolerance=world.FOREVER, check_sortedness=False)
    return found


if __name__ == "__main__":
    measurements: dict[str, Callable[..., dict[str, float]]] = {"materialize": materialize, "history": history}
    sys.stdout.write(json.dumps(measurements[sys.argv[1]](*sys.argv[2:])) + "\n")
