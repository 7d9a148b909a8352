"""What several methods of the catalog say to the database, each on a connection that is open."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from feature_repo import catalog_schema as schema
from feature_repo.catalog_rows import MediaRow
from feature_repo.contracts import Content, Modality

T = TypeVar("T")
_CHUNK = 500  # rows a statement: SQLite binds at most 32,766 variables


def chunks(rows: Sequence[T]) -> Iterator[Sequence[T]]:
    """The rows, as many at a time as a statement takes."""
    for start in range(0, len(rows), _CHUNK):
        yield rows[start : start + _CHUNK]


def upsert(connection: sa.Connection, table: sa.Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Add rows, or replace those of the same primary key; all have the same columns."""
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    keys = [c.name for c in table.primary_key.columns]
    for chunk in chunks(rows):
        insert = dialect.insert(table).values(list(chunk))
        rest = {c.name: insert.excluded[c.name] for c in table.columns if c.name not in keys}
        connection.execute(insert.on_conflict_do_update(index_elements=keys, set_=rest))


def by_key(connection: sa.Connection, column: sa.ColumnElement[Any], content_ids: Sequence[str]) -> dict[str, Any]:
    """A column of the named contents by id; an unknown id is absent."""
    key = schema.contents.c.content_id
    pairs: dict[str, Any] = {}
    for chunk in chunks(content_ids):
        pairs |= {row[0]: row[1] for row in connection.execute(sa.select(key, column).where(key.in_(chunk)))}
    return pairs


def media_of(connection: sa.Connection, content_ids: Sequence[str]) -> dict[str, dict[Modality, MediaRow]]:
    """The media of the named contents by id; one without is absent."""
    found: dict[str, dict[Modality, MediaRow]] = {}
    for chunk in chunks(content_ids):
        for row in connection.execute(sa.select(schema.media).where(schema.media.c.content_id.in_(chunk))):
            entry = MediaRow(Path(row.path), row.digest, row.updated_at)
            found.setdefault(row.content_id, {})[Modality(row.modality)] = entry
    return found


def replace_media_paths(connection: sa.Connection, batch: Sequence[Content], now: datetime) -> None:
    """Bring the media's paths to those of the contents; a file that is new is still to be looked at."""
    table = schema.media
    known = media_of(connection, [c.content_id for c in batch])
    moved, gone = [], []
    for content in batch:
        before = known.get(content.content_id, {})
        gone += [(content.content_id, m.value) for m in before if m not in content.media]
        moved += [
            {"content_id": content.content_id, "modality": m.value, "path": str(path), "updated_at": now}
            | {"size": None, "mtime_ns": None, "digest": None}
            for m, path in content.media.items()
            if m not in before or before[m].path != path
        ]
    for chunk in chunks(gone):
        connection.execute(sa.delete(table).where(sa.tuple_(table.c.content_id, table.c.modality).in_(chunk)))
    upsert(connection, table, moved)
