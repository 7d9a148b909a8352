"""A small log whose users like what lies along a direction of the contents' vectors that is their own."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np

from feature_repo.catalog import Catalog
from feature_repo.catalog_rows import LedgerRow
from feature_repo.contracts import Content, EmbeddingSpec, EventType, Interaction, Modality
from feature_repo.events import EventLog
from feature_repo.settings import Settings
from feature_repo.vectors import vectors_dir, write_partition

START = datetime(2025, 3, 1, 12, tzinfo=UTC)
SPEC = EmbeddingSpec("toy", Modality.TEXT, 6, "none", "none:None")
CONTENTS, USERS, EACH = 80, 40, 30


def make_log(settings: Settings, catalog: Catalog, seed: int = 0) -> None:
    """Contents of which the last two have no vector, and for each user 30 ratings a minute apart on one day."""
    rng = np.random.default_rng(seed)
    ids = [f"c{number:03d}" for number in range(CONTENTS)]
    published = START - timedelta(days=30)
    tags = [("odd",) if number % 2 else ("even", "tag") for number in range(CONTENTS)]
    catalog.upsert_contents(
        [Content(i, f"Title {i}", published, tags=t, creator_id=f"m{i[-1]}") for i, t in zip(ids, tags, strict=True)],
        "met",
    )
    vectors = rng.normal(size=(CONTENTS, SPEC.dim)).astype(np.float32)
    embedded, times = ids[:-2], [published] * (CONTENTS - 2)
    folder = vectors_dir(settings, SPEC.name, SPEC.digest)
    write_partition(folder / "p0.parquet", SPEC.name, embedded, times, times, vectors[:-2])
    catalog.record(SPEC.name, SPEC.digest, [LedgerRow(i, f"p0-{i}", "p0") for i in embedded])
    catalog.register_embedding(SPEC)
    quality, tastes = rng.normal(size=CONTENTS), rng.normal(size=(USERS, SPEC.dim))
    events = []
    for user in range(USERS):
        liked = 0.5 * quality + vectors @ tastes[user] + rng.normal(scale=0.5, size=CONTENTS)
        stars = 1 + np.searchsorted([-2.5, -1.0, 0.0, 1.5], liked)
        for step, item in enumerate(rng.permutation(CONTENTS)[:EACH]):
            when = START + timedelta(minutes=30 * user + step, seconds=user)
            events.append(Interaction(f"u{user:02d}", ids[item], EventType.RATING, when, float(stars[item])))
    list(EventLog(settings.interactions_dir).append(events))
