"""Lists of texts or of blobs as columns: one value of bytes a row, and no protobuf on the way in or out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from feast.protos.feast.types.Value_pb2 import Value
from typing_extensions import override

from feature_repo.columnar.lists import flat_items, list_array
from feature_repo.columnar.values import NULL, Array, Blobs, Cells, Codec, objects, valid_rows

_WIDTH = 4  # bytes of a number in a row's head
_LARGE = {pa.string(): pa.large_string(), pa.binary(): pa.large_binary()}


@dataclass(frozen=True)
class ItemList(Codec):
    """A row is its number of items, the size of each in bytes, all little-endian uint32, and then the items' bytes.

    `item` is `string` or `binary`, `container` the protobuf message of such a list.
    """

    encoding: ClassVar[str] = ":items"

    item: pa.DataType
    container: Any

    @override
    def from_protos(self, protos: Sequence[Value]) -> Blobs:
        rows = zip(protos, self.held(protos), strict=True)
        return [_packed(getattr(proto, self.field).val) if held else None for proto, held in rows]

    @override
    def from_arrow(self, array: pa.Array) -> Blobs | None:
        flat = flat_items(array)
        if flat is None or flat.type not in (self.item, _LARGE[self.item]):
            return None
        ends, content = _buffers(flat.cast(_LARGE[self.item]))
        sizes = np.diff(ends).astype("<u4").tobytes()
        counts = pc.list_value_length(array).fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
        counts[~valid_rows(array)] = 0  # a null row of a fixed-size list has a length all the same
        lasts = np.cumsum(counts)
        firsts = lasts - counts
        heads = counts.astype("<u4").tobytes()
        rows: Blobs = [
            heads[_WIDTH * row : _WIDTH * (row + 1)] + sizes[_WIDTH * first : _WIDTH * last] + content[start:end]
            for row, (first, last, start, end) in enumerate(
                zip(firsts.tolist(), lasts.tolist(), ends[firsts].tolist(), ends[lasts].tolist(), strict=True)
            )
        ]
        for row in np.flatnonzero(~valid_rows(array)).tolist():
            rows[row] = None
        return rows

    @override
    def protos(self, cells: Cells) -> list[Value]:
        protos = []
        for row in self.python(cells):
            proto = NULL if row is None else Value(**{self.field: self.container()})
            if row:
                getattr(proto, self.field).val.extend(row)  # in place: half the time of a list that is then copied
            protos.append(proto)
        return protos

    @override
    def python(self, cells: Cells) -> list[Any]:
        return self._lists(cells).to_pylist()  # type: ignore[no-any-return]

    @override
    def numpy(self, cells: Cells) -> Array:
        return objects(self.python(cells))

    @override
    def arrow(self, cells: Cells) -> pa.Array:
        return self._lists(cells).cast(pa.list_(self.item))

    def _lists(self, cells: Cells) -> pa.Array:
        """The column as Arrow lists; 64-bit offsets, so that the bytes of all rows may exceed two gigabytes."""
        rows = [row for row in cells.values if row is not None]
        counts = np.frombuffer(b"".join([row[:_WIDTH] for row in rows]), "<u4").astype(np.int64)
        heads = (_WIDTH * (1 + counts)).tolist()
        sizes = np.frombuffer(b"".join([row[_WIDTH:head] for row, head in zip(rows, heads, strict=True)]), "<u4")
        content = b"".join([row[head:] for row, head in zip(rows, heads, strict=True)])
        ends = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)])
        items = pa.Array.from_buffers(_LARGE[self.item], len(sizes), [None, pa.py_buffer(ends), pa.py_buffer(content)])
        everywhere = np.zeros(len(cells.values), np.int64)
        everywhere[cells.valid] = counts
        return list_array(items, everywhere, cells.valid)


def _packed(items: Sequence[str | bytes]) -> bytes:
    encoded = [item.encode() if isinstance(item, str) else item for item in items]
    return np.array([len(encoded), *map(len, encoded)], "<u4").tobytes() + b"".join(encoded)


def _buffers(items: pa.Array) -> tuple[Array, bytes]:
    """Where the items start and the last one ends, (n + 1,) int64, and the bytes that they lie in."""
    _, offsets, content = items.buffers()
    if not len(items):
        return np.zeros(1, np.int64), b""
    ends = np.frombuffer(offsets, np.int64)[items.offset : items.offset + len(items) + 1]
    return ends, content.to_pybytes() if content else b""
