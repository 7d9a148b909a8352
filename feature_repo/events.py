"""The append-only interaction log: Parquet segments, in which an event counts once however often it is ingested."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import polars as pl

from feature_repo.contracts import Interaction, digest
from feature_repo.files import replacing, sweep

SEGMENT_ROWS = 500_000

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
        segments = sorted(self._folder.glob("*.parquet")) if self._folder.is_dir() else []
        if not segments:
            return pl.LazyFrame(schema=SCHEMA)
        return pl.scan_parquet(segments).unique("event_id", keep="any")


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
