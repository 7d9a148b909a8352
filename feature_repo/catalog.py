"""The catalog: what is known of contents, users and media, and which vectors, indexes and releases exist.

Every public method is one transaction.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from feature_repo import catalog_schema as schema
from feature_repo import catalog_statements as statements
from feature_repo.catalog_rows import (
    CatalogItem,
    IndexVersion,
    LedgerRow,
    UpsertCounts,
    catalog_item,
    content_row,
    look_at,
)
from feature_repo.catalog_users import UserLedger
from feature_repo.contracts import Content, EmbeddingSpec, Modality, User
from feature_repo.errors import NotFoundError


class Catalog:
    """Opened by URL; safe to share between threads, and between processes each with its own."""

    def __init__(self, url: str) -> None:
        self._engine = schema.open_engine(url)
        self.user_ledger = UserLedger(self._engine)

    def close(self) -> None:
        """Release the connections."""
        self._engine.dispose()

    def __enter__(self) -> Catalog:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- contents, media and users

    def upsert_contents(self, batch: Sequence[Content], dataset: str) -> UpsertCounts:
        """Add or replace contents; an unchanged one keeps its `updated_at`, so nothing after it is redone."""
        counts = UpsertCounts()
        now = datetime.now(UTC)
        with self._engine.begin() as connection:
            known = statements.by_key(connection, schema.contents.c.row_digest, [c.content_id for c in batch])
            fresh = []
            for content in batch:
                before = known.get(content.content_id)
                if before == content.row_digest:
                    counts.same += 1
                    continue
                counts.changed += before is not None
                counts.added += before is None
                fresh.append(content)
            statements.upsert(connection, schema.contents, [content_row(c, dataset, now) for c in fresh])
            statements.replace_media_paths(connection, fresh, now)
        self.refresh_media([c.content_id for c in batch])
        return counts

    def upsert_users(self, batch: Sequence[User]) -> None:
        """Add or replace users."""
        with self._engine.begin() as connection:
            statements.upsert(
                connection, schema.users, [{"user_id": u.user_id, "attributes": dict(u.attributes)} for u in batch]
            )

    def users(self) -> Iterator[User]:
        """All users by id."""
        with self._engine.connect() as connection:
            for row in connection.execute(sa.select(schema.users).order_by(schema.users.c.user_id)):
                yield User(row.user_id, row.attributes)

    def count_contents(self) -> int:
        """How many contents there are."""
        with self._engine.connect() as connection:
            return connection.scalar(sa.select(sa.func.count()).select_from(schema.contents)) or 0

    def count_users(self) -> int:
        """How many users there are."""
        with self._engine.connect() as connection:
            return connection.scalar(sa.select(sa.func.count()).select_from(schema.users)) or 0

    def items(self, page: int = 2000) -> Iterator[CatalogItem]:
        """All contents by id, a page in memory at a time."""
        last = ""
        while True:
            table = schema.contents
            query = sa.select(table).where(table.c.content_id > last).order_by(table.c.content_id).limit(page)
            with self._engine.connect() as connection:
                rows = connection.execute(query).all()
                media = statements.media_of(connection, [r.content_id for r in rows])
            for row in rows:
                yield catalog_item(row, media.get(row.content_id, {}))
            if len(rows) < page:
                return
            last = rows[-1].content_id

    def get(self, content_ids: Sequence[str]) -> dict[str, CatalogItem]:
        """The named contents; an unknown id is absent."""
        found: dict[str, CatalogItem] = {}
        with self._engine.connect() as connection:
            for chunk in statements.chunks(content_ids):
                rows = connection.execute(sa.select(schema.contents).where(schema.contents.c.content_id.in_(chunk)))
                media = statements.media_of(connection, chunk)
                found |= {row.content_id: catalog_item(row, media.get(row.content_id, {})) for row in rows}
        return found

    def titles(self, content_ids: Sequence[str]) -> dict[str, str]:
        """Title by id; an unknown id is absent."""
        with self._engine.connect() as connection:
            return dict(statements.by_key(connection, schema.contents.c.title, content_ids))

    def refresh_media(self, content_ids: Sequence[str] | None = None, modality: Modality | None = None) -> int:
        """Look at the media files again (size and time first, bytes where those changed); how many differ now."""
        changed: list[dict[str, Any]] = []
        now = datetime.now(UTC)
        with self._engine.begin() as connection:
            query = sa.select(schema.media)
            if modality is not None:
                query = query.where(schema.media.c.modality == modality.value)
            chunks: Iterable[Any] = [query]
            if content_ids is not None:
                chunks = [query.where(schema.media.c.content_id.in_(c)) for c in statements.chunks(content_ids)]
            for chunk in chunks:
                for row in connection.execute(chunk):
                    seen = look_at(Path(row.path), row.size, row.mtime_ns, row.digest)
                    if seen != (row.size, row.mtime_ns, row.digest):
                        moved = seen[2] != row.digest
                        changed.append(
                            dict(row._mapping)
                            | dict(zip(("size", "mtime_ns", "digest"), seen, strict=True))
                            | {"updated_at": now if moved else row.updated_at, "moved": moved}
                        )
            count = sum(bool(row.pop("moved")) for row in changed)
            statements.upsert(connection, schema.media, changed)
        return count

    # -- embeddings

    def register_embedding(self, spec: EmbeddingSpec) -> None:
        """Make `spec` the one in use under its name; feature views are defined from these rows."""
        row = {"name": spec.name, "spec_digest": spec.digest, "modality": spec.modality.value, "dim": spec.dim}
        tokens = {"name": spec.name, "tokens": spec.tokens, "token_dim": spec.token_dim if spec.tokens else 0}
        with self._engine.begin() as connection:
            statements.upsert(connection, schema.embeddings, [row])
            statements.upsert(connection, schema.embedding_tokens, [tokens])

    def introduce_embedding(self, spec: EmbeddingSpec) -> None:
        """Put `spec` in use where its name has none yet; else it is filled beside the one that is."""
        if spec.name not in self.embeddings():
            self.register_embedding(spec)

    def embeddings(self) -> dict[str, sa.Row[Any]]:
        """Registered embeddings by name; rows have `name`, `spec_digest`, `modality`, `dim`, `tokens` and `token_dim`.

        One that keeps no tokens has 0 of width 0.
        """
        table, shapes = schema.embeddings, schema.embedding_tokens
        shape = [sa.func.coalesce(shapes.c[column], 0).label(column) for column in ("tokens", "token_dim")]
        query = sa.select(table, *shape).outerjoin(shapes, table.c.name == shapes.c.name).order_by(table.c.name)
        with self._engine.connect() as connection:
            return {row.name: row for row in connection.execute(query)}

    def ledger(
        self, embedding: str, spec_digest: str, content_ids: Sequence[str] | None = None
    ) -> dict[str, LedgerRow]:
        """Every content, or which of the named ones, that was tried under this spec, by id."""
        table = schema.ledger
        query = sa.select(table.c.content_id, table.c.fingerprint, table.c.partition, table.c.reason)
        queries = [query.where(table.c.embedding == embedding, table.c.spec_digest == spec_digest)]
        if content_ids is not None:
            queries = [queries[0].where(table.c.content_id.in_(chunk)) for chunk in statements.chunks(content_ids)]
        with self._engine.connect() as connection:
            return {row.content_id: LedgerRow(*row) for query in queries for row in connection.execute(query)}

    def ledger_partitions(self, embedding: str, spec_digest: str) -> set[str]:
        """Names of the partitions that hold a vector under this spec."""
        table = schema.ledger
        where = sa.and_(table.c.embedding == embedding, table.c.spec_digest == spec_digest)
        with self._engine.connect() as connection:
            return {name for name in connection.scalars(sa.select(table.c.partition).where(where).distinct()) if name}

    def spec_digests(self) -> dict[str, list[str]]:
        """The specs, by embedding, that any content was tried under."""
        table = schema.ledger
        query = (
            sa.select(table.c.embedding, table.c.spec_digest)
            .distinct()
            .order_by(table.c.embedding, table.c.spec_digest)
        )
        found: dict[str, list[str]] = {}
        with self._engine.connect() as connection:
            for embedding, spec_digest in connection.execute(query):
                found.setdefault(embedding, []).append(spec_digest)
        return found

    def forget_spec(self, embedding: str, spec_digest: str) -> None:
        """Remove what the ledger knows of a spec."""
        table = schema.ledger
        where = sa.and_(table.c.embedding == embedding, table.c.spec_digest == spec_digest)
        with self._engine.begin() as connection:
            connection.execute(sa.delete(table).where(where))

    def ledger_page(self, embedding: str, spec_digest: str, first: str, size: int) -> list[LedgerRow]:
        """The rows of `size` contents that were tried under this spec, by id, from the id `first` on."""
        table = schema.ledger
        query = sa.select(table.c.content_id, table.c.fingerprint, table.c.partition, table.c.reason)
        where = query.where(
            table.c.embedding == embedding, table.c.spec_digest == spec_digest, table.c.content_id >= first
        )
        with self._engine.connect() as connection:
            return [LedgerRow(*row) for row in connection.execute(where.order_by(table.c.content_id).limit(size))]

    def record(self, embedding: str, spec_digest: str, rows: Sequence[LedgerRow]) -> None:
        """Write the outcome of one partition."""
        key = {"embedding": embedding, "spec_digest": spec_digest}
        with self._engine.begin() as connection:
            statements.upsert(
                connection,
                schema.ledger,
                [
                    key
                    | {"content_id": r.content_id, "fingerprint": r.fingerprint}
                    | {"partition": r.partition, "reason": r.reason}
                    for r in rows
                ],
            )

    # -- indexes and releases

    def record_index(self, row: IndexVersion) -> None:
        """Remember a published index."""
        with self._engine.begin() as connection:
            statements.upsert(connection, schema.index_versions, [{s: getattr(row, s) for s in IndexVersion.__slots__}])

    def index_versions(self, embedding: str) -> list[IndexVersion]:
        """Published indexes of an embedding, oldest first."""
        table = schema.index_versions
        query = sa.select(table).where(table.c.embedding == embedding).order_by(table.c.created_at, table.c.version)
        with self._engine.connect() as connection:
            return [IndexVersion(*row) for row in connection.execute(query)]

    def record_release(self, version: str, manifest: Mapping[str, Any]) -> None:
        """Remember a release."""
        row = {"version": version, "manifest": dict(manifest), "created_at": datetime.now(UTC)}
        with self._engine.begin() as connection:
            statements.upsert(connection, schema.releases, [row])

    def releases(self) -> list[tuple[str, datetime]]:
        """Version and time of each release, oldest first."""
        table = schema.releases
        query = sa.select(table.c.version, table.c.created_at).order_by(table.c.created_at, table.c.version)
        with self._engine.connect() as connection:
            return [(row.version, row.created_at) for row in connection.execute(query)]

    def release_manifest(self, version: str) -> dict[str, Any]:
        """The manifest of a release. Raises NotFoundError."""
        table = schema.releases
        with self._engine.connect() as connection:
            manifest = connection.scalar(sa.select(table.c.manifest).where(table.c.version == version))
        if manifest is None:
            raise NotFoundError(f"no release {version!r}; `larder status` lists them")
        return dict(manifest)
