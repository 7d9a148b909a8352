"""A log of pure chance, in which nothing can be foretold: whoever foretells has looked.

Contents come in pairs. An original is published, days later a copy of it with the same vector, creator and number of
ratings; that number and every star are drawn by chance. So nothing that lies before an original tells how popular it
becomes, while its copy would, and so would what its creator earns later.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np

from feature_repo.catalog import Catalog
from feature_repo.catalog_rows import LedgerRow
from feature_repo.contracts import Content, EmbeddingSpec, EventType, Interaction, Modality
from feature_repo.events import EventLog
from feature_repo.settings import Settings
from feature_repo.statistics import write_statistics
from feature_repo.store import Store
from feature_repo.vectors import vectors_dir, write_partition
from predictors.splits import Splits

SPEC = EmbeddingSpec("dice", Modality.IMAGE, 3, "chance", "none:None")
PAIRS, USERS = 120, 40
START = datetime(2025, 3, 1, tzinfo=UTC)
LATER, OPENING = timedelta(days=10, hours=7), timedelta(days=30)  # when copies are published, and when users come


def make_chance(settings: Settings, catalog: Catalog, seed: int = 0) -> Store:
    """Fill the workspace; its store. Originals are even rows, each one's copy comes next."""
    rng = np.random.default_rng(seed)
    ids = [f"c{number:03d}" for number in range(2 * PAIRS)]
    published = [START + timedelta(hours=number // 2) + number % 2 * LATER for number in range(2 * PAIRS)]
    ratings = np.repeat(rng.integers(0, 21, PAIRS), 2).tolist()
    made = zip(ids, published, ratings, strict=True)
    catalog.upsert_contents(
        [Content(i, i, at, creator_id=f"m{int(i[1:]) // 2}", counters={"ratings": float(n)}) for i, at, n in made],
        "chance",
    )
    vectors = np.repeat(rng.normal(size=(PAIRS, SPEC.dim)).astype(np.float32), 2, axis=0)
    write_partition(
        vectors_dir(settings, SPEC.name, SPEC.digest) / "p.parquet", SPEC.name, ids, published, published, vectors
    )
    catalog.record(SPEC.name, SPEC.digest, [LedgerRow(i, f"p-{i}", "p") for i in ids])
    catalog.register_embedding(SPEC)
    met = [(content, user) for content, n in zip(ids, ratings, strict=True) for user in rng.permutation(USERS)[:n]]
    events = [
        Interaction(
            f"u{user:02d}", content, EventType.RATING, START + OPENING + timedelta(minutes=int(at)), float(stars)
        )
        for (content, user), at, stars in zip(met, rng.permutation(len(met)), rng.choice([1, 5], len(met)), strict=True)
    ]
    list(EventLog(settings.interactions_dir).append(events))
    list(write_statistics(settings, catalog))
    store = Store(settings)
    store.apply()
    return store


def originals_held_out(rows: int) -> Splits:
    """A third of the originals test, a sixth validate; the others and every copy train."""
    originals = np.arange(0, rows, 2)
    valid, test = originals[1::6], originals[::3]
    return Splits(np.setdiff1d(np.arange(rows), [*valid, *test]), valid, test)
