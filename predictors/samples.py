"""Samples of what predictors read and said: their columns, and the folder that servers keep them in.

`samples/<predictor>/<version>/*.parquet` has a row for each sampled candidate: every feature of the predictor, numbers
as they are (null where absent), of all others (vectors, texts, lists) only whether they were there.
"""

from __future__ import annotations

import time
from datetime import datetime
from pathlib import Path

import numpy as np
import polars as pl

from feature_repo.columns import Columns, Wanted, stamp
from feature_repo.settings import Settings
from predictors.base import Predictor

SCORE, CONTENT, TIME = "score", "content_id", "time"
_ASKED = frozenset({CONTENT, "user_id", "creator_id", "event_timestamp"})  # what a row is of, no feature of it


def features_of(predictor: Predictor) -> list[str]:
    """The features whose distributions are kept."""
    return [name for name in predictor.features if name not in _ASKED]


def wanted(predictor: Predictor) -> Wanted:
    """What a read must give for `frame_of`: of a vector its stamp does, which says whether there is one."""
    vectors = frozenset(predictor.embeddings)
    return Wanted(frozenset(features_of(predictor)) - vectors, stamps=vectors)


def frame_of(columns: Columns, predictor: Predictor) -> pl.DataFrame:
    """A column for each feature: Float32, null where absent, of numbers; Boolean, whether it is there, of others."""
    nowhere = np.zeros(columns.rows, bool)

    def series(name: str) -> pl.Series:
        values = columns.values.get(name)
        if values is not None and values.ndim == 1 and values.dtype != object:
            return pl.Series(name, values, pl.Float32).fill_nan(None)
        there = columns.present.get(name, columns.present.get(stamp(name), nowhere))
        return pl.Series(name, there, pl.Boolean)

    return pl.DataFrame([series(name) for name in features_of(predictor)])


def scan(settings: Settings, predictor: str, version: str, since: datetime | None = None) -> pl.DataFrame:
    """The samples of a version, those since a time; empty where there are none."""
    paths = sorted((settings.samples_dir / predictor / version).glob("*.parquet"))
    if not paths:
        return pl.DataFrame()
    found = pl.scan_parquet(paths)
    return (found if since is None else found.filter(pl.col(TIME) >= since)).collect()


def prune(folder: Path, days: float, most_bytes: int) -> None:
    """Delete segments that are older than so many days, then the oldest until the rest is no larger than this.

    Others may prune at the same time.
    """
    kept = 0
    oldest = time.time() - 86_400 * days
    for written, path in sorted(
        ((int(p.name.partition("-")[0]), p) for p in folder.glob("*/*/*.parquet")), reverse=True
    ):
        try:
            kept += path.stat().st_size
        except FileNotFoundError:
            continue
        if kept > most_bytes or written < oldest * 1e9:
            path.unlink(missing_ok=True)
