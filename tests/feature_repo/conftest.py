"""A small catalog with events and vectors, and databases to hold it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa

from feature_repo import catalog_schema as schema
from feature_repo.catalog import Catalog
from feature_repo.catalog_rows import LedgerRow
from feature_repo.contracts import Content, EmbeddingSpec, EventType, Interaction, Modality
from feature_repo.events import EventLog
from feature_repo.settings import Settings
from feature_repo.statistics import write_statistics
from feature_repo.vectors import vectors_dir, write_partition

START = datetime(2025, 1, 1, tzinfo=UTC)
SPEC = EmbeddingSpec("toy", Modality.TEXT, 8, "none", "none:None")


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a PostgreSQL server that the `pgserver` wheel brings and this session starts."""
    pgserver = pytest.importorskip("pgserver", reason="no pgserver wheel: PostgreSQL is not tested")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # platformdirs warns where the environment names no runtime folder
        try:
            server = pgserver.get_server(tmp_path_factory.mktemp("pg"), cleanup_mode="stop")
        except (OSError, RuntimeError, AssertionError) as error:
            pytest.skip(f"PostgreSQL does not start here: {error}")
    yield server.get_uri().replace("postgresql://", "postgresql+psycopg://")
    server.cleanup()


@pytest.fixture(params=["sqlite", "postgresql"])
def any_catalog(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Catalog]:
    """An empty catalog in each database that is supported."""
    url = f"sqlite:///{tmp_path / 'catalog.db'}" if request.param == "sqlite" else request.getfixturevalue("postgres")
    with Catalog(url) as catalog:
        yield catalog
        if request.param == "postgresql":
            _drop(request.getfixturevalue("postgres"))


def _drop(url: str) -> None:
    engine = sa.create_engine(url)
    schema.metadata.drop_all(engine)
    engine.dispose()


def contents(count: int) -> list[Content]:
    """Contents c000…, one an hour, by creators k0…k3."""
    return [
        Content(
            f"c{i:03d}",
            f"Title {i}",
            START + timedelta(hours=i),
            description="words " * (i % 3),
            creator_id=f"k{i % 4}" if i % 5 else None,
            tags=("odd",) if i % 2 else (),
            attributes={"language": "en", "duration_s": float(i)},
            counters={"views": float(i)},
        )
        for i in range(count)
    ]


def interactions(count: int, of: int, seed: int = 0) -> list[Interaction]:
    """Random events of users u0…u9 over 20 days."""
    rng = np.random.default_rng(seed)
    kinds = list(EventType)
    return [
        Interaction(
            f"u{rng.integers(10)}",
            f"c{rng.integers(of):03d}",
            kinds[rng.integers(len(kinds))],
            START + timedelta(seconds=int(rng.integers(20 * 86_400))),
            float(rng.integers(1, 6)),
        )
        for _ in range(count)
    ]


@pytest.fixture
def filled(settings: Settings, catalog: Catalog) -> Catalog:
    """40 contents, 1,500 events, their statistics, and vectors for all but the last two contents."""
    catalog.upsert_contents(contents(40), "toy")
    list(EventLog(settings.interactions_dir).append(interactions(1500, 40)))
    list(write_statistics(settings, catalog))
    embed(settings, catalog, [f"c{i:03d}" for i in range(38)])
    return catalog


def embed(settings: Settings, catalog: Catalog, ids: list[str], partition: str = "p0", seed: int = 0) -> np.ndarray:
    """Write one partition of random vectors and its ledger rows."""
    matrix = np.random.default_rng(seed).normal(size=(len(ids), SPEC.dim)).astype(np.float32)
    items = catalog.get(ids)
    write_partition(
        vectors_dir(settings, SPEC.name, SPEC.digest) / f"{partition}.parquet",
        SPEC.name,
        ids,
        [items[i].content.published_at for i in ids],
        [items[i].updated_at for i in ids],
        matrix,
    )
    catalog.register_embedding(SPEC)
    catalog.record(SPEC.name, SPEC.digest, [LedgerRow(i, f"{partition}-{i}", partition) for i in ids])
    return matrix


@pytest.fixture
def make_contents() -> object:
    """`contents`, for tests that make their own."""
    return contents


@pytest.fixture
def spec() -> EmbeddingSpec:
    """The spec that `filled` embeds with."""
    return SPEC


@pytest.fixture
def make_interactions() -> object:
    """`interactions`, for tests that make their own."""
    return interactions


@pytest.fixture
def embed_toy() -> object:
    """`embed`, for tests that add vectors."""
    return embed


@pytest.fixture
def refresh_statistics() -> object:
    """Write every view's Parquet."""
    return lambda settings, catalog: list(write_statistics(settings, catalog))


@pytest.fixture
def unregister(settings: Settings) -> object:
    """Forget an embedding, as if it had never been run."""

    def forget(name: str) -> None:
        engine = sa.create_engine(settings.catalog)
        with engine.begin() as connection:
            connection.execute(sa.delete(schema.embeddings).where(schema.embeddings.c.name == name))
        engine.dispose()

    return forget
