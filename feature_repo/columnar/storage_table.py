"""A table of the storage engine: reads are here, writes in storage_write."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import lmdb
import numpy as np

from feature_repo.columnar import storage_write
from feature_repo.columnar.storage_index import Mask, Slots, believed, probe
from feature_repo.columnar.storage_keys import Keys, differ
from feature_repo.columnar.storage_lmdb import Handle, Transaction, explained
from feature_repo.columnar.storage_records import (
    State,
    look_up,
    prefix,
    record_columns,
    slot_keys,
    table_key,
    total_rows,
)
from feature_repo.columnar.storage_schema import Column, TableInfo
from feature_repo.columnar.storage_slots import Rows, SlotMap
from feature_repo.errors import ConfigurationError, NotFoundError

Array = np.ndarray[Any, Any]
Values = tuple[Array, Mask | None] | Sequence[bytes | None]

# Under so many keys one look-up each in LMDB is quicker than the fixed cost of the numpy probe.
FEW_KEYS = 24


@dataclass(slots=True)
class Batch:
    """Rows of a read, one a key, in the keys' order.

    `present` (n,) bool; `event_us` (n,) int64, 0 where absent. `columns`: for a fixed column its values, (n,) or
    (n, d), and (n,) bool whether there is one (values are 0 where not); for a bytes column a list with None where null.
    Arrays are views of one gathered block, so their rows need not lie next to each other. `schema`: as `Table.schema`.
    """

    present: Mask
    event_us: np.ndarray[Any, np.dtype[np.int64]]
    columns: dict[str, Any]
    schema: tuple[Column, ...]


@dataclass(frozen=True, slots=True)
class Stats:
    """Rows, bytes that they take on the disk (slot file, and the index's share), and bytes of the values themselves."""

    rows: int
    disk_bytes: int
    raw_bytes: int


class Table:
    """One table. Every call sees, or makes, one committed state. Safe to share between threads."""

    def __init__(self, handle: Handle, name: str, *, readonly: bool) -> None:
        self._handle = handle
        self._readonly = readonly
        self.name = name
        self._key = table_key(name)
        self._known: tuple[bytes, TableInfo] | None = None
        self._map: tuple[str, SlotMap] | None = None
        with handle.reading() as txn:
            self.info(txn)

    def info(self, txn: Transaction) -> TableInfo:
        """The table's schema in a transaction. Raises NotFoundError when it was dropped."""
        found = txn.get(self._key)
        if found is None:
            raise NotFoundError(f"{self._handle.path}: no table {self.name!r}; create it first")
        known, raw = self._known, bytes(found)
        if known is None or raw != known[0]:
            known = self._known = (raw, TableInfo.load(raw))
        return known[1]

    @property
    def schema(self) -> tuple[Column, ...]:
        """Its columns; the same object for as long as they are the same."""
        with self._handle.reading() as txn:
            return self.info(txn).columns

    def _write(self, work: Callable[[Transaction], int]) -> int:
        if self._readonly:
            raise ConfigurationError(f"{self._handle.path}: opened read-only; open it without readonly=True to write")
        return self._handle.write(work)

    def _rows(self, info: TableInfo, count: int) -> Rows:
        mapped = self._map
        if mapped is None or mapped[0] != info.slots_name:
            mapped = (info.slots_name, SlotMap(self._handle.path / info.slots_name, info.layout.dtype.itemsize))
            self._map = mapped
        return mapped[1].rows(count)

    def read(self, keys: Sequence[bytes], names: Sequence[str]) -> Batch:
        """The rows of n keys (duplicates allowed) with the named columns. Raises NotFoundError for another column."""
        missing = None
        while True:
            txn = self._handle.begin()
            try:
                return self._read(txn, keys, names)
            except FileNotFoundError as error:
                # `evolve` superseded the state seen, and removed its slot file before it was mapped: look again.
                if error.filename == missing:
                    raise explained(self._handle.path, error) from error
                missing = error.filename
            except (OSError, lmdb.Error) as error:
                raise explained(self._handle.path, error) from error
            finally:
                self._handle.end(txn)

    def _read(self, txn: Transaction, keys: Sequence[bytes], names: Sequence[str]) -> Batch:
        info = self.info(txn)
        selection = info.select(names)
        state = State.of(txn, info.id)
        if not state.rows or not len(keys):
            slots, block = np.full(len(keys), -1), np.zeros(len(keys), selection.part)
        else:
            rows = self._rows(info, state.slots)
            index = txn.get(prefix("x", info.id)) if len(keys) > FEW_KEYS else None
            if index is not None:
                slots, block = _probe(txn, info, index, _as_keys(keys), rows, selection.part)
            else:
                slots = look_up(txn, info.id, keys)["slot"]
                block = _gather(rows, selection.part, slots)
        present = slots >= 0
        if not present.all():
            block[~present] = np.zeros((), block.dtype)
        valid = block["valid"]
        columns: dict[str, Any] = {name: (block[field], valid[:, at]) for name, field, at in selection.fixed}
        if selection.variable:
            raw = map(txn.get, slot_keys(prefix("b", info.id), slots))
            records = [None if record is None else bytes(record) for record in raw]
            columns |= zip(selection.variable, record_columns(records, selection.positions), strict=True)
        return Batch(present, block["event"], columns, info.columns)

    def write(
        self,
        keys: Sequence[bytes],
        event_us: np.ndarray[Any, np.dtype[np.int64]],
        created_us: np.ndarray[Any, np.dtype[np.int64]],
        columns: Mapping[str, Values],
    ) -> int:
        """Upsert n rows in one transaction; returns how many were written.

        The newer event time wins, then the newer created time, then the later call; of one key given twice, the later
        row. A column left out becomes null. Keys are 1 to 480 bytes. Raises InputError, UnavailableError.
        """
        batch = storage_write.checked(self.name, keys, event_us, created_us)
        return self._write(lambda txn: storage_write.upsert(txn, self._handle, self.info(txn), batch, columns))

    def delete(self, keys: Sequence[bytes]) -> int:
        """Delete rows in one transaction; returns how many there were."""
        unique = sorted(set(keys))
        return self._write(lambda txn: storage_write.delete(txn, self.info(txn), unique))

    def optimise(self) -> None:
        """Let the hash index know every key at once, not by and by: worth it after a large load."""
        self._write(lambda txn: storage_write.reindex(txn, self.info(txn)))

    def count(self) -> int:
        """Live rows."""
        with self._handle.reading() as txn:
            return State.of(txn, self.info(txn).id).rows

    def keys(self, batch: int = 65536) -> Iterator[list[bytes]]:
        """All keys in byte order, so many at a time; each batch sees the state committed when it is drawn."""
        last = b""
        while True:
            with self._handle.reading() as txn, txn.cursor() as cursor:
                start = prefix("k", self.info(txn).id)
                if not cursor.set_range(start + last):
                    return
                found = [bytes(key) for key in islice(cursor.iternext(values=False), batch)]
            kept = [key[len(start) :] for key in found if key.startswith(start)]
            if kept:
                yield kept
            if len(kept) < batch:
                return
            last = kept[-1] + b"\0"

    def scan(self, names: Sequence[str], batch: int = 8192) -> Iterator[tuple[list[bytes], Batch]]:
        """All rows in key order, so many at a time. A row deleted between the two looks comes as not present."""
        for found in self.keys(batch):
            yield found, self.read(found, names)

    def stats(self) -> Stats:
        """Sizes; the environment's index is shared out by rows."""
        with self._handle.reading() as txn:
            info = self.info(txn)
            state = State.of(txn, info.id)
            slots = self._handle.path / info.slots_name
            pages = txn.stat()
            used = pages["psize"] * (pages["branch_pages"] + pages["leaf_pages"] + pages["overflow_pages"])
            index = used * state.rows / max(total_rows(txn), 1)
            disk = index + (slots.stat().st_blocks * 512 if slots.exists() else 0)
            width = sum(column.size for column in info.columns if column.fixed)
            return Stats(state.rows, int(disk), state.rows * width + state.payload)


def _gather(rows: Rows, part: np.dtype[Any], slots: Slots) -> Rows:
    """Copy (n,) slots, any row for a negative one: whole slots, or their start where `part` is shorter."""
    if part.itemsize == rows.itemsize:
        return rows.take(slots, mode="clip").view(part)
    starts = np.ndarray(rows.shape, f"V{part.itemsize}", rows, strides=rows.strides)
    return starts[np.maximum(slots, 0)].view(part)


def _as_keys(keys: Sequence[bytes]) -> Keys:
    return keys if isinstance(keys, Keys) else Keys(keys)


def _probe(
    txn: Transaction, info: TableInfo, index: memoryview, keys: Keys, rows: Rows, part: np.dtype[Any]
) -> tuple[Slots, Rows]:
    """Slots (-1 where absent) and rows through the hash index; LMDB answers where that does not know for sure."""
    words, told = keys.words
    slots, known = probe(index, keys.hashes)
    void = txn.get(prefix("v", info.id))
    sure = _all_of(told, known, None if void is None else believed(void, slots))
    if sure is not None and not sure.all():
        _ask(txn, info, keys, ~sure, slots)
    block = _gather(rows, part, slots)
    other = differ(block["key"], words)
    if other is not None:
        asked = _ask(txn, info, keys, other if sure is None else other & sure, slots)
        block[asked] = _gather(rows, part, slots[asked])
    return slots, block


def _all_of(*masks: Mask | None) -> Mask | None:
    """Where all masks say so; None, as for a mask, is everywhere."""
    found: Mask | None = None
    for mask in masks:
        if mask is not None:
            found = mask if found is None else found & mask
    return found


def _ask(txn: Transaction, info: TableInfo, keys: Keys, which: Mask, slots: Slots) -> Slots:
    """Put LMDB's answer into `slots` where `which` says so; returns these rows."""
    rows = np.flatnonzero(which)
    named = keys.bytes
    slots[rows] = look_up(txn, info.id, [named[row] for row in rows.tolist()])["slot"]
    return rows
