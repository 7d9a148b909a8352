"""A hash index from keys to slots beside LMDB's tree, probed for a whole batch with few numpy calls.

It is a table of cells of eight uint64 entries, a cache line each; an entry is a hash of a key (storage_keys) above and
its slot below, and the hash says which cell. It lies in one LMDB value, so it changes with the transaction that it
describes. An answer is a hint: the caller compares the key that lies in the slot, and asks LMDB where they differ. Keys
that do not lie there whole (too long, or with zeros at the end, which numpy drops) are left out, and so is what
overflows a cell.

A write must not rewrite the whole table: it marks the slots that it frees in a bitmap, as not to be believed, notes its
own entries beside the table, and leaves their look-up to LMDB. When these have become many they are merged in.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from feature_repo.columnar.storage_keys import hashes_of, padded_words
from feature_repo.columnar.storage_lmdb import Transaction
from feature_repo.columnar.storage_records import State, clear, prefix
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
# Notes are merged once they are more than this share of the rows.
_STALE_SHARE = 0.25
_STALE_MIN = 1024
_NOTE = struct.Struct(">Q")


def entries_of(keys: Sequence[bytes], slots: Slots, width: int) -> U64:
    """Entries, (<= n,) uint64, of the keys that `width` bytes of a slot hold whole; slots lie under `MAX_SLOT`."""
    words, told = padded_words(keys, width)
    entries: U64 = hashes_of(words) | slots.astype(np.uint64)
    return entries if told is None else entries[told]


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


def probe(index: bytes | memoryview, hashes: U64) -> tuple[Slots, Mask | None]:
    """(n,) int64 slots, under 2**32 where none, and (n,) bool whether an entry has the hash; None for all of them."""
    table = np.frombuffer(index, np.uint64).reshape(-1, CELL)
    found = table.take(_cells(hashes, len(table)), axis=0)
    match = (found ^ hashes[:, None]) <= _LOWER
    slots = found[match]
    slots &= _LOWER
    if len(slots) == len(hashes):  # one each, save by a chance that the comparison of keys finds out
        return slots.view(np.int64), None
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
    _mark(txn, info, state, freed, slots)
    if len(keys) and state.slots <= MAX_SLOT:
        txn.put(prefix("a", info.id) + _NOTE.pack(txn.id()), entries_of(keys, slots, info.key_width))
    state.stale += len(keys) or len(freed)
    if state.stale > max(_STALE_MIN, _STALE_SHARE * state.rows):
        merge(txn, info, state)


def _mark(txn: Transaction, info: TableInfo, state: State, freed: Slots, used: Slots) -> None:
    """Note in the bitmap which slots have no row any more, and which have one again."""
    key = prefix("v", info.id)
    before = txn.get(key)
    if before is None and not len(freed):
        return
    bits = np.zeros(-(-state.slots // 8), np.uint8)
    if before is not None:
        bits[: len(before)] = np.frombuffer(before, np.uint8)
    np.bitwise_and.at(bits, used >> 3, ~np.left_shift(1, used & 7).astype(np.uint8))
    np.bitwise_or.at(bits, freed >> 3, np.left_shift(1, freed & 7).astype(np.uint8))
    txn.put(key, bits)


def merge(txn: Transaction, info: TableInfo, state: State) -> None:
    """Merge the notes into the table, without what is not to be believed, and of a slot's entries only the last."""
    notes = prefix("a", info.id)
    by_slot = np.full(state.slots if state.slots <= MAX_SLOT else 0, _EMPTY)
    if len(by_slot):
        for part in (txn.get(prefix("x", info.id), b""), *_values(txn, notes)):
            entries = np.frombuffer(part, np.uint64)
            entries = entries[entries != _EMPTY]
            by_slot[entries & _LOWER] = entries
        void = np.frombuffer(txn.get(prefix("v", info.id), b""), np.uint8)
        by_slot[np.flatnonzero(np.unpackbits(void, bitorder="little", count=min(8 * len(void), state.slots)))] = _EMPTY
    entries = by_slot[by_slot != _EMPTY]
    txn.delete(prefix("v", info.id))
    if len(entries):
        txn.put(prefix("x", info.id), pack(entries))
    else:
        txn.delete(prefix("x", info.id))
    clear(txn, notes)
    state.indexed, state.stale = len(entries), 0


def _values(txn: Transaction, start: bytes) -> Iterator[bytes]:
    """The values of all keys that begin with `start`, in order."""
    with txn.cursor() as cursor:
        found = cursor.set_range(start)
        while found and cursor.key()[: len(start)] == start:
            yield bytes(cursor.value())
            found = cursor.next()
