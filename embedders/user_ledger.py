"""Which users' states are behind their events, and from which event on. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from enum import StrEnum

import polars as pl

from embedders.user_specs import UserSpec
from feature_repo.catalog import Catalog
from feature_repo.catalog_users import Span
from feature_repo.contracts import EventType, digest
from feature_repo.events import BY_USER_ROWS, EventLog
from feature_repo.settings import Settings


class UserState(StrEnum):
    """How a user stands: all their events are in their vector, some are not or were changed, or they have no vector."""

    FRESH = "fresh"
    STALE = "stale"
    MISSING = "missing"


@dataclass(frozen=True, slots=True)
class PlannedUser:
    """A user and what there is to do: `start` and `events` say where their history lies in the planned frame.

    States are made after the events number `first` and on; `first` is 0 for a user who is done from the beginning.
    """

    user_id: str
    state: UserState
    start: int
    events: int
    first: int
    fingerprint: str
    revision: int


class UserPlanner:
    """Walks the event log, a frame of whole users at a time, beside the ledger of one spec.

    `partitions` are those that lie on disk. A user's fingerprint is of their events and of the vectors of the items.
    """

    def __init__(self, settings: Settings, catalog: Catalog, spec: UserSpec, partitions: Set[str]) -> None:
        self._log = EventLog(settings.interactions_dir)
        self._catalog, self._spec, self._partitions = catalog, spec, partitions

    def frames(self, rows: int = BY_USER_ROWS) -> Iterator[tuple[pl.DataFrame, list[PlannedUser], int]]:
        """Events (columns as `EventLog.SCHEMA`), their users, and how many events of the log they were picked from.

        Impressions are left out: they are the platform's doing and not the user's.
        """
        vectors = self._vectors()
        for frame in self._log.by_user(rows):
            events = frame.filter(pl.col("event") != EventType.IMPRESSION.value)
            joined = events.select("content_id", "event_id").join(vectors, "content_id", "left", maintain_order="left")
            said = joined.select(pl.concat_str("event_id", pl.col("vector").fill_null(""), separator=" "))
            yield events, self._plan(events, said.to_series().to_list()), frame.height

    def _vectors(self) -> pl.DataFrame:
        """What the vectors of each content were made from, as one text."""
        said: dict[str, str] = {}
        for name, spec_digest in sorted(self._spec.embeddings.items()):
            for content_id, row in self._catalog.ledger(name, spec_digest).items():
                if row.partition is not None:
                    said[content_id] = f"{said.get(content_id, '')} {name} {row.fingerprint}"
        return pl.DataFrame(
            {"content_id": list(said), "vector": list(said.values())}, {"content_id": pl.String, "vector": pl.String}
        )

    def _plan(self, events: pl.DataFrame, said: Sequence[str]) -> list[PlannedUser]:
        users = events.group_by("user_id", maintain_order=True).agg(pl.len(), times=pl.col("timestamp").dt.epoch("us"))
        known = self._catalog.user_ledger.spans(self._spec.name, self._spec.digest, users["user_id"].to_list())
        planned, start = [], 0
        for user_id, count, times in users.iter_rows():
            planned.append(self._look_up(user_id, start, said[start : start + count], times, known))
            start += count
        return planned

    def _look_up(
        self,
        user_id: str,
        start: int,
        said: Sequence[str],
        times: Sequence[int],
        known: Mapping[str, Sequence[Span]],
    ) -> PlannedUser:
        spans = known.get(user_id, ())
        fingerprint, count = _fingerprint(said), len(said)
        if not spans:
            return PlannedUser(user_id, UserState.MISSING, start, count, 0, fingerprint, 0)
        done, revision = spans[-1].events, spans[-1].revision
        whole = all(span.partition in self._partitions for span in spans)
        if whole and done <= count and _fingerprint(said[:done]) == spans[-1].fingerprint:
            if done == count:
                return PlannedUser(user_id, UserState.FRESH, start, count, done, fingerprint, revision)
            if times[done] > times[done - 1]:  # else the last state lacks an event of its own moment
                return PlannedUser(user_id, UserState.STALE, start, count, done, fingerprint, revision)
        return PlannedUser(user_id, UserState.STALE, start, count, 0, fingerprint, revision + 1)


def _fingerprint(said: Sequence[str]) -> str:
    return digest("\n".join(said))
