"""What the arms of experiments answered, as Parquet segments that servers write; outcomes are joined to it."""

from __future__ import annotations

from pathlib import Path

import polars as pl

SCHEMA: dict[str, pl.DataType] = {
    "time": pl.Datetime("us", "UTC"),
    "experiment": pl.String(),
    "variant": pl.String(),
    "release": pl.String(),
    "method": pl.String(),  # Predict or Recommend
    "request_id": pl.String(),
    "user_id": pl.String(),  # null: for no one in particular
    "predictor": pl.String(),
    "content_ids": pl.List(pl.String()),  # Recommend: as answered; Predict: the best first
    "scores": pl.List(pl.Float32()),
}


def scan(folder: Path) -> pl.LazyFrame:
    """Every exposure in the folder, columns as in `SCHEMA`, unordered."""
    segments = sorted(folder.glob("*.parquet")) if folder.is_dir() else []
    return pl.concat([pl.LazyFrame(schema=SCHEMA), *(pl.scan_parquet(path, schema=SCHEMA) for path in segments)])
