"""What the catalog hands out, and how rows of its tables become that and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from stat import S_ISREG
from typing import Any

import sqlalchemy as sa

from feature_repo.contracts import Content, Modality
from feature_repo.files import digest_file


@dataclass(frozen=True, slots=True)
class LedgerRow:
    """One content's state under one embedding: a partition where its vector lies, or the reason it has none."""

    content_id: str
    fingerprint: str
    partition: str | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class MediaRow:
    """A medium of a content as last looked at; `digest` is None where there is no readable file."""

    path: Path
    digest: str | None
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class CatalogItem:
    """A content with when its row last changed and the state of its media."""

    content: Content
    updated_at: datetime
    media: Mapping[Modality, MediaRow]


@dataclass(frozen=True, slots=True)
class IndexVersion:
    """One published FAISS index."""

    embedding: str
    version: str
    kind: str
    count: int
    recall: float
    created_at: datetime


@dataclass(slots=True)
class UpsertCounts:
    """What a batch of contents changed."""

    added: int = 0
    changed: int = 0
    same: int = 0


def look_at(
    path: Path, size: int | None, mtime_ns: int | None, known: str | None
) -> tuple[int | None, int | None, str | None]:
    """Size, time and digest of a file; the known digest where size and time are as before, None where unreadable.

    A pipe or a device counts as unreadable: reading it might never end.
    """
    try:
        stat = path.stat()
        if not S_ISREG(stat.st_mode):
            return None, None, None
        if (stat.st_size, stat.st_mtime_ns) == (size, mtime_ns) and known is not None:
            return size, mtime_ns, known
        return stat.st_size, stat.st_mtime_ns, digest_file(path)
    except OSError:
        return None, None, None


def content_row(content: Content, dataset: str, now: datetime) -> dict[str, Any]:
    """A content as a row of `contents`, changed at `now`."""
    return {
        "content_id": content.content_id,
        "dataset": dataset,
        "title": content.title,
        "description": content.description,
        "creator_id": content.creator_id,
        "published_at": content.published_at,
        "tags": list(content.tags),
        "attributes": dict(content.attributes),
        "counters": dict(content.counters),
        "row_digest": content.row_digest,
        "updated_at": now,
    }


def catalog_item(row: sa.Row[Any], media: Mapping[Modality, MediaRow]) -> CatalogItem:
    """A row of `contents` with its media."""
    content = Content(
        content_id=row.content_id,
        title=row.title,
        description=row.description,
        creator_id=row.creator_id,
        published_at=row.published_at,
        tags=tuple(row.tags),
        attributes=row.attributes,
        counters=row.counters,
        media={m: r.path for m, r in media.items()},
    )
    return CatalogItem(content, row.updated_at, media)
