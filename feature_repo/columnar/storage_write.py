"""Writes of a table, each in one LMDB transaction: slots first and on the disk, then the keys that point to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from feature_repo.columnar import storage_index
from feature_repo.columnar.storage_index import Mask, Slots
from feature_repo.columnar.storage_lmdb import Handle, Transaction
from feature_repo.columnar.storage_records import (
    ABSENT,
    ENTRY,
    State,
    look_up,
    pack_record,
    prefix,
    record_head,
    slot_keys,
    table_key,
)
from feature_repo.columnar.storage_schema import MAX_KEY_WIDTH, TableInfo
from feature_repo.columnar.storage_slots import SlotWriter, free, take_free
from feature_repo.errors import InputError

Array = np.ndarray[Any, Any]
Times = np.ndarray[Any, np.dtype[np.int64]]
MAX_KEY = 480
_PACK_BYTES = 1 << 20
_SPARE_SHARE = 1 / 16
_SPARE_MIN = 256


@dataclass(frozen=True, slots=True)
class Incoming:
    """Rows to write, one a key, in the call's order.

    `entries` (n,) ENTRY; `rows` (n,) says where each was in the call of `given` rows.
    """

    keys: Sequence[bytes]
    entries: Array
    rows: Slots
    given: int

    def only(self, chosen: Slots) -> Incoming:
        """Some of the rows."""
        if len(chosen) == len(self.keys):
            return self
        keys = [self.keys[row] for row in chosen.tolist()]
        return Incoming(keys, self.entries[chosen], self.rows[chosen], self.given)


def checked(table: str, keys: Sequence[bytes], event_us: Times, created_us: Times) -> Incoming:
    """Validate a call and keep each key's winner. Raises InputError."""
    count = len(keys)
    for what, times in (("event_us", event_us), ("created_us", created_us)):
        if times.shape != (count,) or times.dtype != np.int64:
            raise InputError(f"table {table!r}: {what} is {times.dtype}{times.shape}; give int64 ({count},)")
    check_keys(table, keys)
    entries = np.empty(count, ENTRY)
    entries["slot"], entries["event"], entries["created"] = -1, event_us, created_us
    batch = Incoming(keys, entries, np.arange(count), count)
    if len(set(keys)) < count:
        winners = {keys[row]: row for row in np.lexsort((created_us, event_us)).tolist()}
        batch = batch.only(np.sort(np.fromiter(winners.values(), np.int64, len(winners))))
    return batch


def check_keys(table: str, keys: Sequence[bytes]) -> None:
    """Raises InputError for a key that is empty or too long."""
    lengths = list(map(len, keys))
    for wrong in {min(lengths, default=1), max(lengths, default=1)}:
        if not 0 < wrong <= MAX_KEY:
            row = lengths.index(wrong)
            raise InputError(f"table {table!r}, row {row}: the key has {wrong} bytes; give 1 to {MAX_KEY}")


def upsert(txn: Transaction, handle: Handle, info: TableInfo, batch: Incoming, columns: Mapping[str, Any]) -> int:
    """Write what wins over the stored rows; returns how many rows that is."""
    _check_columns(info, batch.given, columns)
    state = State.of(txn, info.id)
    info = _with_key_width(txn, info, state, batch.keys)
    old = look_up(txn, info.id, batch.keys) if state.rows else np.frombuffer(ABSENT * len(batch.keys), ENTRY)
    newer = batch.entries["event"] > old["event"]
    equal = (batch.entries["event"] == old["event"]) & (batch.entries["created"] >= old["created"])
    wins = np.flatnonzero((old["slot"] < 0) | newer | equal)
    if not len(wins):
        return 0
    batch = batch.only(wins)
    batch.entries["slot"] = _allocate(txn, handle, info, state, len(wins))
    _write_slots(handle, info, batch, columns)
    _put_entries(txn, info.id, batch)
    _put_records(txn, info, state, batch, columns)
    replaced = old["slot"][wins]
    state.rows += int((replaced < 0).sum())
    _release(txn, info, state, replaced[replaced >= 0], batch.keys, batch.entries["slot"])
    return len(wins)


def delete(txn: Transaction, info: TableInfo, keys: Sequence[bytes]) -> int:
    """Delete rows by sorted distinct keys; returns how many there were."""
    state = State.of(txn, info.id)
    slots = look_up(txn, info.id, keys)["slot"]
    gone = np.flatnonzero(slots >= 0)
    start = prefix("k", info.id)
    for row in gone.tolist():
        txn.delete(start + keys[row])
    state.rows -= len(gone)
    _release(txn, info, state, slots[gone], [], slots[:0])
    return len(gone)


def reindex(txn: Transaction, info: TableInfo) -> int:
    """Let the hash index know every key; returns how many it did not know."""
    state = State.of(txn, info.id)
    stale = state.stale
    if stale:
        storage_index.merge(txn, info, state)
        txn.put(prefix("s", info.id), state.dump())
    return stale


def _check_columns(info: TableInfo, count: int, columns: Mapping[str, Any]) -> None:
    for name, values in columns.items():
        column = info.column(name)
        if not column.fixed:
            shape: tuple[int, ...] = (len(values),)
            expected: tuple[int, ...] = (count,)
        else:
            shape, expected = values[0].shape, (count, *column.shape)
            if values[1] is not None and values[1].shape != (count,):
                raise InputError(f"table {info.name!r}, column {name!r}: mask {values[1].shape}; give ({count},)")
        if shape != expected:
            raise InputError(f"table {info.name!r}, column {name!r}: values {shape}; give {expected}")


def _with_key_width(txn: Transaction, info: TableInfo, state: State, keys: Sequence[bytes]) -> TableInfo:
    """The first write settles how much of a key lies in a slot; longer keys come later at the cost of the index."""
    if state.slots or info.key_width or not keys:
        return info
    width = min(-(-max(map(len, keys)) // 8) * 8, MAX_KEY_WIDTH)
    settled = info.with_key_width(width)
    txn.put(table_key(info.name), settled.dump())
    return settled


def _allocate(txn: Transaction, handle: Handle, info: TableInfo, state: State, count: int) -> Slots:
    """Slots that no reader can see, ascending: free ones, then new ones at the end.

    A spare share is left free: new slots lie side by side, and the disk takes them far quicker than scattered ones.
    """
    spare = state.slots - state.rows
    taken = np.empty(0, np.int64)
    if spare > max(_SPARE_MIN, _SPARE_SHARE * state.rows):
        taken = take_free(txn, prefix("f", info.id), count, handle.oldest_reader(txn))
    fresh = np.arange(state.slots, state.slots + count - len(taken))
    state.slots += len(fresh)
    return np.concatenate([taken, fresh])


def _write_slots(handle: Handle, info: TableInfo, batch: Incoming, columns: Mapping[str, Any]) -> None:
    layout = info.layout
    writer = SlotWriter(handle.path / info.slots_name, layout.dtype.itemsize, durable=handle.durable)
    step = max(_PACK_BYTES // layout.dtype.itemsize, 1)
    try:
        for at in range(0, len(batch.keys), step):
            part = slice(at, at + step)
            entries, rows = batch.entries[part], _as_slice(batch.rows[part])
            block = np.zeros(len(entries), layout.dtype)
            block["event"], block["key"] = entries["event"], np.array(batch.keys[part], f"S{info.key_width}")
            for number, column in enumerate(layout.columns):
                if column.name in columns:
                    values, mask = columns[column.name]
                    _fill(
                        block[f"v{number}"],
                        block["valid"][:, number],
                        values[rows],
                        None if mask is None else mask[rows],
                    )
            writer.put(entries["slot"], block)
        writer.sync()
    finally:
        writer.close()


def _as_slice(rows: Slots) -> Slots | slice:
    """Ascending rows without a gap as a slice, which numpy need not gather."""
    first, last = int(rows[0]), int(rows[-1])
    return slice(first, last + 1) if last - first + 1 == len(rows) else rows


def _fill(field: Array, valid: Mask, values: Array, mask: Mask | None) -> None:
    """Copy values into their field of a block, 0 where null."""
    field[:] = values
    valid[:] = True if mask is None else mask
    if mask is not None and not mask.all():
        field[~mask] = 0


def _put_entries(txn: Transaction, table: int, batch: Incoming) -> None:
    """Put keys in their order, which is how LMDB fills its pages quickest."""
    order = sorted(range(len(batch.keys)), key=batch.keys.__getitem__)
    start = prefix("k", table)
    keys = map(start.__add__, map(batch.keys.__getitem__, order))
    values = batch.entries[order].view(f"V{ENTRY.itemsize}").tolist()
    with txn.cursor() as cursor:
        cursor.putmulti(zip(keys, values, strict=True))


def _put_records(txn: Transaction, info: TableInfo, state: State, batch: Incoming, columns: Mapping[str, Any]) -> None:
    """Put the bytes columns' records; a row whose values are all null has none."""
    given = {info.positions[name]: values for name, values in columns.items() if name in info.positions}
    if not given:
        return
    head = record_head(info.next_position)
    lists: list[Sequence[bytes | None]] = [given.get(at, ()) for at in range(info.next_position)]
    records = []
    slots = slot_keys(prefix("b", info.id), batch.entries["slot"])
    for key, row in zip(slots, batch.rows.tolist(), strict=True):
        values = [values[row] if values else None for values in lists]
        if any(value is not None for value in values):
            records.append((key, pack_record(values, head)))
            state.payload += len(records[-1][1]) - head.size
    with txn.cursor() as cursor:
        cursor.putmulti(records)


def _release(
    txn: Transaction, info: TableInfo, state: State, slots: Slots, keys: Sequence[bytes], given: Slots
) -> None:
    """Give up slots (m,) that the new state does not refer to, tell the index, and put the counters.

    `keys` were written to the slots `given`.
    """
    if info.next_position:
        size = record_head(info.next_position).size
        for key in slot_keys(prefix("b", info.id), slots):
            record = txn.pop(key)
            state.payload -= max(len(record) - size, 0) if record else 0
    free(txn, prefix("f", info.id), slots)
    storage_index.update(txn, info, state, slots, keys, given)
    txn.put(prefix("s", info.id), state.dump())
