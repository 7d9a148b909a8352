"""Users' events as flat arrays, and what of them may be known at which time. Imports no torch.

Of events at the same moment none knows the others: an order among them would be made up, and a point-in-time join
does not see it either.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from feature_repo.contracts import EventType
from feature_repo.errors import ConfigurationError

DAY = "day"
GAPS = 33  # codes of time gaps: 0 for a user's first event, then by powers of two up to 68 years

_KINDS = {event.value: code for code, event in enumerate(EventType)}
_DAY_US = 86_400_000_000
_SECOND_US = 1_000_000

Rows = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Histories:
    """Events of several users, each user's together and in order of time: of user u `starts[u]` to `starts[u + 1]`.

    `items` numbers the contents, `kinds` the event types, `times` are microseconds since 1970; each (events,) int64.
    """

    starts: Rows
    items: Rows
    kinds: Rows
    times: Rows

    @classmethod
    def joined(cls, parts: Sequence[Histories]) -> Histories:
        """The users of all parts, one part after the other."""
        lengths = np.concatenate([np.empty(0, np.int64), *(np.diff(part.starts) for part in parts)])
        columns = ([getattr(part, name) for part in parts] for name in ("items", "kinds", "times"))
        return cls(np.concatenate([[0], np.cumsum(lengths)]), *(_concatenated(column) for column in columns))

    def owners(self) -> Rows:
        """Of each event its user's number, (events,)."""
        return np.repeat(np.arange(len(self.starts) - 1), np.diff(self.starts))

    def pasts(self) -> Rows:
        """Of each event the user's last one at an earlier time, (events,); -1 where there is none."""
        owners, at = self.owners(), np.arange(len(self.items))
        new = np.ones(len(at), bool)
        new[1:] = (np.diff(self.times) != 0) | (np.diff(owners) != 0)
        moment = np.maximum.accumulate(np.where(new, at, 0))
        pasts: Rows = np.where(moment > self.starts[owners], moment - 1, -1)
        return pasts

    def first_meetings(self) -> Mask:
        """Which events are the user's first with their item, (events,): a like of what was viewed is no next item."""
        pairs = self.owners() * (int(self.items.max(initial=0)) + 1) + self.items
        first: Mask = np.zeros(len(pairs), bool)
        first[np.unique(pairs, return_index=True)[1]] = True
        return first

    def gaps(self) -> Rows:
        """Code of the time since the user's event before, (events,) of 0 to GAPS - 1."""
        seconds = np.diff(self.times, prepend=self.times[:1]) // _SECOND_US
        codes: Rows = np.minimum(1 + np.log2(1 + np.maximum(seconds, 0)).astype(np.int64), GAPS - 1)
        codes[self.starts[:-1][np.diff(self.starts) > 0]] = 0
        return codes

    def snapshots(self, rows: str) -> Rows:
        """The events after which a user's state is written down, ascending: the last of each day (UTC) for `rows`
        "day", the last of every k events for a number k; always a user's last. All of a moment's events are in it.
        """
        owners, at = self.owners(), np.arange(len(self.items))
        number = at - self.starts[owners]
        block = self.times // _DAY_US if rows == DAY else number // every(rows)
        ends = np.flatnonzero(np.append((np.diff(self.times) != 0) | (np.diff(owners) != 0), True)[: len(at)])
        last = np.append((np.diff(block[ends]) != 0) | (np.diff(owners[ends]) != 0), True)[: len(ends)]
        kept: Rows = ends[last]
        return kept


def _concatenated(parts: Sequence[Rows]) -> Rows:
    return np.concatenate([np.empty(0, np.int64), *parts])


def every(rows: str) -> int:
    """The k of "a row after every k events". Raises ConfigurationError where it is neither a number nor "day"."""
    if not rows.isdecimal() or int(rows) < 1:
        raise ConfigurationError(f"rows {rows!r}: say {DAY}, or after how many events a row is to be written")
    return int(rows)


def read_histories(events: pl.DataFrame, numbers: Mapping[str, int]) -> Histories:
    """Events as `EventLog.by_user` orders them, their items numbered by content id. Raises KeyError for others."""
    lengths = events.group_by("user_id", maintain_order=True).len()["len"].to_numpy()
    return Histories(
        np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]),
        np.array([numbers[content_id] for content_id in events["content_id"]], np.int64),
        events["event"].replace_strict(_KINDS, return_dtype=pl.Int64).to_numpy(),
        events["timestamp"].dt.epoch("us").to_numpy(),
    )
