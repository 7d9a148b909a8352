"""Codecs of lists: items packed row by row, or for vectors one matrix where every row is as wide."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from feast.protos.feast.types.Value_pb2 import Value
from feast.type_map import NULL_TIMESTAMP_INT_VALUE
from typing_extensions import override

from feature_repo.columnar.values import NULL, Array, Blobs, Cells, Codec, Fixed, Mask, Raw, objects, valid_rows


@dataclass(frozen=True)
class NumberList(Codec):
    """Lists of any length; `dtype` is that of an item, `container` the protobuf message of such a list."""

    dtype: str
    item: pa.DataType
    container: Any

    @override
    def from_protos(self, protos: Sequence[Value]) -> Blobs:
        rows = zip(protos, self.held(protos), strict=True)
        return [
            np.array(getattr(proto, self.field).val, self.dtype).tobytes() if held else None for proto, held in rows
        ]

    def from_arrow(self, array: pa.Array) -> Raw | None:
        """A matrix and its mask where all rows are as wide, or packed rows."""
        items = self._items(array)
        if items is None:
            return None
        mask = valid_rows(array) if array.null_count else None
        if pa.types.is_fixed_size_list(array.type):
            return _matrix(items, array.type.list_size, len(array), mask)
        lengths = pc.list_value_length(array).drop_null().to_numpy(zero_copy_only=False)
        if len(lengths) and lengths[0] and (lengths == lengths[0]).all():
            return _matrix(items, int(lengths[0]), len(array), mask)
        parts = iter(np.split(items, np.cumsum(lengths)[:-1]) if len(lengths) else ())
        held = np.ones(len(array), np.bool_) if mask is None else mask
        return [next(parts).tobytes() if there else None for there in held.tolist()]

    def _items(self, array: pa.Array) -> Array | None:
        """All items in one vector; None where Feast itself has to judge them."""
        flat = flat_items(array)
        if flat is None or not self._takes(flat.type):
            return None
        return self._numbers(flat)

    def _takes(self, kind: pa.DataType) -> bool:
        return bool(pa.types.is_floating(kind) if pa.types.is_floating(self.item) else self.item.equals(kind))

    def _numbers(self, flat: pa.Array) -> Array:
        return flat.cast(self.item, safe=False).to_numpy(zero_copy_only=False)  # type: ignore[no-any-return]

    def unpack(self, packed: bytes) -> Array:
        """The items of one row."""
        return np.frombuffer(packed, self.dtype)

    @override
    def protos(self, cells: Cells) -> list[Value]:
        field, container = self.field, self.container
        return [NULL if row is None else Value(**{field: container(val=row)}) for row in self.python(cells)]

    @override
    def python(self, cells: Cells) -> list[Any]:
        return [None if packed is None else self.unpack(packed).tolist() for packed in cells.values]

    @override
    def numpy(self, cells: Cells) -> Array:
        return objects([None if packed is None else self.unpack(packed) for packed in cells.values])

    @override
    def arrow(self, cells: Cells) -> pa.Array:
        rows = [row or b"" for row in cells.values]
        counts = np.fromiter(map(len, rows), np.int64, len(rows)) // np.dtype(self.dtype).itemsize
        return list_array(self._flat(self.unpack(b"".join(rows))), counts, cells.valid)

    def _flat(self, items: Array) -> pa.Array:
        return pa.array(items, self.item)


@dataclass(frozen=True)
class TimeList(NumberList):
    """Lists of whole seconds since 1970."""

    encoding: ClassVar[str] = ":items"

    @override
    def _takes(self, kind: pa.DataType) -> bool:
        return bool(pa.types.is_timestamp(kind))

    @override
    def _numbers(self, flat: pa.Array) -> Array:
        seconds = flat.cast(pa.timestamp("s", flat.type.tz), safe=False)
        return seconds.cast(pa.int64()).to_numpy(zero_copy_only=False)  # type: ignore[no-any-return]

    @override
    def _flat(self, items: Array) -> pa.Array:
        return pa.array(items, pa.int64(), mask=items == NULL_TIMESTAMP_INT_VALUE).cast(self.item)

    @override
    def protos(self, cells: Cells) -> list[Value]:
        field, container = self.field, self.container
        rows = (None if packed is None else self.unpack(packed).tolist() for packed in cells.values)
        return [NULL if row is None else Value(**{field: container(val=row)}) for row in rows]

    @override
    def python(self, cells: Cells) -> list[Any]:
        return [None if row is None else [_moment(s) for s in self.unpack(row).tolist()] for row in cells.values]

    @override
    def numpy(self, cells: Cells) -> Array:
        return objects([None if row is None else self.unpack(row).astype("datetime64[s]") for row in cells.values])


@dataclass(frozen=True)
class Vector(NumberList):
    """Lists of float32 that are all `width` long, as the rows of one matrix."""

    width: int

    @override
    def protos(self, cells: Cells) -> list[Value]:
        field, container = self.field, self.container
        rows = zip(cells.values.tolist(), cells.valid, strict=True)
        return [Value(**{field: container(val=row)}) if held else NULL for row, held in rows]

    @override
    def python(self, cells: Cells) -> list[Any]:
        rows: list[Any] = cells.values.tolist()
        for row in np.flatnonzero(~cells.valid):
            rows[row] = None
        return rows

    @override
    def numpy(self, cells: Cells) -> Array:
        if cells.valid.all():
            return cells.values  # type: ignore[no-any-return]
        values = cells.values.copy()
        values[~cells.valid] = np.nan
        return values  # type: ignore[no-any-return]

    @override
    def arrow(self, cells: Cells) -> pa.Array:
        flat = pa.array(np.ascontiguousarray(cells.values).reshape(-1))
        return pa.FixedSizeListArray.from_arrays(flat, self.width, mask=pa.array(~cells.valid))

    def split(self, raw: Raw) -> tuple[Fixed, Blobs | None]:
        """Rows of this width as a matrix with its mask, and the others packed (None where there are none)."""
        if isinstance(raw, tuple) and raw[0].shape[1] == self.width:
            return raw, None
        packed = pack_rows(raw)
        size = self.width * np.dtype(self.dtype).itemsize
        fits = np.fromiter((row is not None and len(row) == size for row in packed), np.bool_, len(packed))
        matrix = np.zeros((len(packed), self.width), self.dtype)
        whole = b"".join(row for row, fit in zip(packed, fits, strict=True) if fit and row is not None)
        matrix[fits] = np.frombuffer(whole, self.dtype).reshape(-1, self.width)
        others: Blobs = [None if fit else row for row, fit in zip(packed, fits, strict=True)]
        return (matrix, fits), others if any(row is not None for row in others) else None


def flat_items(array: pa.Array) -> pa.Array | None:
    """All items of an array of lists, one after another; None where it holds no lists or a list holds a null."""
    kind = array.type
    if not (pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)):
        return None
    flat = array.flatten()  # leaves out what lies under null rows
    return None if flat.null_count else flat


def list_array(items: pa.Array, counts: Array, valid: Mask) -> pa.Array:
    """Lists of so many of the items each, (n,); null where not valid."""
    ends = pa.array(np.concatenate([[0], np.cumsum(counts)]), pa.int32())
    return pa.ListArray.from_arrays(ends, items, mask=None if valid.all() else pa.array(~valid))


def common_width(raw: Raw, itemsize: int) -> int | None:
    """The width that all rows share; None where they differ, 0 where there is no row to tell."""
    if isinstance(raw, tuple):
        return int(raw[0].shape[1]) if raw[1] is None or raw[1].any() else 0
    sizes = {len(row) for row in raw if row is not None}
    if not sizes:
        return 0
    return sizes.pop() // itemsize or None if len(sizes) == 1 else None


def pack_rows(raw: Raw) -> Blobs:
    """A matrix as packed rows; packed rows as they are."""
    if not isinstance(raw, tuple):
        return raw
    matrix, mask = raw
    held = np.ones(len(matrix), np.bool_) if mask is None else mask
    return [row.tobytes() if there else None for row, there in zip(matrix, held, strict=True)]


def _moment(seconds: int) -> datetime | None:
    return None if seconds == NULL_TIMESTAMP_INT_VALUE else datetime.fromtimestamp(seconds, UTC)


def _matrix(items: Array, width: int, rows: int, mask: Array | None) -> Fixed:
    if mask is None:
        return items.reshape(rows, width), None
    matrix = np.zeros((rows, width), items.dtype)
    matrix[mask] = items.reshape(-1, width)
    return matrix, mask
