"""How a workspace stands: what is ingested, embedded, indexed, trained and released."""

from __future__ import annotations

from dataclasses import dataclass, field

from feature_repo.catalog import Catalog
from feature_repo.settings import Settings
from indexers import versions
from predictors import release
from predictors.base import PREDICTORS
from predictors.versions import current


@dataclass(frozen=True, slots=True)
class EmbeddingStatus:
    """How far one embedding is: `missing` contents were never tried."""

    name: str
    dim: int
    done: int
    failed: int
    missing: int
    reasons: dict[str, int]


@dataclass(frozen=True, slots=True)
class Status:
    """A workspace at a glance; None where a thing does not exist yet."""

    home: str
    contents: int
    users: int
    embeddings: list[EmbeddingStatus]
    indexes: dict[str, str | None]
    models: dict[str, str | None]
    releases: list[str] = field(default_factory=list)
    current_release: str | None = None


def read_status(settings: Settings, catalog: Catalog) -> Status:
    """Look at the catalog and the version pointers; loads no model and no index."""
    contents = catalog.count_contents()
    registered = catalog.embeddings()
    return Status(
        home=str(settings.home),
        contents=contents,
        users=catalog.count_users(),
        embeddings=[_embedding(catalog, name, row.spec_digest, row.dim, contents) for name, row in registered.items()],
        indexes={name: next(iter(versions.history(settings, name)), None) for name in registered},
        models={name: current(settings, name) for name in PREDICTORS},
        releases=[version for version, _ in catalog.releases()],
        current_release=next(iter(release.history(settings)), None),
    )


def _embedding(catalog: Catalog, name: str, spec_digest: str, dim: int, contents: int) -> EmbeddingStatus:
    rows = catalog.ledger(name, spec_digest).values()
    reasons: dict[str, int] = {}
    for row in rows:
        if row.reason is not None:
            reasons[row.reason] = reasons.get(row.reason, 0) + 1
    failed = sum(reasons.values())
    return EmbeddingStatus(name, dim, len(rows) - failed, failed, max(contents - len(rows), 0), reasons)
