"""The part of the catalog that knows which users' states lie where. Opened as `Catalog.user_ledger`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from feature_repo import catalog_schema as schema

_CHUNK = 500  # users a statement


@dataclass(frozen=True, slots=True)
class Span:
    """States of one user in one partition: those after the events number `first` to `events` of their history.

    `fingerprint` is of all events from the user's first up to there. `revision` counts how often the user's states
    were made anew because their past had changed; a user's spans all have the same.
    """

    user_id: str
    first: int
    events: int
    fingerprint: str
    partition: str
    revision: int = 0


class UserLedger:
    """Rows of `user_embeddings` and `user_ledger`; every public method is one transaction."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine

    def register(self, name: str, spec_digest: str, dim: int, rows: str) -> None:
        """Make this spec the one in use under its name; the users' feature views are defined from these rows."""
        table = schema.user_embeddings
        with self._engine.begin() as connection:
            connection.execute(sa.delete(table).where(table.c.name == name))
            connection.execute(sa.insert(table).values(name=name, spec_digest=spec_digest, dim=dim, rows=rows))

    def embeddings(self) -> dict[str, sa.Row[Any]]:
        """Registered embeddings of users by name; rows have `name`, `spec_digest`, `dim` and `rows`."""
        table = schema.user_embeddings
        with self._engine.connect() as connection:
            return {row.name: row for row in connection.execute(sa.select(table).order_by(table.c.name))}

    def spans(self, name: str, spec_digest: str, user_ids: Sequence[str]) -> dict[str, list[Span]]:
        """What is there of the named users under a spec, in order of their events; a user without is absent."""
        table = schema.user_ledger
        query = sa.select(*(table.c[column] for column in Span.__slots__)).where(_under(name, spec_digest))
        found: dict[str, list[Span]] = {}
        with self._engine.connect() as connection:
            for start in range(0, len(user_ids), _CHUNK):
                chosen = query.where(table.c.user_id.in_(user_ids[start : start + _CHUNK]))
                for row in connection.execute(chosen.order_by(table.c.user_id, table.c.first)):
                    found.setdefault(row.user_id, []).append(Span(*row))
        return found

    def partitions(self, name: str, spec_digest: str) -> set[str]:
        """The partitions that any user's states lie in."""
        query = sa.select(schema.user_ledger.c.partition).where(_under(name, spec_digest)).distinct()
        with self._engine.connect() as connection:
            return set(connection.scalars(query))

    def count(self, name: str, spec_digest: str) -> int:
        """How many users have a vector under a spec."""
        query = sa.select(sa.func.count(sa.distinct(schema.user_ledger.c.user_id))).where(_under(name, spec_digest))
        with self._engine.connect() as connection:
            return connection.scalar(query) or 0

    def record(self, name: str, spec_digest: str, spans: Sequence[Span]) -> None:
        """Write the outcome of one partition. A span from the first event on takes the place of all others."""
        table = schema.user_ledger
        key = {"embedding": name, "spec_digest": spec_digest}
        anew = [span.user_id for span in spans if span.first == 0]
        rows = [key | {column: getattr(span, column) for column in Span.__slots__} for span in spans]
        with self._engine.begin() as connection:
            for start in range(0, len(anew), _CHUNK):
                named = table.c.user_id.in_(anew[start : start + _CHUNK])
                connection.execute(sa.delete(table).where(_under(name, spec_digest), named))
            for start in range(0, len(rows), _CHUNK):
                connection.execute(sa.insert(table), rows[start : start + _CHUNK])


def _under(name: str, spec_digest: str) -> sa.ColumnElement[bool]:
    table = schema.user_ledger
    return sa.and_(table.c.embedding == name, table.c.spec_digest == spec_digest)
