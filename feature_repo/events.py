"""The append-only interaction log, in which an event counts once however often it is ingested or sent.

It is Parquet segments, and a journal (`journal.py`) of what servers took since the last one was sealed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import polars as pl

from feature_repo.contracts import Event, EventType, Interaction, digest
from feature_repo.errors import InputError
from feature_repo.files import replacing, scratch, sweep
from feature_repo.journal import Journal

SEGMENT_ROWS = 500_000
BY_USER_ROWS = 200_000  # events that `by_user` aims to hold at once
_IDS = ("event_id", "user_id", "content_id", "request_id")
_KINDS = tuple(kind.value for kind in EventType)

SCHEMA: dict[str, pl.DataType] = {
    "event_id": pl.String(),
    "user_id": pl.String(),
    "content_id": pl.String(),
    "event": pl.String(),
    "timestamp": pl.Datetime("us", "UTC"),
    "value": pl.Float32(),
    "request_id": pl.String(),  # of the call that showed the content; null where that is not known
}


class EventLog:
    """Segments in one folder. A segment is named by the ids of its events, so writing it again changes nothing."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def journal_folder(self) -> Path:
        """Where the journal lies, once a server took events."""
        return self._folder / "journal"

    def append(self, interactions: Iterable[Interaction]) -> Iterator[int]:
        """Write the events, streaming; yields how many are on disk after each segment."""
        sweep(self._folder)
        events = iter(interactions)
        written = 0
        while segment := list(islice(events, SEGMENT_ROWS)):
            self.write_segment(to_frame([Event(one.event_id, one) for one in segment]))
            written += len(segment)
            yield written

    def write_segment(self, frame: pl.DataFrame) -> str:
        """Write events, columns as in `SCHEMA`, whole or not at all; the segment's name."""
        path = self._path(frame)
        if not path.exists():
            with replacing(path) as beside:
                frame.write_parquet(beside)
        return path.name

    def segments(self) -> list[Path]:
        """The Parquet files."""
        return sorted(self._folder.glob("*.parquet")) if self._folder.is_dir() else []

    def read_segment(self, path: Path) -> pl.DataFrame:
        """The events of one, columns as in `SCHEMA`."""
        return _scan(path).collect()

    def scan(self) -> pl.LazyFrame:
        """Every event once; columns as in `SCHEMA`, unordered."""
        return pl.concat(self._parts()).unique("event_id", keep="any")

    def count(self) -> int:
        """How many events there are, twice those that lie in two segments, or are sealed at this moment."""
        return int(pl.concat(self._parts()).select(pl.len()).collect().item())

    def by_user(self, rows: int = BY_USER_ROWS) -> Iterator[pl.DataFrame]:
        """Every event once, in frames of whole users, by user, time and event id; about `rows` are held at once.

        A larger log is first dealt out to files by a hash of the user, so that no frame needs more than one of them.
        """
        order = ["user_id", "timestamp", "event_id"]
        parts = -(-self.count() // rows)
        if parts <= 1:
            yield self.scan().sort(order).collect()
            return
        sweep(self._folder)
        with scratch(self._folder, "by-user") as folder:
            for number, segment in enumerate(self._parts()):
                dealt = segment.collect().group_by(pl.col("user_id").hash() % parts)
                for (part,), frame in dealt:
                    frame.write_parquet(folder / f"{part}-{number}.parquet")
            for part in range(parts):
                if files := sorted(folder.glob(f"{part}-*.parquet")):
                    yield pl.read_parquet(files).unique("event_id", keep="any").sort(order)

    def _parts(self) -> list[pl.LazyFrame]:
        """The journal's events, then each segment's: in this order, what is sealed in between is found twice."""
        parts = [pl.DataFrame(schema=SCHEMA)]
        if self.journal_folder.is_dir():
            with Journal(self.journal_folder) as journal:
                sealing, others = journal.batches()
            if sealing and not self._path(pl.concat(sealing)).exists():
                parts += sealing
            parts += others
        return [pl.concat(parts).lazy(), *map(_scan, self.segments())]

    def _path(self, frame: pl.DataFrame) -> Path:
        return self._folder / f"{digest(*frame['event_id'])}.parquet"


def to_frame(events: Sequence[Event]) -> pl.DataFrame:
    """Events as rows of `SCHEMA`."""
    said = [event.interaction for event in events]
    columns = {
        "event_id": [event.event_id for event in events],
        "user_id": [one.user_id for one in said],
        "content_id": [one.content_id for one in said],
        "event": [one.event.value for one in said],
        "timestamp": [one.timestamp for one in said],
        "value": [one.value for one in said],
        "request_id": [event.request_id for event in events],
    }
    return pl.DataFrame(columns, schema=SCHEMA)


def from_frame(rows: pl.DataFrame) -> Iterator[Event]:
    """The events of rows with columns as in `SCHEMA`; times may be texts, ids whole numbers.

    `event_id`, `value` and `request_id` may be missing: an event without an id is named by what it says. Raises
    InputError for another missing column, and for a row that is no event.
    """
    needed = ("user_id", "content_id", "event", "timestamp")
    if missing := [name for name in needed if name not in rows.columns]:
        raise InputError(f"events: column {', '.join(missing)} is missing; there are {', '.join(rows.columns)}")
    rows = rows.with_columns(_texts(rows[name]) for name in _IDS if name in rows.columns)
    rows = rows.with_columns(_times(rows["timestamp"]))
    for number, row in enumerate(rows.iter_rows(named=True)):
        value = row.get("value")
        if row["event"] not in _KINDS:
            raise InputError(f"row {number}: {row['event']!r} is no event; there are {', '.join(_KINDS)}")
        try:
            said = (row["user_id"], row["content_id"], EventType(row["event"]), row["timestamp"])
            interaction = Interaction(*said, 1.0 if value is None else float(value))
        except (ValueError, TypeError, AttributeError) as error:
            raise InputError(f"row {number}: {error}") from error
        yield Event(row.get("event_id") or interaction.event_id, interaction, row.get("request_id"))


def _texts(ids: pl.Series) -> pl.Series:
    """Ids as texts. Raises InputError for what is neither a text nor a whole number."""
    if not (ids.dtype.is_integer() or ids.dtype in (pl.String, pl.Null)):
        raise InputError(f"{ids.name}: is of type {ids.dtype}; give texts")
    return ids.cast(pl.String)


def _times(said: pl.Series) -> pl.Series:
    """Times as in `SCHEMA`. Raises InputError for what is none: of a number one could not tell its unit."""
    if said.dtype == pl.String:
        parsed = said.str.to_datetime("%+", time_unit="us", time_zone="UTC", strict=False)
        for row in (parsed.is_null() & said.is_not_null()).arg_true().head(1):
            raise InputError(f"row {row}: timestamp {said[row]!r}; write 2025-01-31T12:00:00Z")
        return parsed
    if not isinstance(said.dtype, pl.Datetime):
        raise InputError(f"timestamp: is of type {said.dtype}; write 2025-01-31T12:00:00Z")
    return said.cast(SCHEMA["timestamp"])


def _scan(segment: Path) -> pl.LazyFrame:
    """A segment; those written before events had a `request_id` have none."""
    return pl.scan_parquet(segment, schema=SCHEMA, missing_columns="insert")
