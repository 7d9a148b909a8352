"""The catalog's tables, and the SQLAlchemy engine that holds them (SQLite by default, PostgreSQL by URL)."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import ConnectionPoolEntry

from feature_repo.errors import ConfigurationError, UnavailableError


class UtcDateTime(sa.TypeDecorator[datetime]):
    """Aware UTC times, stored without a zone (SQLite has none) and given back with it."""

    impl = sa.DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        """To the naive UTC time that is stored."""
        return None if value is None else value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        """To the aware UTC time."""
        return None if value is None else value.replace(tzinfo=UTC)


metadata = sa.MetaData()

contents = sa.Table(
    "contents",
    metadata,
    sa.Column("content_id", sa.String, primary_key=True),
    sa.Column("dataset", sa.String, nullable=False, index=True),
    sa.Column("title", sa.String, nullable=False),
    sa.Column("description", sa.String, nullable=False),
    sa.Column("creator_id", sa.String, index=True),
    sa.Column("published_at", UtcDateTime, nullable=False),
    sa.Column("tags", sa.JSON, nullable=False),
    sa.Column("attributes", sa.JSON, nullable=False),
    sa.Column("counters", sa.JSON, nullable=False),
    sa.Column("row_digest", sa.String, nullable=False),
    sa.Column("updated_at", UtcDateTime, nullable=False),
)

media = sa.Table(
    "media",
    metadata,
    sa.Column("content_id", sa.String, primary_key=True),
    sa.Column("modality", sa.String, primary_key=True),
    sa.Column("path", sa.String, nullable=False),
    sa.Column("size", sa.BigInteger),
    sa.Column("mtime_ns", sa.BigInteger),
    sa.Column("digest", sa.String),
    sa.Column("updated_at", UtcDateTime, nullable=False),
)

users = sa.Table(
    "users",
    metadata,
    sa.Column("user_id", sa.String, primary_key=True),
    sa.Column("attributes", sa.JSON, nullable=False),
)

embeddings = sa.Table(
    "embeddings",
    metadata,
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("spec_digest", sa.String, nullable=False),
    sa.Column("modality", sa.String, nullable=False),
    sa.Column("dim", sa.Integer, nullable=False),
)

# A table of its own, so that a catalog made before there were tokens gets it by being opened.
embedding_tokens = sa.Table(
    "embedding_tokens",
    metadata,
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("tokens", sa.Integer, nullable=False),
    sa.Column("token_dim", sa.Integer, nullable=False),
)

ledger = sa.Table(
    "embedding_ledger",
    metadata,
    sa.Column("embedding", sa.String, primary_key=True),
    sa.Column("spec_digest", sa.String, primary_key=True),
    sa.Column("content_id", sa.String, primary_key=True),
    sa.Column("fingerprint", sa.String, nullable=False),
    sa.Column("partition", sa.String),
    sa.Column("reason", sa.String),
)

user_embeddings = sa.Table(
    "user_embeddings",
    metadata,
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("spec_digest", sa.String, nullable=False),
    sa.Column("dim", sa.Integer, nullable=False),
    sa.Column("rows", sa.String, nullable=False),
)

user_ledger = sa.Table(
    "user_ledger",
    metadata,
    sa.Column("embedding", sa.String, primary_key=True),
    sa.Column("spec_digest", sa.String, primary_key=True),
    sa.Column("user_id", sa.String, primary_key=True),
    sa.Column("first", sa.Integer, primary_key=True),
    sa.Column("events", sa.Integer, nullable=False),
    sa.Column("fingerprint", sa.String, nullable=False),
    sa.Column("partition", sa.String, nullable=False),
    sa.Column("revision", sa.Integer, nullable=False),
)

index_versions = sa.Table(
    "index_versions",
    metadata,
    sa.Column("embedding", sa.String, primary_key=True),
    sa.Column("version", sa.String, primary_key=True),
    sa.Column("kind", sa.String, nullable=False),
    sa.Column("count", sa.Integer, nullable=False),
    sa.Column("recall", sa.Float, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
)

releases = sa.Table(
    "releases",
    metadata,
    sa.Column("version", sa.String, primary_key=True),
    sa.Column("manifest", sa.JSON, nullable=False),
    sa.Column("created_at", UtcDateTime, nullable=False),
)


def _tune_sqlite(connection: DBAPIConnection, _record: ConnectionPoolEntry) -> None:
    """Readers beside one writer, waiting instead of failing, durable at each commit."""
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "busy_timeout=30000", "synchronous=NORMAL"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def open_engine(url: str) -> sa.Engine:
    """An engine with the tables in place. Raises ConfigurationError for a bad URL, UnavailableError for no answer."""
    try:
        parsed = sa.make_url(url)
        if parsed.get_backend_name() == "sqlite" and parsed.database:
            Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
        engine = sa.create_engine(parsed)
    except (sa.exc.ArgumentError, sa.exc.NoSuchModuleError, ModuleNotFoundError) as error:
        raise ConfigurationError(
            f"catalog URL {url!r}: {error}. Use sqlite:///FILE, or postgresql+psycopg://… with the `postgres` extra"
        ) from error
    except OSError as error:
        raise UnavailableError(f"catalog {url}: {error}; set LARDER_HOME to a folder that can be made") from error
    if engine.dialect.name not in ("sqlite", "postgresql"):
        raise ConfigurationError(f"catalog URL {url!r}: only SQLite and PostgreSQL are supported")
    if engine.dialect.name == "sqlite":
        sa.event.listen(engine, "connect", _tune_sqlite)
    try:
        metadata.create_all(engine)
    except sa.exc.OperationalError as error:
        raise UnavailableError(f"catalog {parsed.render_as_string()}: {error.orig}") from error
    return engine
