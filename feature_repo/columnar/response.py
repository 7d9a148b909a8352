"""The answer of the online store: columns that turn into protobuf only when somebody asks for protobuf."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from feast import ValueType
from feast.online_response import TIMESTAMP_POSTFIX, OnlineResponse
from feast.protos.feast.serving.ServingService_pb2 import FieldStatus, GetOnlineFeaturesResponse
from google.protobuf.timestamp_pb2 import Timestamp

from feature_repo.columnar.scalars import Number
from feature_repo.columnar.values import Array, Cells, Mask

Status = np.ndarray[Any, np.dtype[np.uint8]]
PRESENT, NOT_FOUND, EXPIRED = FieldStatus.PRESENT, FieldStatus.NOT_FOUND, FieldStatus.OUTSIDE_MAX_AGE


@dataclass(slots=True)
class ResponseColumn:
    """One entity or feature of the answer over its n rows.

    `statuses` is (n,) uint8 of Feast's `FieldStatus`: PRESENT (the value may be null), NOT_FOUND, or
    OUTSIDE_MAX_AGE (older than the view's TTL, the value withheld). `event_us` is (n,) int64, microseconds since
    1970, 0 where there is no row.
    """

    cells: Cells
    statuses: Status
    event_us: np.ndarray[Any, np.dtype[np.int64]]
    _values: Array | None = None

    @property
    def values(self) -> Array:
        """Numbers natively, vectors (n, d) float32, anything else objects; NaN, NaT, None or zero where invalid."""
        if self._values is None:
            self._values = self.cells.numpy()
        return self._values

    @property
    def valid(self) -> Mask:
        """Which rows hold a value, (n,) bool."""
        return self.cells.valid


@dataclass(frozen=True)
class ViewColumns:
    """Features of one view as numpy, one row a key.

    `present` is (n,) bool: there is a row and it is not older than the view's TTL. `event_us` is (n,) int64,
    microseconds since 1970, 0 where there is no row, and so is `created_us`, when its source last changed (0 too where
    that was never written). `values[f]` is native numbers, (n, d) float32 for vectors of one width, or objects;
    `valid[f]`, (n,) bool, says where it holds a value. What is not valid is NaN, NaT, None or zero.
    """

    present: Mask
    event_us: np.ndarray[Any, np.dtype[np.int64]]
    created_us: np.ndarray[Any, np.dtype[np.int64]]
    values: dict[str, Array]
    valid: dict[str, Mask]


class ColumnarOnlineResponse(OnlineResponse):
    """An `OnlineResponse` over columns: `to_dict`, `to_df` and `columns` answer without protobuf.

    `proto` is built at its first use and then kept, field by field what stock Feast builds.
    """

    def __init__(
        self,
        columns: Mapping[str, ResponseColumn],
        feature_types: dict[str, ValueType],
        versions: Mapping[str, int],
    ) -> None:
        self.columns = dict(columns)
        self._feature_types = feature_types
        self._versions = versions

    @cached_property
    def proto(self) -> GetOnlineFeaturesResponse:  # type: ignore[override]
        """The answer as protobuf."""
        answer = GetOnlineFeaturesResponse()
        add_to_proto(answer, self.columns)
        add_versions(answer, self._versions)
        return answer

    def to_dict(self, include_event_timestamps: bool = False) -> dict[str, list[Any]]:
        """Lists of Python values by name; `<name>__ts` are whole seconds since 1970."""
        answer: dict[str, list[Any]] = {}
        for name, column in self.columns.items():
            answer[name] = column.cells.python()
            if include_event_timestamps:
                answer[name + TIMESTAMP_POSTFIX] = _seconds(column).tolist()
        return answer

    def to_df(self, include_event_timestamps: bool = False) -> pd.DataFrame:
        """A pandas frame with the types that stock Feast gives."""
        answer: dict[str, Any] = {}
        for name, column in self.columns.items():
            answer[name] = _series(column)
            if include_event_timestamps:
                answer[name + TIMESTAMP_POSTFIX] = _seconds(column)
        return pd.DataFrame(answer)

    def to_arrow(self, include_event_timestamps: bool = False) -> pa.Table:
        """An Arrow table of the declared types: float32 stays float32, vectors are fixed-size lists."""
        answer: dict[str, pa.Array] = {}
        for name, column in self.columns.items():
            answer[name] = column.cells.arrow()
            if include_event_timestamps:
                answer[name + TIMESTAMP_POSTFIX] = pa.array(_seconds(column))
        return pa.table(answer)


def add_to_proto(answer: GetOnlineFeaturesResponse, columns: Mapping[str, ResponseColumn]) -> None:
    """Append columns to an answer in protobuf."""
    stamps: dict[int, list[Timestamp]] = {}
    for name, column in columns.items():
        answer.metadata.feature_names.val.append(name)
        times = column.event_us
        if id(times) not in stamps:  # the features of one view share their times
            stamps[id(times)] = [_timestamp(us) for us in times.tolist()]
        answer.results.add(
            values=column.cells.protos(),
            statuses=column.statuses.tolist(),
            event_timestamps=stamps[id(times)],
        )


def add_versions(answer: GetOnlineFeaturesResponse, versions: Mapping[str, int]) -> None:
    """Append the versions of views to an answer in protobuf."""
    for name, number in versions.items():
        answer.metadata.feature_view_metadata.add(name=name, version=number)


def _timestamp(us: int) -> Timestamp:
    seconds, rest = divmod(us, 1_000_000)
    return Timestamp(seconds=seconds, nanos=rest * 1000)


def _seconds(column: ResponseColumn) -> Array:
    return column.event_us // 1_000_000


def _series(column: ResponseColumn) -> Any:
    """What pandas makes of the Python values, without making them where it can be known."""
    cells = column.cells
    if type(cells.codec) is Number and len(cells.values):
        if cells.valid.all():
            return cells.values.astype({"f": np.float64, "i": np.int64, "b": np.bool_}[cells.values.dtype.kind])
        if cells.valid.any() and cells.codec.dtype != "bool":
            return np.where(cells.valid, cells.values.astype(np.float64), np.nan)
    return cells.python()
