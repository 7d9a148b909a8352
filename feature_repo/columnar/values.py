"""How the values of each Feast type lie in columns, and how they come out again.

Numbers, booleans and times are fixed-width columns; vectors of one width a fixed-width matrix; texts and blobs bytes as
they are; lists of numbers, times, texts and blobs their packed items; anything else (maps, structs, sets, JSON, UUIDs,
nested lists) a serialised Feast `Value`: slower, and never wrong. What stock Feast would put into a `Value` is what
comes out of `protos`. The codecs themselves are in `scalars` and `lists`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from feast import ValueType
from feast.protos.feast.types.Value_pb2 import Value

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
    encoding: ClassVar[str] = ""  # ends the column's name where the same type was once stored otherwise

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

    def nulls(self, rows: int) -> Cells:
        """A column of nulls."""
        return Cells(self, [None] * rows)

    def held(self, protos: Sequence[Value]) -> list[bool]:
        """Which rows hold a value."""
        held = []
        for row, proto in enumerate(protos):
            field = proto.WhichOneof("val")
            if field not in (None, "null_val", self.field):
                raise ValueError(f"row {row}: a {field} in a feature of type {self.value_type.name}")
            held.append(field == self.field)
        return held


@dataclass(slots=True)
class Cells:
    """A column that has been read: n rows, a fixed-width array with its mask, or bytes with None for null."""

    codec: Codec
    values: Any
    mask: Mask | None = None

    @property
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
