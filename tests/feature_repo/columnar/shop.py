"""One Feast repository about a shop, opened over any offline store, and small frames for its Parquet."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
from feast import (
    Entity,
    FeatureService,
    FeatureStore,
    FeatureView,
    Field,
    FileSource,
    RepoConfig,
    RequestSource,
    ValueType,
)
from feast.data_format import ParquetFormat
from feast.on_demand_feature_view import on_demand_feature_view
from feast.types import Array, Float32, Float64, Int64, String

DAY = datetime(2026, 3, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
OURS = "feature_repo.columnar.offline.PolarsOfflineStore"

user = Entity(name="user", join_keys=["user_id"], value_type=ValueType.INT64)
item = Entity(name="item", join_keys=["item_id"], value_type=ValueType.STRING)


def hours(*steps: float | None) -> pl.Series:
    """Times as many hours after `DAY`."""
    return pl.Series([None if step is None else DAY + step * HOUR for step in steps], dtype=pl.Datetime("us", "UTC"))


def write_sources(folder: Path) -> None:
    """The Parquet of every view below."""
    users = pl.DataFrame({"user_id": [1, 1, 2, 1, 3], "event_timestamp": hours(0, 2, 1, 2, 30)})
    users = users.with_columns(created=hours(0, 3, 1, 4, 30), visits=pl.Series([10, 11, 20, 12, 30]))
    users.with_columns(mood=pl.Series(["a", "b", None, "d", "e"])).write_parquet(folder / "users.parquet")
    items = pl.DataFrame({"raw_id": ["x", "y", "x"], "happened": hours(0, 1, 5).dt.replace_time_zone(None)})
    vectors = pl.Series([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], dtype=pl.List(pl.Float32))
    items = items.with_columns(raw_price=pl.Series([1.5, 2.5, 3.5]), vector=vectors)
    (folder / "items").mkdir()
    items.head(2).write_parquet(folder / "items" / "0.parquet")
    items.tail(1).write_parquet(folder / "items" / "1.parquet")
    pairs = pl.DataFrame({"user_id": [1, 1, 2], "item_id": ["x", "y", "x"], "event_timestamp": hours(0, 0, 3)})
    pairs.with_columns(clicks=pl.Series([1, 2, 3])).write_parquet(folder / "pairs.parquet")
    pl.DataFrame({"event_timestamp": hours(0, 4), "load": [0.25, 0.75]}).write_parquet(folder / "shop.parquet")


def _source(folder: Path, path: str, **options: Any) -> FileSource:
    return FileSource(path=str(folder / path), file_format=ParquetFormat(), **options)


def views(folder: Path, global_view: bool = True) -> dict[str, FeatureView]:
    """Integer, text and composite keys, none; renamed fields; a TTL; created times."""
    made = [
        FeatureView(
            name="users",
            entities=[user],
            ttl=24 * HOUR,
            schema=[
                Field(name="user_id", dtype=Int64),
                Field(name="visits", dtype=Int64),
                Field(name="mood", dtype=String),
            ],
            source=_source(
                folder, "users.parquet", timestamp_field="event_timestamp", created_timestamp_column="created"
            ),
        ),
        FeatureView(
            name="items",
            entities=[item],
            ttl=timedelta(0),
            schema=[
                Field(name="item_id", dtype=String),
                Field(name="price", dtype=Float64),
                Field(name="vector", dtype=Array(Float32)),
            ],
            source=_source(
                folder,
                "items/*.parquet",
                timestamp_field="event_timestamp",
                field_mapping={"raw_id": "item_id", "raw_price": "price", "happened": "event_timestamp"},
            ),
        ),
        FeatureView(
            name="pairs",
            entities=[user, item],
            ttl=timedelta(0),
            schema=[
                Field(name="user_id", dtype=Int64),
                Field(name="item_id", dtype=String),
                Field(name="clicks", dtype=Int64),
            ],
            source=_source(folder, "pairs.parquet", timestamp_field="event_timestamp"),
        ),
    ]
    if global_view:
        source = _source(folder, "shop.parquet", timestamp_field="event_timestamp")
        made.append(FeatureView(name="shop", entities=[], schema=[Field(name="load", dtype=Float64)], source=source))
    return {view.name: view for view in made}


def open_store(folder: Path, offline: str) -> FeatureStore:
    """A store over `folder`'s Parquet with everything applied; its registry and online store are its own."""
    home = folder / offline.rpartition(".")[2]
    home.mkdir()
    config = RepoConfig(
        project="shop",
        provider="local",
        registry=str(home / "registry.db"),
        offline_store={"type": offline},
        online_store={"type": "sqlite", "path": str(home / "online.db")},
        entity_key_serialization_version=3,
        repo_path=home,
    )
    store = FeatureStore(config=config)
    made = views(folder)
    request = RequestSource(name="offer", schema=[Field(name="discount", dtype=Float64)])

    @on_demand_feature_view(sources=[made["items"], request], schema=[Field(name="final", dtype=Float64)])  # type: ignore[untyped-decorator]
    def offers(inputs: pd.DataFrame) -> pd.DataFrame:
        return pd.DataFrame({"final": inputs["price"] * (1 - inputs["discount"])})

    service = FeatureService(name="all", features=[made["users"], made["items"][["price"]], made["pairs"]])
    store.apply([user, item, *made.values(), offers, service])
    return store
