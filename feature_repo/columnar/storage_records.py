"""What lies in LMDB, byte for byte: keys by kind and table, the state of a table, and rows' variable-length values.

t <blake2b of name>   table: schema as JSON (TableInfo)
n                     the next table's number
s <table>             State
k <table> <row key>   slot, event time, created time: three int64
b <table> <slot>      record of the bytes columns
f <table> <txn> <part>  slots that this transaction freed
x <table>             hash index over the keys as they were when it was last merged
a <table> <txn>       entries of the hash index that are still to be merged into it
v <table>             bitmap of slots that have had no row since then, and that the index must not be believed on
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from functools import lru_cache
from itertools import repeat, takewhile
from typing import Any

import numpy as np

ENTRY = np.dtype([("slot", "<i8"), ("event", "<i8"), ("created", "<i8")])
ABSENT = np.array([(-1, 0, 0)], ENTRY).tobytes()
NEXT_TABLE = b"n"
TABLE_PREFIX = b"t"
KINDS = "skbfxav"
_NUMBER = struct.Struct(">I")
_STATE = struct.Struct("<5Q")
_NULL_BIT = 1 << 31


def table_key(name: str) -> bytes:
    """Where the table of that name is described; the digest lets a name be any text."""
    return TABLE_PREFIX + hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=16).digest()


@lru_cache(maxsize=4096)
def prefix(kind: str, table: int) -> bytes:
    """Start of the keys of one kind and table."""
    return kind.encode() + _NUMBER.pack(table)


@dataclass
class State:
    """Counters of a table, in the transaction that changes them.

    `slots`: slots in use or free, from 0. `rows`: live rows. `payload`: bytes of their variable-length values.
    `indexed`: keys in the hash index; `stale`: keys that it lacks or has wrong.
    """

    slots: int = 0
    rows: int = 0
    payload: int = 0
    indexed: int = 0
    stale: int = 0

    def dump(self) -> bytes:
        """40 bytes."""
        return _STATE.pack(*astuple(self))

    @classmethod
    def load(cls, raw: bytes | memoryview) -> State:
        """From `dump`'s bytes."""
        return cls(*_STATE.unpack(raw))

    @classmethod
    def of(cls, txn: Any, table: int) -> State:
        """The state of a table in a transaction."""
        raw = txn.get(prefix("s", table))
        return cls() if raw is None else cls.load(raw)


def pack_record(values: Sequence[bytes | None], head: struct.Struct) -> bytes:
    """One row's variable-length values: their count, the end of each (top bit: null), the bytes one after another."""
    ends, end = [], 0
    for value in values:
        if value is None:
            ends.append(end | _NULL_BIT)
        else:
            end += len(value)
            ends.append(end)
    return head.pack(len(values), *ends) + b"".join([value for value in values if value])


def record_head(count: int) -> struct.Struct:
    """Head of a record of so many values."""
    return struct.Struct(f"<{count + 1}I")


def unpack_value(record: bytes, position: int) -> bytes | None:
    """The value at a position; None where null, or where the record is older than the column."""
    (count,) = struct.unpack_from("<I", record)
    if position >= count:
        return None
    before, end = struct.unpack_from("<2I", record, 4 * position)
    if end & _NULL_BIT:
        return None
    start = before & ~_NULL_BIT if position else 0
    body = 4 * (count + 1)
    return record[body + start : body + end]


def record_columns(records: Sequence[bytes | None], positions: Sequence[int]) -> list[list[bytes | None]]:
    """The values of each position for every record; None for a row without one."""
    return [[None if raw is None else unpack_value(raw, position) for raw in records] for position in positions]


def slot_keys(start: bytes, slots: np.ndarray[Any, np.dtype[np.int64]]) -> list[bytes]:
    """Keys of the records of (n,) slots."""
    packed = slots.astype(">i8").tobytes()
    return [start + packed[at : at + 8] for at in range(0, len(packed), 8)]


def clear(txn: Any, start: bytes) -> None:
    """Delete every key that begins with `start`."""
    with txn.cursor() as cursor:
        while cursor.set_range(start) and cursor.key()[: len(start)] == start:
            cursor.delete()


def look_up(txn: Any, table: int, keys: Sequence[bytes]) -> np.ndarray[Any, Any]:
    """(n,) ENTRY: slot (-1 where absent), event and created time, of each key."""
    start = prefix("k", table)
    return np.frombuffer(b"".join(map(txn.get, map(start.__add__, keys), repeat(ABSENT))), ENTRY)


def total_rows(txn: Any) -> int:
    """Live rows of all tables."""
    with txn.cursor() as cursor:
        cursor.set_range(b"s")
        states = takewhile(lambda item: bytes(item[0][:1]) == b"s", cursor.iternext())
        return sum(State.load(raw).rows for _, raw in states)
