"""The data card: what a workspace holds, and what it lacks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from feature_repo.catalog import Catalog
from feature_repo.contracts import Modality
from feature_repo.events import EventLog
from feature_repo.settings import Settings


@dataclass(frozen=True, slots=True)
class DataCard:
    """Counts of what there is. `media` says of each modality that any content has how many have it and how many have
    not, `embeddings` of each its modality and length, `events` how many there are of each kind.
    """

    contents: int
    published: tuple[str, str]
    users: int
    events: Mapping[str, int]
    logged: tuple[str, str]
    media: Mapping[str, tuple[int, int]]
    embeddings: Mapping[str, tuple[str, int]]
    counters: Mapping[str, int]


def data_card(settings: Settings, catalog: Catalog) -> DataCard:
    """Of this workspace, as it is now."""
    has: Counter[str] = Counter()
    counters: Counter[str] = Counter()
    days = []
    for item in catalog.items():
        has.update(kind.value for kind, medium in item.media.items() if medium.digest is not None)
        counters.update(item.content.counters.keys())
        days.append(item.content.published_at.date())
    log = EventLog(settings.interactions_dir).scan()
    kinds = log.group_by("event").len().sort("event").collect()
    first, last = log.select(first=pl.min("timestamp"), last=pl.max("timestamp")).collect().row(0)
    return DataCard(
        contents=len(days),
        published=(str(min(days)), str(max(days))) if days else ("", ""),
        users=catalog.count_users(),
        events=dict(kinds.iter_rows()),
        logged=(str(first.date()), str(last.date())) if first else ("", ""),
        media={kind.value: (has[kind.value], len(days) - has[kind.value]) for kind in Modality if has[kind.value]},
        embeddings={name: (str(row.modality), int(row.dim)) for name, row in catalog.embeddings().items()},
        counters=dict(sorted(counters.items())),
    )
