"""One Feast repository over one set of Parquet files, opened twice: with stock stores, and with the columnar ones."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from feast import (
    Entity,
    FeatureService,
    FeatureStore,
    FeatureView,
    Field,
    FileSource,
    PushSource,
    RepoConfig,
    ValueType,
)
from feast.on_demand_feature_view import on_demand_feature_view
from feast.types import (
    Array,
    Bool,
    Bytes,
    FeastType,
    Float32,
    Float64,
    Int32,
    Int64,
    Json,
    Map,
    Set,
    String,
    UnixTimestamp,
    Uuid,
)

DAY = datetime(2025, 6, 1, tzinfo=UTC)
FOREVER = timedelta(days=36500)

STOCK: dict[str, Any] = {"online_store": {"type": "sqlite", "path": "online.db"}, "batch_engine": "local"}
OURS: dict[str, Any] = {
    "online_store": {"type": "feature_repo.columnar.online.ColumnarOnlineStore", "path": "online"},
    "batch_engine": {"type": "feature_repo.columnar.engine.ColumnarEngine", "batch_rows": 3},
}

content = Entity(name="content", join_keys=["content_id"], value_type=ValueType.STRING)
user = Entity(name="user", join_keys=["user_id"], value_type=ValueType.INT64)

FIELDS: dict[str, FeastType] = {
    "f32": Float32,
    "f64": Float64,
    "i32": Int32,
    "i64": Int64,
    "flag": Bool,
    "text": String,
    "blob": Bytes,
    "moment": UnixTimestamp,
    "vector": Array(Float32),
    "ragged": Array(Float32),
    "doubles": Array(Float64),
    "longs": Array(Int64),
    "flags": Array(Bool),
    "words": Array(String),
    "moments": Array(UnixTimestamp),
    "json": Json,
    "uuid": Uuid,
    "map": Map,
    "numbers": Set(Int64),
}


def kinds_table() -> pa.Table:
    """Three contents with a value of every type, and one ("c3") that is null in all of them."""
    times = [DAY + timedelta(hours=hour) for hour in range(4)]
    columns: dict[str, pa.Array] = {
        "content_id": pa.array(["c0", "c1", "c2", "c3"]),
        "f32": pa.array([0.1, 2.5, float("nan"), None], pa.float32()),
        "f64": pa.array([0.1, -2.5, 1e300, None], pa.float64()),
        "i32": pa.array([1, -2, 2**31 - 1, None], pa.int32()),
        "i64": pa.array([1, -2, 2**50, None], pa.int64()),
        "flag": pa.array([True, False, True, None]),
        "text": pa.array(["", "zwei", "drei ☃", None]),
        "blob": pa.array([b"", b"\x00\xff", b"3", None]),
        "moment": pa.array([*times[:3], None], pa.timestamp("us", "UTC")),
        "vector": pa.array([[0.1, 0.2], [1, 2], [3, 4], None], pa.list_(pa.float32(), 2)),
        "ragged": pa.array([[0.1, 0.2], [1], [], None], pa.list_(pa.float32())),
        "doubles": pa.array([[0.1], [1, 2], [3], None], pa.list_(pa.float64())),
        "longs": pa.array([[1, 2**40], [3], [4], None], pa.list_(pa.int64())),
        "flags": pa.array([[True], [False, True], [True], None]),
        "words": pa.array([["a", "b"], ["c"], [""], None]),
        "moments": pa.array([times[:2], times[:1], times[:1], None], pa.list_(pa.timestamp("us", "UTC"))),
        "json": pa.array(['{"a": 1}', '{"a": 2}', '{"a": null}', None]),
        "uuid": pa.array([f"00000000-0000-0000-0000-00000000000{i}" for i in range(3)] + [None]),
        "map": pa.array(['{"a": 1}', '{"b": "x"}', '{"c": 0.5}', None]),
        "numbers": pa.array([[1, 2], [3], [4], None], pa.list_(pa.int64())),
        "event_timestamp": pa.array(times, pa.timestamp("us", "UTC")),
    }
    return pa.table(columns)


def history_table() -> pa.Table:
    """Two keys, five rows in no order of time; a tie that the created time breaks."""
    return pa.table(
        {
            "content_id": ["c0", "c0", "c0", "c1", "c1"],
            "user_id": pa.array([7, 7, 7, -8, -8], pa.int64()),
            "raw_views": pa.array([1.0, 3.0, 2.0, 5.0, 4.0], pa.float32()),
            "likes": pa.array([1, 3, 2, 5, 4], pa.int64()),
            "seen": pa.array([DAY + timedelta(hours=h) for h in (0, 2, 1, 1, 1)], pa.timestamp("us", "UTC")),
            "made": pa.array([DAY + timedelta(hours=h) for h in (3, 3, 3, 9, 4)], pa.timestamp("us", "UTC")),
        }
    )


@dataclass
class Repo:
    """The objects of the repository, over files below `folder`."""

    folder: Path
    kinds_ttl: timedelta = FOREVER
    kinds_fields: dict[str, FeastType] = field(default_factory=lambda: dict(FIELDS))

    def write(self) -> None:
        """Put the files there."""
        pq.write_table(kinds_table(), self.folder / "kinds.parquet")
        pq.write_table(history_table(), self.folder / "history.parquet")

    def kinds(self) -> FeatureView:
        """A view with a feature of every type, that can be pushed to."""
        source = FileSource(
            name="kinds_file", path=str(self.folder / "kinds.parquet"), timestamp_field="event_timestamp"
        )
        return FeatureView(
            name="kinds",
            entities=[content],
            ttl=self.kinds_ttl,
            schema=[
                Field(name="content_id", dtype=String),
                *(Field(name=name, dtype=dtype) for name, dtype in self.kinds_fields.items()),
            ],
            source=PushSource(name="kinds_push", batch_source=source),
        )

    def history(self) -> FeatureView:
        """A view with a composite key, renamed columns and created times."""
        source = FileSource(
            name="history_file",
            path=str(self.folder / "history.parquet"),
            timestamp_field="seen",
            created_timestamp_column="made",
            field_mapping={"raw_views": "views"},
        )
        schema = [Field(name="content_id", dtype=String), Field(name="user_id", dtype=Int64)]
        return FeatureView(
            name="history",
            entities=[content, user],
            ttl=FOREVER,
            schema=[*schema, Field(name="views", dtype=Float32), Field(name="likes", dtype=Int64)],
            source=source,
        )

    def objects(self) -> list[Any]:
        """All of it."""
        kinds, history = self.kinds(), self.history()

        @on_demand_feature_view(  # type: ignore[untyped-decorator]
            sources=[history], schema=[Field(name="twice", dtype=Float64)], mode="pandas", name="doubled"
        )
        def doubled(frame: pd.DataFrame) -> pd.DataFrame:
            return pd.DataFrame({"twice": frame["views"].astype("float64") * 2})

        objects = [content, user, kinds, history, doubled]
        if "vector" in self.kinds_fields:
            objects.append(FeatureService(name="both", features=[kinds[["f32", "vector"]], history.with_name("past")]))
        return objects


def open_store(folder: Path, stores: dict[str, Any], project: str = "pair") -> FeatureStore:
    """A store with its registry below `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    return FeatureStore(
        config=RepoConfig(
            project=project,
            provider="local",
            entity_key_serialization_version=3,
            repo_path=folder,
            **{
                "registry": {"registry_type": "sql", "path": f"sqlite:///{folder}/registry.db"},
                "offline_store": {"type": "duckdb"},
                **stores,
            },
        )
    )


def materialize(store: FeatureStore, views: list[str] | None = None) -> None:
    """Everything there is, up to the day after `DAY`."""
    store.materialize(datetime(2020, 1, 1, tzinfo=UTC), DAY + timedelta(days=1), feature_views=views)
