"""A small world of users for the tests of the user models: item vectors in the store, and events in the log."""

from __future__ import annotations

import time
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl

from embedders import user_runner
from embedders.base import Vector
from embedders.train_user_sequence import FitConfig, fit_user_sequence
from feature_repo.catalog import Catalog
from feature_repo.catalog_rows import LedgerRow
from feature_repo.contracts import Content, EmbeddingSpec, EventType, Interaction, Modality
from feature_repo.events import EventLog
from feature_repo.settings import Settings, load_settings
from feature_repo.vectors import vectors_dir, write_partition

START = datetime(2025, 1, 1, tzinfo=UTC)
TOY = EmbeddingSpec("toy", Modality.TEXT, 8, "none", "none:None")
ITEMS = 24
TINY = FitConfig(epochs=2, batch=8, negatives=16, length=8, width=16)


def add_items(
    settings: Settings, catalog: Catalog, count: int = ITEMS, without: int = 2, seed: int = 0, spec: EmbeddingSpec = TOY
) -> None:
    """Contents c00…, all but the last `without` with a random vector of 8 numbers."""
    contents = [Content(f"c{n:02d}", f"Title {n}", START) for n in range(count)]
    catalog.upsert_contents(contents, "toy")
    ids = [content.content_id for content in contents[: count - without]]
    matrix = np.random.default_rng(seed).normal(size=(len(ids), spec.dim)).astype(np.float32)
    name = f"p{seed}"
    folder = vectors_dir(settings, spec.name, spec.digest)
    write_partition(folder / f"{name}.parquet", spec.name, ids, [START] * len(ids), [START] * len(ids), matrix)
    catalog.record(spec.name, spec.digest, [LedgerRow(i, f"{name}-{i}", name) for i in ids])
    catalog.register_embedding(spec)


def walks(users: int = 12, events: int = 20, seed: int = 0) -> list[Interaction]:
    """Users who go round the items, each from a place of their own: what comes next is certain. Every 2 to 20 hours."""
    rng = np.random.default_rng(seed)
    found = []
    for user in range(users):
        at, when = int(rng.integers(ITEMS)), START + timedelta(hours=int(rng.integers(48)))
        for step in range(events):
            found.append(event(f"u{user:02d}", (at + step) % ITEMS, when))
            when += timedelta(hours=int(rng.integers(2, 20)))
    return found


def event(user: str, item: int, when: datetime, kind: EventType = EventType.VIEW) -> Interaction:
    """One event."""
    return Interaction(user, f"c{item:02d}", kind, when)


def add_events(settings: Settings, events: Iterable[Interaction]) -> None:
    """Write a segment of the log."""
    list(EventLog(settings.interactions_dir).append(events))


def fit(settings: Settings, catalog: Catalog) -> None:
    """Fit the tiny model on what is there."""
    fit_user_sequence(settings, catalog, TINY, ["toy"])


def rows(settings: Settings) -> pl.DataFrame:
    """Every row of every partition of the user model, the one that was created last first where times are the same."""
    files = list((settings.embeddings_dir / "user_sequence").glob("*/*.parquet"))
    return pl.read_parquet(files).sort("user_id", "event_timestamp", "created", descending=[False, False, True])


def current_rows(settings: Settings) -> dict[tuple[str, datetime], Vector]:
    """Vectors by user and time, as a point-in-time join would find them."""
    frame = rows(settings).unique(["user_id", "event_timestamp"], keep="first", maintain_order=True)
    keys = zip(frame["user_id"], frame["event_timestamp"], strict=True)
    return dict(zip(keys, frame["user_sequence"].to_numpy(), strict=True))


def run_slowly(home: Path) -> None:
    """A run for a process of its own, with time to be killed before and after each file."""

    def slowly(*args: object, **options: object) -> None:
        time.sleep(0.15)
        write_partition(*args, **options)  # type: ignore[arg-type]
        time.sleep(0.15)

    setattr(user_runner, "write_partition", slowly)  # noqa: B010, mypy takes the name for private there
    settings = load_settings(home=home, partition_size=3)
    with Catalog(settings.catalog) as catalog:
        user_runner.run_users("user_sequence", settings, catalog)
