"""LogInteraction: events that were sent, and what became of them."""

from __future__ import annotations

from dataclasses import dataclass

from feature_repo.contracts import Event


@dataclass(frozen=True, slots=True)
class Rejected:
    """An event that was not taken; the reason begins with the field's name."""

    event_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class Sent:
    """One message of the stream: events up to the caller's number `offset`, and those that cannot be taken."""

    offset: int
    events: list[Event]
    rejected: tuple[Rejected, ...] = ()


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """All events up to `offset` are durable; counts are of the requests that this answers."""

    offset: int
    accepted: int
    duplicates: int
    rejected: tuple[Rejected, ...] = ()

    @property
    def counts(self) -> dict[str, int]:
        """Events by what became of them."""
        return {"accepted": self.accepted, "duplicate": self.duplicates, "rejected": len(self.rejected)}

    def then(self, other: Acknowledged) -> Acknowledged:
        """Both answers as one, `other` being the later."""
        counts = (self.accepted + other.accepted, self.duplicates + other.duplicates)
        return Acknowledged(other.offset, *counts, self.rejected + other.rejected)
