"""LogInteraction: what became of the events that were sent."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rejected:
    """An event that was not taken; the reason begins with the field's name."""

    event_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """All events up to `offset` are durable; counts are of the requests that this answers."""

    offset: int
    accepted: int
    duplicates: int
    rejected: tuple[Rejected, ...] = ()
