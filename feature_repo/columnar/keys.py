"""Entity keys as bytes: what a row is found by.

A key is the CRC-32 of the sorted join key names, then the values in that order: a tag byte and the payload, with its
length before it where there are several. A view whose join keys change therefore never finds its old rows, and `Int32`
and `Int64` keys of one number are one key. A long key is replaced by its digest. The kinds of value are those that
Feast itself takes as keys.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import Any

import numpy as np
import pyarrow as pa
from feast import ValueType
from feast.protos.feast.types.Value_pb2 import Value
from feast.type_map import python_values_to_proto_values

from feature_repo.columnar.storage_keys import Keys

_TEXT, _BLOB, _INTEGER, _TIME, _DIGEST = b"s", b"b", b"i", b"t", b"d"
_LONGEST = 400  # the storage takes keys of up to 480 bytes
_NUMBER = struct.Struct(">q")

_PAYLOADS: dict[str, Callable[[Value], bytes]] = {
    "string_val": lambda value: _TEXT + value.string_val.encode(),
    "bytes_val": lambda value: _BLOB + value.bytes_val,
    "int32_val": lambda value: _INTEGER + _NUMBER.pack(value.int32_val),
    "int64_val": lambda value: _INTEGER + _NUMBER.pack(value.int64_val),
    "unix_timestamp_val": lambda value: _TIME + _NUMBER.pack(value.unix_timestamp_val),
}


def row_keys(parts: Mapping[str, Sequence[bytes]]) -> list[bytes]:
    """One key a row from the encoded values of each join key; all have as many rows."""
    names = tuple(sorted(parts))
    head = _head(names)
    if len(names) == 1:
        keys = [head + value for value in parts[names[0]]]
    else:
        rows = zip(*(parts[name] for name in names), strict=True)
        keys = [head + b"".join(struct.pack(">I", len(value)) + value for value in row) for row in rows]
    return _shortened(keys)


def text_keys(name: str, values: Sequence[str]) -> Sequence[bytes]:
    """`row_keys` of one join key whose values are texts, in one step: most reads are of this kind."""
    head = _head((name,)) + _TEXT
    keys = Keys.of_texts(head, values, _LONGEST) if len(values) > 1 else None
    return _shortened([head + value.encode() for value in values]) if keys is None else keys


@lru_cache(maxsize=1024)
def _head(names: tuple[str, ...]) -> bytes:
    return struct.pack(">I", zlib.crc32("\0".join(names).encode()))


def _shortened(keys: list[bytes]) -> list[bytes]:
    if max(map(len, keys), default=0) <= _LONGEST:
        return keys
    return [key if len(key) <= _LONGEST else key[:4] + _DIGEST + blake2b(key, digest_size=32).digest() for key in keys]


def encode_protos(name: str, values: Sequence[Value]) -> list[bytes]:
    """The values of one join key. Raises ValueError for a null and for a kind that cannot be a key."""
    encoded = []
    for row, value in enumerate(values):
        field = value.WhichOneof("val")
        if field is None or field == "null_val":
            raise null_key(name, row)
        if field not in _PAYLOADS:
            raise ValueError(f"entity {name!r}, row {row}: a {field} cannot be a key; use text, integers or bytes")
        encoded.append(_PAYLOADS[field](value))
    return encoded


def encode_texts(values: Sequence[str]) -> list[bytes]:
    """Texts as they are."""
    return [_TEXT + value.encode() for value in values]


def encode_integers(values: np.ndarray[Any, np.dtype[np.int64]]) -> list[bytes]:
    """A vector of integers, (n,) int64."""
    packed = values.astype(">i8").tobytes()
    return [_INTEGER + packed[at : at + 8] for at in range(0, len(packed), 8)]


def encode_arrow(name: str, array: pa.Array, value_type: ValueType) -> list[bytes]:
    """The values of one join key of an Arrow batch. Raises ValueError for a null."""
    if array.null_count:
        raise null_key(name, int(np.flatnonzero(array.is_null().to_numpy(zero_copy_only=False))[0]))
    if value_type == ValueType.STRING and (pa.types.is_string(array.type) or pa.types.is_large_string(array.type)):
        return [_TEXT + value for value in array.cast(pa.large_binary()).to_pylist()]
    if value_type in (ValueType.INT32, ValueType.INT64) and pa.types.is_integer(array.type):
        return encode_integers(array.cast(pa.int64()).to_numpy(zero_copy_only=False))
    return encode_protos(name, python_values_to_proto_values(array.to_numpy(zero_copy_only=False), value_type))


def null_key(name: str, row: int) -> ValueError:
    """The error for a row that has no key."""
    return ValueError(f"entity {name!r}, row {row}: the value is null; drop the row or give it a key")
