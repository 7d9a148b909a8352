"""How the values of each Feast type lie in columns, and how they come out again.

Numbers, booleans and times are fixed-width columns; vectors of one width a fixed-width matrix; texts and blobs bytes as
they are; number lists their packed items; anything else (maps, structs, sets, JSON, UUIDs, nested lists) a serialised
Feast `Value`: slower, and never wrong. What stock Feast would put into a `Value` is what comes out of `protos`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from feast import ValueType
from feast.online_response import _convert_uuids_for_arrow
from feast.protos.feast.types.Value_pb2 import Value
from feast.type_map import NULL_TIMESTAMP_INT_VALUE, feast_value_type_to_python_type
from typing_extensions import override

Array = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]
Fixed = tuple[Array, Mask | None]
Blobs = list[bytes | None]
Raw = Fixed | Blobs

NULL = Value()


@dataclass(frozen=True)
class Codec(ABC):
    """One Feast type as a column. `field` is its name in the protobuf `Value`."""

    sentinel: ClassVar[int | None] = None  # a stored number that stands for null

    value_type: ValueType
    field: str

    @abstractmethod
    def from_protos(self, protos: Sequence[Value]) -> Raw:
        """Feast values as they are stored. Raises ValueError for a value of another type."""

    @abstractmethod
    def from_arrow(self, array: pa.Array) -> Raw | None:
        """An Arrow array as it is stored; None where Feast's own conversion has to be asked."""

    @abstractmethod
    def protos(self, cells: Cells) -> list[Value]:
        """One Feast value a row, empty where null."""

    @abstractmethod
    def python(self, cells: Cells) -> list[Any]:
        """One Python value a row, as `OnlineResponse.to_dict` of stock Feast gives it."""

    @abstractmethod
    def numpy(self, cells: Cells) -> Array:
        """Numbers natively, vectors (n, d), anything else objects. A null is NaN, NaT, None, or else zero."""

    @abstractmethod
    def arrow(self, cells: Cells) -> pa.Array:
        """An Arrow array of the declared type."""

    def held(self, protos: Sequence[Value]) -> list[bool]:
        """Which rows hold a value."""
        held = []
        for row, proto in enumerate(protos):
            field = proto.WhichOneof("val")
            if field not in (None, "null_val", self.field):
                raise ValueError(f"row {row}: a {field} in a feature of type {self.value_type.name}")
            held.append(field == self.field)
        return held


@dataclass(frozen=True)
class Cells:
    """A column that has been read: n rows, a fixed-width array with its mask, or bytes with None for null."""

    codec: Codec
    values: Any
    mask: Mask | None = None

    @classmethod
    def empty(cls, codec: Codec, rows: int) -> Cells:
        """A column of nulls."""
        if isinstance(codec, Number):
            return cls(codec, np.zeros(rows, codec.dtype), np.zeros(rows, np.bool_))
        return cls(codec, [None] * rows)

    @cached_property
    def valid(self) -> Mask:
        """Which rows hold a value, (n,) bool."""
        if self.mask is None:
            return np.fromiter((value is not None for value in self.values), np.bool_, len(self.values))
        if self.codec.sentinel is not None:
            return np.asarray(self.mask & (self.values != self.codec.sentinel))
        return self.mask

    def where(self, live: Mask) -> Cells:
        """The same column with the rows outside `live` nulled."""
        if self.mask is not None:
            return Cells(self.codec, self.values, self.mask & live)
        return Cells(self.codec, [value if keep else None for value, keep in zip(self.values, live, strict=True)])

    def protos(self) -> list[Value]:
        """See `Codec.protos`."""
        return self.codec.protos(self)

    def python(self) -> list[Any]:
        """See `Codec.python`."""
        return self.codec.python(self)

    def numpy(self) -> Array:
        """See `Codec.numpy`."""
        return self.codec.numpy(self)

    def arrow(self) -> pa.Array:
        """See `Codec.arrow`."""
        return self.codec.arrow(self)


def objects(items: Sequence[Any]) -> Array:
    """Items as an (n,) object array, whatever they are."""
    return np.fromiter(items, object, len(items))


def valid_rows(array: pa.Array) -> Mask:
    """Which rows of an Arrow array hold a value, (n,) bool."""
    mask: Mask = array.is_valid().to_numpy(zero_copy_only=False)
    return mask


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
