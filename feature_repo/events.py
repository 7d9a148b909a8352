"""The append-only interaction log: Parquet segments, in which an event counts once however often it is ingested."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import polars as pl

from feature_repo.contracts import Interaction, digest
from feature_repo.files import replacing, scratch, sweep

SEGMENT_ROWS = 500_000
BY_USER_ROWS = 200_000  # events that `by_user` aims to hold at once

SCHEMA: dict[str, pl.DataType] = {
    "event_id": pl.String(),
    "user_id": pl.String(),
    "content_id": pl.String(),
    "event": pl.String(),
    "timestamp": pl.Datetime("us", "UTC"),
    "value": pl.Float32(),
}


class EventLog:
    """Segments in one folder. A segment is named by the ids of its events, so writing it again changes nothing."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def append(self, interactions: Iterable[Interaction]) -> Iterator[int]:
        """Write the events, streaming; yields how many are on disk after each segment."""
        sweep(self._folder)
        events = iter(interactions)
        written = 0
        while segment := list(islice(events, SEGMENT_ROWS)):
            frame = _frame(segment)
            path = self._folder / f"{digest(*frame['event_id'])}.parquet"
            if not path.exists():
                with replacing(path) as beside:
                    frame.write_parquet(beside)
            written += len(segment)
            yield written

    def scan(self) -> pl.LazyFrame:
        """Every event once; columns as in `SCHEMA`, unordered."""
        segments = self._segments()
        if not segments:
            return pl.LazyFrame(schema=SCHEMA)
        return pl.scan_parquet(segments).unique("event_id", keep="any")

    def count(self) -> int:
        """How many events there are, twice those that lie in two segments."""
        segments = self._segments()
        return int(pl.scan_parquet(segments).select(pl.len()).collect().item()) if segments else 0

    def by_user(self, rows: int = BY_USER_ROWS) -> Iterator[pl.DataFrame]:
        """Every event once, in frames of whole users, by user, time and event id; about `rows` are held at once.

        A larger log is first dealt out to files by a hash of the user, so that no frame needs more than one of them.
        """
        order = ["user_id", "timestamp", "event_id"]
        segments = self._segments()
        parts = -(-self.count() // rows)
        if parts <= 1:
            yield self.scan().sort(order).collect()
            return
        sweep(self._folder)
        with scratch(self._folder, "by-user") as folder:
            for number, segment in enumerate(segments):
                dealt = pl.read_parquet(segment).group_by(pl.col("user_id").hash() % parts)
                for (part,), frame in dealt:
                    frame.write_parquet(folder / f"{part}-{number}.parquet")
            for part in range(parts):
                if files := sorted(folder.glob(f"{part}-*.parquet")):
                    yield pl.read_parquet(files).unique("event_id", keep="any").sort(order)

    def _segments(self) -> list[Path]:
        return sorted(self._folder.glob("*.parquet")) if self._folder.is_dir() else []


def _frame(segment: list[Interaction]) -> pl.DataFrame:
    columns = {
        "event_id": [e.event_id for e in segment],
        "user_id": [e.user_id for e in segment],
        "content_id": [e.content_id for e in segment],
        "event": [e.event.value for e in segment],
        "timestamp": [e.timestamp for e in segment],
        "value": [e.value for e in segment],
    }
    return pl.DataFrame(columns, schema=SCHEMA)
