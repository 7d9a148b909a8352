"""Events one by one -> the rows that `statistics` makes of all of them, whatever order they come in.

What is kept of a content or a user does not depend on the order: counters and stars add up, days are a set, and of the
events that `user_recent` lists the last `RECENT` by time and event id are kept. An event must come once; `journal` sees
to that.
"""

from __future__ import annotations

import json
from bisect import insort
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple, Self

import polars as pl
import pyarrow as pa

from feature_repo.contracts import EventType
from feature_repo.schema import LIKE_RATE_PRIOR, NUMBER, NUMBERS, RECENT, TEXT, TEXTS, TIMES, full_schema

_DAY_US = 86_400_000_000
_encode = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode
_KINDS = tuple(EventType)
_NUMBER = {kind.value: number for number, kind in enumerate(_KINDS)}
_VIEW, _LIKE, _RATING = (_NUMBER[kind] for kind in (EventType.VIEW, EventType.LIKE, EventType.RATING))


class Fact(NamedTuple):
    """An event as it is folded; `time_us` in µs since 1970."""

    event_id: str
    user_id: str
    content_id: str
    event: str
    time_us: int
    value: float


def facts(events: pl.DataFrame) -> Iterator[Fact]:
    """The rows of a frame with the columns of the event log."""
    named = events.select("event_id", "user_id", "content_id", "event", pl.col("timestamp").dt.epoch("us"), "value")
    return map(Fact._make, named.iter_rows())


@dataclass(slots=True)
class State:
    """What the events of one key come to; `version` rises with every change that is to go online."""

    name: str
    version: int = 0
    counts: list[int] = field(default_factory=lambda: [0] * len(_KINDS))
    stars: float = 0.0
    days: list[int] = field(default_factory=list)  # since 1970, ascending: of a content the last alone

    @classmethod
    def read(cls, data: bytes) -> Self:
        """What `write` made."""
        return cls(*json.loads(data))

    def write(self) -> bytes:
        """As bytes."""
        return _encode([getattr(self, part.name) for part in fields(self)]).encode()

    def add(self, fact: Fact) -> None:
        """Take an event in."""
        number = _NUMBER[fact.event]
        self.counts[number] += 1
        if number == _RATING:
            self.stars += fact.value
        self._date(fact.time_us // _DAY_US)

    def _date(self, day: int) -> None:
        self.days = [max([day, *self.days])]


@dataclass(slots=True)
class UserState(State):
    """The same of a user, and their last events but impressions: time in µs, event id, content, kind, value."""

    recent: list[list[Any]] = field(default_factory=list)

    def add(self, fact: Fact) -> None:
        """Take an event in."""
        State.add(self, fact)
        if fact.event != EventType.IMPRESSION:
            insort(self.recent, [fact.time_us, fact.event_id, fact.content_id, fact.event, fact.value])
            del self.recent[:-RECENT]

    def _date(self, day: int) -> None:
        if day not in self.days:
            insort(self.days, day)


def rows(view: str, states: Sequence[Any]) -> pl.DataFrame:
    """What `view` says of the states that have events for it; columns as `full_schema(view)`.

    Rows are dated as `statistics` dates them, so that of two that know the same events neither is older. `created` adds
    the version in µs: of rows of one date the online store keeps the one of the latest version, whoever writes first,
    and keeps it before the row of a batch, which knows no more.
    """
    entity, make, told = _VIEWS[view]
    chosen = [state for state in states if told(state)]
    columns = {f"{entity}_id": [state.name for state in chosen], **make(entity, chosen)}
    schema = full_schema(view)
    # Arrow takes nested lists ten times as fast as Polars does
    table = pa.table({name: pa.array(columns[name], _ARROW[dtype]) for name, dtype in schema.items()})
    return pl.DataFrame(pl.from_arrow(table)).cast(pl.Schema(schema))


def _dated(midnights: Sequence[int], states: Sequence[State]) -> dict[str, Any]:
    created = [us + state.version for us, state in zip(midnights, states, strict=True)]
    return {"event_timestamp": midnights, "created": created}


def _stats(entity: str, states: Sequence[State]) -> dict[str, Any]:
    likes, views = LIKE_RATE_PRIOR
    counts = [state.counts for state in states]
    return {
        **_dated([_midnight(state.days[-1] * _DAY_US) for state in states], states),
        **{f"{entity}_{kind}s": [one[number] for one in counts] for kind, number in _NUMBER.items()},
        f"{entity}_rating_mean": [s.stars / s.counts[_RATING] if s.counts[_RATING] else None for s in states],
        f"{entity}_like_rate": [(one[_LIKE] + likes) / (one[_VIEW] + views) for one in counts],
    }


def _user_stats(entity: str, states: Sequence[UserState]) -> dict[str, Any]:
    return _stats(entity, states) | {"user_active_days": [len(state.days) for state in states]}


def _user_recent(_: str, states: Sequence[UserState]) -> dict[str, Any]:
    return {
        **_dated([_midnight(state.recent[-1][0]) for state in states], states),
        "recent_contents": [[event[2] for event in state.recent] for state in states],
        "recent_events": [[event[3] for event in state.recent] for state in states],
        "recent_times": [[event[0] // 1_000_000 for event in state.recent] for state in states],
        "recent_values": [[event[4] for event in state.recent] for state in states],
    }


def _midnight(time_us: int) -> int:
    """The end of the day, from which on `statistics` holds an event known."""
    return (time_us // _DAY_US + 1) * _DAY_US


# What is made of each state: by view, the entity, how its rows are made, and which states have one.
_VIEWS: Mapping[str, tuple[str, Callable[[str, Sequence[Any]], dict[str, Any]], Callable[[Any], object]]] = {
    "content_stats": ("content", _stats, lambda state: state.days),
    "user_stats": ("user", _user_stats, lambda state: state.days),
    "user_recent": ("user", _user_recent, lambda state: state.recent),
}
STATES: Mapping[str, type[State]] = {"user": UserState, "content": State}
FOLDED = {entity: [view for view, row in _VIEWS.items() if row[0] == entity] for entity in STATES}
_ARROW: Mapping[pl.DataType, pa.DataType] = {
    TEXT: pa.string(),
    NUMBER: pa.float64(),  # rounded once, as the batch does
    TEXTS: pa.list_(pa.string()),
    TIMES: pa.list_(pa.int64()),
    NUMBERS: pa.list_(pa.float64()),
    pl.Datetime("us", "UTC"): pa.timestamp("us", "UTC"),
}
