"""A hash index from keys to slots beside LMDB's tree, probed for a whole batch with few numpy calls.

It is a table of cells of eight uint64 entries, a cache line each; an entry is the CRC-32 of a key above and its slot
below, and the CRC says which cell. It lies in one LMDB value, so it changes with the transaction that it describes. An
answer is a hint: the caller compares the key that lies in the slot, and asks LMDB where they differ. Keys that do not
lie there whole (too long, or with zeros at the end, which numpy drops) are left out, and so is what overflows a cell.

A large write merges its keys in. A small one must not rewrite the whole table: it marks the slots that it frees in a
bitmap, as not to be believed, and leaves its keys to LMDB until they have become many.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Any
from zlib import crc32

import numpy as np

from feature_repo.columnar.storage_lmdb import Transaction
from feature_repo.columnar.storage_records import ENTRY, State, prefix
from feature_repo.columnar.storage_schema import TableInfo

U64 = np.ndarray[Any, np.dtype[np.uint64]]
Slots = np.ndarray[Any, np.dtype[np.int64]]
Mask = np.ndarray[Any, np.dtype[np.bool_]]

MAX_SLOT = 2**32 - 1
CELL = 8
_PER_CELL = 3
_HALF = np.uint64(32)
_LOWER = np.uint64(2**32 - 1)
_EMPTY = np.uint64(2**64 - 1)
_SCAN = 65536
# A write of this share of the rows merges its keys; the rest is built anew when this share of all is not known.
_LARGE_SHARE = 1 / 128
_STALE_SHARE = 0.5
_STALE_MIN = 1024


def hashes_of(keys: Sequence[bytes]) -> U64:
    """(n,) uint64 whose upper half is the key's hash and whose lower half is 0."""
    hashes = np.fromiter(map(crc32, keys), np.uint64, len(keys))
    hashes <<= _HALF
    return hashes


def entries_of(keys: Sequence[bytes], slots: Slots, width: int) -> U64:
    """Entries, (<= n,) uint64, of the keys that `width` bytes of a slot hold whole; slots lie under `MAX_SLOT`."""
    whole = np.fromiter((len(key) <= width and key[-1] != 0 for key in keys), np.bool_, len(keys))
    entries: U64 = (hashes_of(keys) | slots.astype(np.uint64))[whole]
    return entries


def pack(entries: U64) -> U64:
    """The table (cells * 8,) over the entries, which it sorts in place; about one in 600 finds its cell full."""
    entries.sort()
    cells = len(entries) // _PER_CELL + 1
    cell = _cells(entries, cells)
    rank = np.arange(len(entries)) - np.searchsorted(cell, cell)
    fits = rank < CELL
    table = np.full(cells * CELL, _EMPTY)
    table[(cell * CELL + rank)[fits]] = entries[fits]
    return table


def _cells(hashes: U64, cells: int) -> Slots:
    """(n,) int64: the upper half of each, scaled down to the number of cells (Lemire 2019)."""
    return ((hashes >> _HALF) * np.uint64(cells) >> _HALF).view(np.int64)


def probe(index: bytes | memoryview, hashes: U64) -> tuple[Slots, Mask]:
    """(n,) int64 slots, under 2**32 where none, and (n,) bool whether an entry has the hash."""
    table = np.frombuffer(index, np.uint64).reshape(-1, CELL)
    found = table.take(_cells(hashes, len(table)), axis=0)
    match = (found ^ hashes[:, None]) <= _LOWER
    where = match.argmax(axis=1)
    where += np.arange(0, match.size, CELL)
    slots = found.ravel().take(where)
    slots &= _LOWER
    return slots.view(np.int64), match.ravel().take(where)


def believed(void: bytes | memoryview, slots: Slots) -> Mask:
    """(n,) bool: whether the bitmap says nothing against the entries of these slots."""
    believable: Mask = np.frombuffer(void, np.uint8).take(slots >> 3, mode="clip") >> (slots & 7) & 1 == 0
    return believable


def update(txn: Transaction, info: TableInfo, state: State, freed: Slots, keys: Sequence[bytes], slots: Slots) -> None:
    """Bring the index up to a write that freed some slots and put n keys into others."""
    _void(txn, info, state, freed[freed < state.index_slots])
    if keys and len(keys) >= _LARGE_SHARE * state.rows and state.slots <= MAX_SLOT:
        _merge(txn, info, state, entries_of(keys, slots, info.key_width))
        return
    state.stale += len(keys) or len(freed)
    if state.stale > max(_STALE_MIN, _STALE_SHARE * state.rows):
        rebuild(txn, info, state)


def _void(txn: Transaction, info: TableInfo, state: State, slots: Slots) -> None:
    if not len(slots):
        return
    key = prefix("v", info.id)
    bits = np.zeros(-(-state.index_slots // 8), np.uint8)
    before = txn.get(key)
    if before is not None:
        bits |= np.frombuffer(before, np.uint8)
    np.bitwise_or.at(bits, slots >> 3, np.left_shift(1, slots & 7).astype(np.uint8))
    txn.put(key, bits.tobytes())


def _merge(txn: Transaction, info: TableInfo, state: State, added: U64) -> None:
    """Drop what is not to be believed and add entries: all that remains is right, though not all keys are there."""
    kept = np.frombuffer(txn.get(prefix("h", info.id), b""), np.uint64)
    kept = kept[kept != _EMPTY]
    void = txn.get(prefix("v", info.id))
    if void is not None:
        kept = kept[believed(void, (kept & _LOWER).view(np.int64))]
    _put(txn, info, state, np.concatenate([kept, added]))


def rebuild(txn: Transaction, info: TableInfo, state: State) -> None:
    """Build the index from LMDB's keys."""
    parts = [np.empty(0, np.uint64)]
    start = prefix("k", info.id)
    with txn.cursor() as cursor:
        cursor.set_range(start)
        items = cursor.iternext()
        while found := list(islice(items, _SCAN)):
            more = found[-1][0].startswith(start)
            if not more:
                found = [item for item in found if item[0].startswith(start)]
            slots = np.frombuffer(b"".join([value for _, value in found]), ENTRY)["slot"]
            parts.append(entries_of([key[len(start) :] for key, _ in found], slots, info.key_width))
            if not more:
                break
    _put(txn, info, state, np.concatenate(parts)[: None if state.slots <= MAX_SLOT else 0])
    state.stale = 0


def _put(txn: Transaction, info: TableInfo, state: State, entries: U64) -> None:
    txn.delete(prefix("v", info.id))
    if len(entries):
        txn.put(prefix("h", info.id), pack(entries).tobytes())
    else:
        txn.delete(prefix("h", info.id))
    state.indexed, state.index_slots = len(entries), state.slots
