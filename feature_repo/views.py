"""Feature views: the scalar ones of `schema.py`, and one for each embedding that has been run, and for its tokens."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from types import MappingProxyType
from typing import Any

import polars as pl
from feast import FeatureView, Field
from feast.types import Array, FeastType, Float32, Float64, Int64, String

from feature_repo import entities
from feature_repo.catalog import Catalog
from feature_repo.columnar.request import TABLE_VERSION
from feature_repo.schema import VIEWS
from feature_repo.settings import Settings
from feature_repo.sources import embedding_source, scalar_source
from feature_repo.vectors import tokens_column

# Features do not expire. A TTL of 0 would say so, but then the first `materialize-incremental` reaches back one
# year only, and older catalogs would stay empty.
FOREVER = timedelta(days=50 * 365)

_ENTITIES = {"content": entities.content, "creator": entities.creator, "user": entities.user}
_TYPES: dict[pl.DataType, FeastType] = {
    pl.Float32(): Float32,
    pl.String(): String,
    pl.List(pl.String()): Array(String),
    pl.List(pl.Int64()): Array(Int64),
    pl.List(pl.Float64()): Array(Float64),
}


def _key(entity: str) -> Field:
    """The entity's own column; named, so that Feast need not open the files to learn its type."""
    return Field(name=f"{entity}_id", dtype=String)


def scalar_views(settings: Settings) -> dict[str, FeatureView]:
    """One view for each table of `schema.VIEWS`, by name."""
    return {
        name: FeatureView(
            name=name,
            entities=[_ENTITIES[entity]],
            ttl=FOREVER,
            schema=[_key(entity), *(Field(name=column, dtype=_TYPES[dtype]) for column, dtype in features.items())],
            source=scalar_source(settings, name),
            online=True,
        )
        for name, (entity, features) in VIEWS.items()
    }


def embedding_views(settings: Settings) -> dict[str, FeatureView]:
    """One view an embedding in the catalog, by name; its one field bears the embedding's name."""
    with Catalog(settings.catalog) as catalog:
        registered = catalog.embeddings()
    return {name: _list_view(settings, row, name, row.dim) for name, row in registered.items()}


def user_views(settings: Settings) -> dict[str, FeatureView]:
    """One view an embedding of users in the catalog, by name: their states, dated."""
    with Catalog(settings.catalog) as catalog:
        registered = catalog.user_ledger.embeddings()
    return {name: _list_view(settings, row, name, row.dim, entity="user") for name, row in registered.items()}


def token_views(settings: Settings) -> dict[str, FeatureView]:
    """One view an embedding that keeps tokens, by name (`<embedding>_tokens`), over the files of its vectors.

    The field has the view's name and all K D numbers of a content; the tag `tokens` says K.
    """
    with Catalog(settings.catalog) as catalog:
        kept = [row for row in catalog.embeddings().values() if row.tokens]
    names = {tokens_column(row.name): row for row in kept}
    return {
        name: _list_view(settings, row, name, row.tokens * row.token_dim, {"tokens": str(row.tokens)})
        for name, row in names.items()
    }


def _list_view(
    settings: Settings,
    row: Any,
    name: str,
    size: int,
    tags: Mapping[str, str] = MappingProxyType({}),
    entity: str = "content",
) -> FeatureView:
    """A view of one column of `size` numbers a key. Apart from all else, because stores read whole views."""
    return FeatureView(
        name=name,
        entities=[_ENTITIES[entity]],
        ttl=FOREVER,
        schema=[_key(entity), Field(name=name, dtype=Array(Float32))],
        source=embedding_source(settings, row.name, row.spec_digest),
        online=True,
        tags={
            "embedding": row.name,
            "dim": str(size),
            "spec_digest": row.spec_digest,
            TABLE_VERSION: row.spec_digest,
            **tags,
        },
    )
