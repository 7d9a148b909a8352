"""The entity frame of a retrieval, whatever it comes as, and its key columns made comparable with a view's."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
from feast.errors import EntityTimestampInferenceException

from feature_repo.columnar.sources import ParquetSource
from feature_repo.errors import InputError

EVENT_TIMESTAMP = "event_timestamp"
_log = logging.getLogger(__name__)


def entity_frame(entities: Any, repo_path: Path | None) -> pl.DataFrame:
    """Read pandas, Polars, Arrow or the path of Parquet; columns keep their order. Raises InputError for the rest."""
    if isinstance(entities, pl.LazyFrame):
        return entities.collect()
    if isinstance(entities, pl.DataFrame):
        return entities
    if isinstance(entities, pd.DataFrame):
        return _from_pandas(entities)
    if isinstance(entities, pa.Table | pa.RecordBatch):
        return pl.DataFrame(pl.from_arrow(entities))
    if isinstance(entities, str | Path):
        return _from_path(str(entities), repo_path)
    raise InputError(f"entity_df: a {type(entities).__name__}; give a pandas or Polars frame, an Arrow table or a path")


def with_event_timestamp(frame: pl.DataFrame) -> tuple[pl.DataFrame, str]:
    """The frame with its event timestamp in UTC, and that column's name.

    It is `event_timestamp` or else the only datetime column; text is parsed. Raises Feast's
    EntityTimestampInferenceException where that names none, InputError where it is not a time.
    """
    name = EVENT_TIMESTAMP
    if name not in frame.columns:
        times = [column for column, dtype in frame.schema.items() if dtype == pl.Datetime]
        if len(times) != 1:
            raise EntityTimestampInferenceException(EVENT_TIMESTAMP)
        name = times[0]
        _log.info("taking %s as the event timestamp", name)
    return frame.with_columns(_utc(frame[name])), name


def same_kind(name: str, entity: pl.Series, feature: pl.Series) -> tuple[pl.Series, pl.Series]:
    """Two key columns in one type, so that equal ids are equal; what does not fit it is null and matches nothing.

    Raises InputError for kinds that cannot be compared, such as text and numbers.
    """
    left, right = entity.dtype, feature.dtype
    if left == pl.Null:
        return entity.cast(right), feature
    if left == right and not isinstance(left, pl.Categorical | pl.Enum):
        return entity, feature
    texts = (pl.String, pl.Categorical, pl.Enum)
    if left in texts and right in texts:
        return entity.cast(pl.String), feature.cast(pl.String)
    if left.is_integer() and right.is_integer():
        return entity.cast(pl.Int128), feature.cast(pl.Int128)
    if left.is_float() and right.is_integer():  # what pandas makes of integers with a null among them
        whole = entity.cast(right, strict=False)
        return whole.set(whole.cast(left) != entity, None), feature
    if left.is_float() and right.is_float():
        return entity.cast(pl.Float64), feature.cast(pl.Float64)
    raise InputError(f"entity_df: key {name!r} is {left}, but the feature rows have {right}; cast it")


def _from_path(place: str, repo_path: Path | None) -> pl.DataFrame:
    try:
        source = ParquetSource.at(place, repo_path)
    except (InputError, OSError) as error:
        raise InputError(f"entity_df: no Parquet at {place[:200]!r}, and PolarsOfflineStore runs no SQL") from error
    return source.read(source.schema.names)


def _from_pandas(frame: pd.DataFrame) -> pl.DataFrame:
    if odd := [name for name in frame.columns if not isinstance(name, str)]:
        raise InputError(f"entity_df: column names are texts, not {odd}")
    try:
        # Polars knows no zones such as +05:45, and Feast itself turns all times into UTC
        times = {
            str(name): pd.to_datetime(frame[name], utc=True, format="mixed")
            for name, dtype in frame.dtypes.items()
            if isinstance(dtype, pd.DatetimeTZDtype)
            or (name == EVENT_TIMESTAMP and pd.api.types.is_object_dtype(dtype))
        }
        return pl.from_pandas(frame.assign(**times))
    except (pa.ArrowException, TypeError, ValueError, pl.exceptions.PolarsError) as error:
        raise InputError(f"entity_df: a column has values that are not of one kind: {error}") from error


def _utc(times: pl.Series) -> pl.Series:
    if times.dtype == pl.Null:
        return times.cast(pl.Datetime("us", "UTC"))
    if times.dtype == pl.String:
        try:
            return times.str.to_datetime(time_unit="us", time_zone="UTC")
        except pl.exceptions.PolarsError as error:
            raise InputError(f"entity_df: column {times.name!r} has texts that are no times: {error}") from error
    if times.dtype == pl.Date:
        return times.cast(pl.Datetime("us", "UTC"))
    if not isinstance(times.dtype, pl.Datetime):
        raise InputError(f"entity_df: column {times.name!r} is {times.dtype}, not a time")
    zoned = times.dtype.time_zone is not None
    return times.dt.convert_time_zone("UTC") if zoned else times.dt.replace_time_zone("UTC")
