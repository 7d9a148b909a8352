"""What the online store answers, as columns: of any Feast store from protobuf, of ours as it is."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from feast import FeatureView, RepoConfig
from feast.protos.feast.serving.ServingService_pb2 import FieldStatus, GetOnlineFeaturesResponse
from feast.types import Array, FeastType, Float32, Float64, Int64, String

from feature_repo.columnar.keys import text_keys
from feature_repo.columnar.online import ColumnarOnlineStore
from feature_repo.columnar.response import ViewColumns
from feature_repo.columnar.storage_keys import Keys
from feature_repo.columns import Columns, Mask, stamp

Values = npt.NDArray[Any]
Form = Callable[[Values, int, Mask], Values]
"""Of what the store found, the view's `dim`, and where there is a value."""

_ODD = np.uint64(0xE220A8397B1DCDAF)  # without a pattern (SplitMix64), so that no two pairs of times mix alike

_PICK: dict[FeastType, Callable[[Any], Any]] = {
    String: lambda value: value.string_val,
    Array(String): lambda value: list(value.string_list_val.val),
    Array(Int64): lambda value: list(value.int64_list_val.val),
    Array(Float64): lambda value: list(value.double_list_val.val),
}


def decode(answer: GetOnlineFeaturesResponse | None, fields: Mapping[str, FeatureView], rows: int) -> Columns:
    """Columns of the named fields; all absent where `answer` is None."""
    cells: dict[str, tuple[Sequence[Any], Sequence[Any]]] = {}
    if answer is not None:
        names = answer.metadata.feature_names.val
        cells = {n: (r.values, r.statuses) for n, r in zip(names, answer.results, strict=True)}
    values: dict[str, npt.NDArray[Any]] = {}
    present: dict[str, npt.NDArray[np.bool_]] = {}
    for name, view in fields.items():
        protos, statuses = cells.get(name, ((), ()))
        there = np.zeros(rows, np.bool_)
        for row, (proto, status) in enumerate(zip(protos, statuses, strict=True)):
            there[row] = status == FieldStatus.PRESENT and proto.WhichOneof("val") is not None
        values[name] = _column(_type_of(view, name), int(view.tags.get("dim", 0)), protos, there)
        present[name] = there
    return Columns(rows, values, present)


@dataclass(frozen=True)
class ViewFeatures:
    """Some features of a view, and whether its rows' stamps are asked for."""

    view: FeatureView
    names: Sequence[str]
    stamped: bool = False

    def only(self, features: Collection[str], stamped: bool) -> ViewFeatures:
        """Those of them that are among `features`."""
        return ViewFeatures(self.view, [name for name in self.names if name in features], stamped)

    @cached_property
    def forms(self) -> dict[str, Form]:
        """What makes the array that `Columns` promises, of each."""
        return {name: _form_of(_type_of(self.view, name)) for name in self.names}


def read_views(
    store: ColumnarOnlineStore, config: RepoConfig, views: Sequence[ViewFeatures], key: str, ids: Sequence[str]
) -> Columns:
    """Columns of the features of views that share a join key of texts, one row an id, without a protobuf in between."""
    encoded = text_keys(key, ids)
    keys = encoded if isinstance(encoded, Keys) else ids
    values: dict[str, npt.NDArray[Any]] = {}
    present: dict[str, npt.NDArray[np.bool_]] = {}
    for asked in views:
        found = store.read_columns(config, asked.view, keys, asked.names)
        dim = int(asked.view.tags.get("dim", 0))
        for name, form in asked.forms.items():
            present[name] = found.present & found.valid[name]
            values[name] = form(found.values[name], dim, present[name])
        if asked.stamped:
            values[stamp(asked.view.name)], present[stamp(asked.view.name)] = _stamps(found), found.present
    return Columns(len(ids), values, present)


def _stamps(found: ViewColumns) -> npt.NDArray[np.int64]:
    """One number of both times: a row that is written anew has a later one."""
    mixed = found.event_us.astype(np.uint64) * _ODD + found.created_us.astype(np.uint64)
    return np.where(found.present, mixed.view(np.int64), 0)


def _form_of(dtype: FeastType) -> Form:
    """Found once for a feature: Feast's types are slow to compare."""
    if dtype == Float32:
        return _numbers
    if dtype == Array(Float32):
        return _vectors
    return _texts if dtype == String else _lists


def _numbers(found: Values, dim: int, there: Mask) -> Values:
    del dim
    return np.where(there, found, np.nan).astype(np.float64, copy=False)


def _vectors(found: Values, dim: int, there: Mask) -> Values:
    """Of width `dim` where there are no rows to take it from."""
    if there.all() and found.ndim == 2:
        return found
    matrix = np.full((len(there), dim), np.nan, np.float32)
    rows = np.flatnonzero(there)
    if len(rows):
        matrix[rows] = found[rows] if found.ndim == 2 else np.stack(found[rows].tolist())
    return matrix


def _texts(found: Values, dim: int, there: Mask) -> Values:
    del dim
    objects = np.empty(len(there), object)
    objects[there] = found[there]
    return objects


def _lists(found: Values, dim: int, there: Mask) -> Values:
    del dim
    objects = np.empty(len(there), object)
    for row in np.flatnonzero(there).tolist():
        objects[row] = list(found[row])
    return objects


def holds_any(answer: GetOnlineFeaturesResponse, view: FeatureView) -> bool:
    """Whether the store had a row of `view` for any key, be its values null."""
    features = {feature.name for feature in view.features}
    return any(
        status != FieldStatus.NOT_FOUND
        for name, result in zip(answer.metadata.feature_names.val, answer.results, strict=True)
        if name in features
        for status in result.statuses
    )


def _type_of(view: FeatureView, name: str) -> FeastType:
    dtype: FeastType = next(f.dtype for f in view.features if f.name == name)
    return dtype


def _column(dtype: FeastType, dim: int, protos: Sequence[Any], there: npt.NDArray[np.bool_]) -> npt.NDArray[Any]:
    rows = np.flatnonzero(there)
    if dtype == Float32:
        numbers = np.full(len(there), np.nan, np.float64)
        numbers[rows] = [protos[row].float_val for row in rows.tolist()]
        return numbers
    if dtype == Array(Float32):
        matrix = np.full((len(there), dim), np.nan, np.float32)
        for row in rows.tolist():
            matrix[row] = protos[row].float_list_val.val
        return matrix
    objects = np.empty(len(there), object)
    pick = _PICK[dtype]
    for row in rows.tolist():
        objects[row] = pick(protos[row])
    return objects
