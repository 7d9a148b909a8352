"""Facts of contents as a table in memory: which contents meet a condition, what they are called, which are popular.

It is read once a release from what statistics wrote. Texts are kept as postings (which rows have a text), so that a
condition costs as much as it finds; numbers are compared row by row, 0.1 ms for 100,000.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from feature_repo.columns import Mask
from feature_repo.contracts import EventType
from feature_repo.schema import full_schema
from feature_repo.settings import Settings
from feature_repo.statistics import EVENT_WEIGHTS

Rows = npt.NDArray[np.int64]

_TEXTS = {"creator": pl.col("content_creator"), "language": pl.col("language"), "tags": pl.col("tags")}
_NUMBERS = {
    "published_year": pl.col("published_year"),
    "published_at": pl.col("event_timestamp").dt.epoch("us") / 1e6,
    "duration_s": pl.col("duration_s"),
}
TEXT_FACTS, NUMBER_FACTS = tuple(_TEXTS), tuple(_NUMBERS)


class _Postings:
    """The rows that have each text of one fact."""

    def __init__(self, column: pl.Series) -> None:
        frame = pl.DataFrame({"text": column}).with_row_index("row")
        if isinstance(column.dtype, pl.List):
            frame = frame.explode("text")
        frame = frame.filter(pl.col("text") != "").sort("text", "row")
        counts = frame.group_by("text", maintain_order=True).len()
        ends = [0, *counts["len"].cum_sum()]
        self._slices = dict(zip(counts["text"], pairwise(ends), strict=True))
        self._rows = frame["row"].to_numpy()
        self.known = _marked(len(column), [self._rows])

    def any_of(self, texts: Iterable[str]) -> Mask:
        """Rows with one of the texts, (n,) bool."""
        found = [self._rows[slice(*self._slices[text])] for text in texts if text in self._slices]
        return _marked(len(self.known), found)


class Facts:
    """The contents of a release. Nothing in it changes, so threads may share it.

    `rows` has, for each list of ids that the table was made along (of an index, say), the row of each id, -1 where
    there is none. `popular` are all rows, those of most engagement first, of equal ones the newest.
    """

    def __init__(self, meta: pl.DataFrame, stats: pl.DataFrame, along: Mapping[str, Sequence[str]]) -> None:
        """`meta` has the columns of `content_meta`, one row a content; `stats` those of `content_stats`."""
        self.content_ids = meta["content_id"].to_list()
        self._places = {content_id: row for row, content_id in enumerate(self.content_ids)}
        self._titles = meta["title"].fill_null("").to_list()
        self._texts = {name: _Postings(meta.select(column).to_series()) for name, column in _TEXTS.items()}
        self._numbers = {
            name: meta.select(column.cast(pl.Float64).fill_null(float("nan"))).to_series().to_numpy()
            for name, column in _NUMBERS.items()
        }
        self.popular = _popular(meta, stats)
        self.rows = {name: self.rows_of(content_ids) for name, content_ids in along.items()}

    def __len__(self) -> int:
        return len(self.content_ids)

    def rows_of(self, content_ids: Iterable[str]) -> Rows:
        """The row of each content, (n,) int64; -1 where there is none."""
        return np.fromiter((self._places.get(content_id, -1) for content_id in content_ids), np.int64)

    def titles(self, content_ids: Iterable[str]) -> list[str]:
        """The title of each; an unknown id has an empty one."""
        rows = map(self._places.get, content_ids)
        return ["" if row is None else self._titles[row] for row in rows]

    def any_of(self, fact: str, texts: Iterable[str]) -> Mask:
        """Contents with one of these texts, (n,) bool."""
        return self._texts[fact].any_of(texts)

    def none_of(self, fact: str, texts: Iterable[str]) -> Mask:
        """Contents that have the fact, and none of these texts, (n,) bool."""
        return self._texts[fact].known & ~self._texts[fact].any_of(texts)

    def within(self, fact: str, at_least: float | None, below: float | None) -> Mask:
        """Contents whose number is from `at_least` to under `below`, (n,) bool; None is open."""
        numbers = self._numbers[fact]
        mask: Mask = ~np.isnan(numbers)
        if at_least is not None:
            mask &= numbers >= at_least
        if below is not None:
            mask &= numbers < below
        return mask


def read_facts(settings: Settings, along: Mapping[str, Sequence[str]]) -> Facts:
    """The facts of what statistics have written; of no content where they have not."""
    meta, stats = (_read(settings.features_dir / view, view) for view in ("content_meta", "content_stats"))
    return Facts(meta, stats, along)


def _read(folder: Path, view: str) -> pl.DataFrame:
    schema = full_schema(view)
    path = folder / "rows.parquet"
    return pl.read_parquet(path, columns=list(schema)) if path.is_file() else pl.DataFrame(schema=schema)


def _popular(meta: pl.DataFrame, stats: pl.DataFrame) -> Rows:
    counters = [weight * pl.col(f"content_{EventType(event)}s") for event, weight in EVENT_WEIGHTS.items()]
    latest = stats.sort("event_timestamp").group_by("content_id").last()
    earned = latest.select("content_id", engagement=pl.sum_horizontal(counters))
    ranked = (
        meta.select("content_id", "event_timestamp")
        .with_row_index("row")
        .join(earned, on="content_id", how="left")
        .sort(pl.col("engagement").fill_null(0.0), "event_timestamp", "content_id", descending=[True, True, False])
    )
    return ranked["row"].cast(pl.Int64).to_numpy()


def _marked(count: int, rows: Sequence[npt.NDArray[np.integer]]) -> Mask:
    mask = np.zeros(count, np.bool_)
    for some in rows:
        mask[some] = True
    return mask
