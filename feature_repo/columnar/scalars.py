"""Codecs of single values: numbers, times, bytes, text, and whatever else Feast knows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
from feast.online_response import _convert_uuids_for_arrow
from feast.protos.feast.types.Value_pb2 import Value
from feast.type_map import NULL_TIMESTAMP_INT_VALUE, feast_value_type_to_python_type
from typing_extensions import override

from feature_repo.columnar.values import NULL, Array, Blobs, Cells, Codec, Fixed, objects, valid_rows


@dataclass(frozen=True)
class Number(Codec):
    """A number or boolean, `dtype` wide."""

    dtype: str
    arrow_type: pa.DataType

    @property
    def is_float(self) -> bool:
        """Whether NaN can stand for null."""
        return self.dtype in ("f4", "f8")

    @override
    def nulls(self, rows: int) -> Cells:
        return Cells(self, np.zeros(rows, self.dtype), np.zeros(rows, np.bool_))

    @override
    def from_protos(self, protos: Sequence[Value]) -> Fixed:
        held = self.held(protos)
        values = [getattr(proto, self.field) for proto in protos]  # protobuf gives zero where it is not set
        return np.array(values, self.dtype), np.array(held, np.bool_)

    @override
    def from_arrow(self, array: pa.Array) -> Fixed | None:
        if not self._takes(array.type):
            return None
        mask = valid_rows(array) if array.null_count else None
        filled = array.fill_null(False if pa.types.is_boolean(array.type) else 0) if array.null_count else array
        values = filled.cast(self.arrow_type, safe=not self.is_float).to_numpy(zero_copy_only=False)
        if self.is_float and (gaps := np.isnan(values)).any():  # to stock Feast, too, NaN from a source is a null
            mask = ~gaps if mask is None else mask & ~gaps
        return values, mask

    def _takes(self, kind: pa.DataType) -> bool:
        if self.dtype == "bool":
            return bool(pa.types.is_boolean(kind))
        return bool(pa.types.is_integer(kind) or (self.is_float and pa.types.is_floating(kind)))

    @override
    def protos(self, cells: Cells) -> list[Value]:
        field = self.field
        rows = zip(cells.values.tolist(), cells.mask, strict=True)  # type: ignore[arg-type]
        return [Value(**{field: value}) if held else NULL for value, held in rows]

    @override
    def python(self, cells: Cells) -> list[Any]:
        values: list[Any] = cells.values.tolist()
        for row in np.flatnonzero(~cells.valid):
            values[row] = None
        return values

    @override
    def numpy(self, cells: Cells) -> Array:
        if cells.valid.all():
            return np.asarray(cells.values)
        filler = cells.values.dtype.type(np.nan if self.is_float else 0)
        return np.asarray(np.where(cells.valid, cells.values, filler))

    @override
    def arrow(self, cells: Cells) -> pa.Array:
        return pa.array(cells.values, self.arrow_type, mask=~cells.valid)


@dataclass(frozen=True)
class Time(Number):
    """Whole seconds since 1970; the smallest integer is stock Feast's null from a source."""

    sentinel: ClassVar[int | None] = NULL_TIMESTAMP_INT_VALUE

    @override
    def from_arrow(self, array: pa.Array) -> Fixed | None:
        if not pa.types.is_timestamp(array.type):
            return None
        seconds = array.cast(pa.timestamp("s", array.type.tz), safe=False).cast(pa.int64())
        return seconds.fill_null(NULL_TIMESTAMP_INT_VALUE).to_numpy(zero_copy_only=False), None

    @override
    def python(self, cells: Cells) -> list[Any]:
        return [
            datetime.fromtimestamp(value, UTC) if held else None
            for value, held in zip(cells.values.tolist(), cells.valid, strict=True)
        ]

    @override
    def numpy(self, cells: Cells) -> Array:
        return np.where(cells.valid, cells.values, NULL_TIMESTAMP_INT_VALUE).astype("datetime64[s]")

    @override
    def arrow(self, cells: Cells) -> pa.Array:
        return pa.array(cells.values, pa.int64(), mask=~cells.valid).cast(self.arrow_type)


@dataclass(frozen=True)
class Blob(Codec):
    """Bytes as they are."""

    arrow_type: ClassVar[pa.DataType] = pa.large_binary()

    @override
    def from_protos(self, protos: Sequence[Value]) -> Blobs:
        rows = zip(protos, self.held(protos), strict=True)
        return [self._pack(getattr(proto, self.field)) if held else None for proto, held in rows]

    @override
    def from_arrow(self, array: pa.Array) -> Blobs | None:
        if not (pa.types.is_binary(array.type) or pa.types.is_large_binary(array.type)):
            return None
        return list(array.to_pylist())

    def _pack(self, value: Any) -> bytes:
        return bytes(value)

    def _unpack(self, packed: bytes) -> Any:
        return packed

    @override
    def protos(self, cells: Cells) -> list[Value]:
        field, unpack = self.field, self._unpack
        return [NULL if packed is None else Value(**{field: unpack(packed)}) for packed in cells.values]

    @override
    def python(self, cells: Cells) -> list[Any]:
        unpack = self._unpack
        return [None if packed is None else unpack(packed) for packed in cells.values]

    @override
    def numpy(self, cells: Cells) -> Array:
        return objects(self.python(cells))

    @override
    def arrow(self, cells: Cells) -> pa.Array:
        return pa.array(cells.values, pa.large_binary()).cast(self.arrow_type)


@dataclass(frozen=True)
class Text(Blob):
    """UTF-8."""

    arrow_type: ClassVar[pa.DataType] = pa.string()

    @override
    def from_arrow(self, array: pa.Array) -> Blobs | None:
        if not (pa.types.is_string(array.type) or pa.types.is_large_string(array.type)):
            return None
        return list(array.cast(pa.large_binary()).to_pylist())

    def _pack(self, value: str) -> bytes:
        return value.encode()

    def _unpack(self, packed: bytes) -> str:
        return packed.decode()


@dataclass(frozen=True)
class Opaque(Codec):
    """Any value at all, as a serialised Feast `Value`."""

    @override
    def from_protos(self, protos: Sequence[Value]) -> Blobs:
        return [proto.SerializeToString() if proto.WhichOneof("val") else None for proto in protos]

    @override
    def from_arrow(self, array: pa.Array) -> None:
        return None

    @override
    def protos(self, cells: Cells) -> list[Value]:
        return [NULL if packed is None else Value.FromString(packed) for packed in cells.values]

    @override
    def python(self, cells: Cells) -> list[Any]:
        return [feast_value_type_to_python_type(proto, self.value_type) for proto in self.protos(cells)]

    @override
    def numpy(self, cells: Cells) -> Array:
        return objects(self.python(cells))

    @override
    def arrow(self, cells: Cells) -> pa.Array:
        return pa.array(_convert_uuids_for_arrow({"": self.python(cells)})[""])
