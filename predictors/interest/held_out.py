"""A workspace beside the given one that knows the events it is told and no others.

The product's own statistics, views and store make the features of it, so what they say of a held-out encounter is what
would be served had the log ended there. Contents, media and vectors are those of the given workspace; what was fitted
on events (the users' vectors) is fitted again.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import polars as pl
import sqlalchemy as sa

from embedders.train_user_sequence import ENCODER, fit_user_sequence
from embedders.user_runner import run_users
from feature_repo import catalog_schema as schema
from feature_repo.catalog import Catalog
from feature_repo.contracts import EventType, Interaction
from feature_repo.events import SCHEMA, EventLog
from feature_repo.files import scratch, sweep
from feature_repo.settings import Settings
from feature_repo.statistics import write_statistics
from feature_repo.store import Store

_COPIED = (
    schema.contents,
    schema.media,
    schema.users,
    schema.embeddings,
    schema.embedding_tokens,
    schema.ledger,
)
_CHUNK = 1000  # rows copied at once


@dataclass(frozen=True, slots=True)
class Apart:
    """Such a workspace, its catalog, and whether it has vectors of users."""

    settings: Settings
    catalog: Catalog
    grain: str
    users: bool

    def tell(self, events: pl.DataFrame) -> Store:
        """The store once these events (as `events.SCHEMA`) are known too; encoders are fitted on the first told."""
        list(EventLog(self.settings.interactions_dir).append(_interactions(events)))
        for _view in write_statistics(self.settings, self.catalog, self.grain):
            continue
        if self.users:
            if ENCODER not in self.catalog.user_ledger.embeddings():
                fit_user_sequence(self.settings, self.catalog)
            run_users(ENCODER, self.settings, self.catalog, rows="1")
        store = Store(self.settings)
        store.apply()
        return store


@contextmanager
def held_out(settings: Settings, grain: str) -> Iterator[Apart]:
    """Such a workspace that knows no event yet; it is removed at the end of the block.

    Statistics and histories are dated by `grain` and not by days, so that a row sees what its user did earlier the
    same day.
    """
    sweep(settings.home)
    with scratch(settings.home, "held-out") as folder:
        apart = settings.model_copy(update={"home": folder, "catalog_url": ""})
        _copy_catalog(settings.catalog, apart.catalog)
        with Catalog(settings.catalog) as given, Catalog(apart.catalog) as catalog:
            _link_vectors(settings, apart, catalog)
            yield Apart(apart, catalog, grain, ENCODER in given.user_ledger.embeddings())


def _copy_catalog(source: str, target: str) -> None:
    """What is known of contents, users and their vectors; nothing of what was made from events."""
    given, made = schema.open_engine(source), schema.open_engine(target)
    try:
        with given.connect() as reading, made.begin() as writing:
            for table in _COPIED:
                for rows in reading.execution_options(yield_per=_CHUNK).execute(sa.select(table)).partitions():
                    writing.execute(sa.insert(table), [dict(row._mapping) for row in rows])
    finally:
        given.dispose()
        made.dispose()


def _link_vectors(settings: Settings, apart: Settings, catalog: Catalog) -> None:
    apart.embeddings_dir.mkdir()
    for name in catalog.embeddings():
        (apart.embeddings_dir / name).symlink_to(settings.embeddings_dir / name, target_is_directory=True)


def _interactions(events: pl.DataFrame) -> Iterator[Interaction]:
    for row in events.select(*SCHEMA).iter_rows(named=True):
        event = EventType(row["event"])
        yield Interaction(row["user_id"], row["content_id"], event, row["timestamp"], row["value"])
