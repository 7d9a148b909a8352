"""An embedded store of tables of columns: one writer at a time, many reader processes that share the memory.

LMDB maps a key to a slot number; values lie in a file of fixed-stride slots (storage_slots), which reads gather with
numpy out of one shared memory map. A transaction writes new versions into free slots, puts them on the disk, and then
commits the keys that point to them; a slot is used again only when LMDB's reader table says that nobody can still see
it. A hash index (storage_index) that numpy probes for a whole batch answers most look-ups; LMDB stays the authority.

Measured against the alternatives (docs/columnar-store.md, "Why this shape"): rows as LMDB values take twice the disk,
since a value over 2 KB gets whole pages; LMDB look-ups alone cost half a gather more at 500 keys.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from feature_repo.columnar.storage_lmdb import MAP_SIZE, Handle, Transaction
from feature_repo.columnar.storage_records import (
    KINDS,
    NEXT_TABLE,
    TABLE_PREFIX,
    State,
    clear,
    prefix,
    table_key,
)
from feature_repo.columnar.storage_schema import Column, TableInfo, check_schema, evolved
from feature_repo.columnar.storage_slots import SlotMap, SlotWriter
from feature_repo.columnar.storage_table import Batch, Stats, Table, Values
from feature_repo.errors import ConfigurationError, NotFoundError

__all__ = ["Batch", "Column", "Environment", "Stats", "Table", "Values"]

_COPY_BYTES = 1 << 22
# LMDB forbids a second opening of one store in a process, so the environments of a path share a handle.
_shared: dict[Path, Handle] = {}
_sharing = threading.Lock()


class Environment:
    """A folder of tables. Raises NotFoundError (read-only and nothing there), UnavailableError (disk).

    `readonly` refuses writes and creates nothing; it needs write access to `lock.mdb` alone, where LMDB notes what
    readers can see (on a read-only file system nothing). `durable=False` leaves the flush to the operating system: a
    kill still loses nothing, a power cut may damage the store. `map_size` is where LMDB's map starts; it doubles.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        readonly: bool = False,
        durable: bool = True,
        lock_timeout_s: float = 60.0,
        map_size: int = MAP_SIZE,
    ) -> None:
        self.path = Path(path).resolve()
        self._readonly = readonly
        with _sharing:
            handle = _shared.get(self.path)
            if handle is None:
                handle = Handle(
                    self.path, readonly=readonly, map_size=map_size, durable=durable, lock_timeout_s=lock_timeout_s
                )
            elif handle.readonly and not readonly:
                raise ConfigurationError(f"{self.path}: open read-only in this process; close that first")
            handle.users += 1
            _shared[self.path] = handle
        self._handle: Handle | None = handle

    def __enter__(self) -> Environment:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close; the tables got from it must not be used any more. Closing twice is fine."""
        with _sharing:
            if self._handle is None:
                return
            handle, self._handle = self._handle, None
            handle.users -= 1
            if not handle.users:
                del _shared[self.path]
                handle.close()

    def _open(self, *, write: bool = False) -> Handle:
        if self._handle is None:
            raise ConfigurationError(f"{self.path}: the store is closed; open it again")
        if write and self._readonly:
            raise ConfigurationError(f"{self.path}: opened read-only; open it without readonly=True to write")
        return self._handle

    @property
    def handle(self) -> Handle:
        """The LMDB side, for records that are no tables. They need a folder of their own."""
        return self._open()

    def tables(self) -> list[str]:
        """Names, sorted."""
        with self._open().reading() as txn:
            return sorted(info.name for info in _tables(txn))

    def table(self, name: str) -> Table:
        """A table by name. Raises NotFoundError."""
        return Table(self._open(), name, readonly=self._readonly)

    def create(self, name: str, schema: Sequence[Column]) -> Table:
        """Create a table. Raises ConfigurationError when there is one of that name."""
        columns = check_schema(name, schema)
        handle = self._open(write=True)

        def work(txn: Transaction) -> None:
            _sweep(txn, self.path)
            if txn.get(table_key(name)) is not None:
                raise ConfigurationError(f"{self.path}: there is a table {name!r} already; use evolve to change it")
            number = int.from_bytes(txn.get(NEXT_TABLE, b"\0"), "big")
            txn.put(NEXT_TABLE, (number + 1).to_bytes(4, "big"))
            txn.put(table_key(name), evolved(TableInfo(name, number, (), {}, 0), columns).dump())

        handle.write(work)
        return self.table(name)

    def evolve(self, name: str, schema: Sequence[Column]) -> Table:
        """Give a table another schema: columns of the same name and type keep their values, new ones are null.

        A change of the fixed columns copies the slot file, a change of bytes columns alone copies nothing.
        """
        columns = check_schema(name, schema)
        handle = self._open(write=True)

        def work(txn: Transaction) -> tuple[TableInfo, TableInfo]:
            _sweep(txn, self.path)
            old = _known(txn, self.path, name)
            new = evolved(old, columns)
            slots = State.of(txn, old.id).slots
            if new.generation != old.generation and slots:
                _copy_slots(handle, old, new, slots)
            txn.put(table_key(name), new.dump())
            return old, new

        old, new = handle.write(work)
        if old.generation != new.generation:
            (self.path / old.slots_name).unlink(missing_ok=True)
        return self.table(name)

    def drop(self, name: str) -> None:
        """Drop a table with its rows. Raises NotFoundError."""
        handle = self._open(write=True)

        def work(txn: Transaction) -> TableInfo:
            _sweep(txn, self.path)
            info = _known(txn, self.path, name)
            for kind in KINDS:
                clear(txn, prefix(kind, info.id))
            txn.delete(table_key(name))
            return info

        (self.path / handle.write(work).slots_name).unlink(missing_ok=True)


def _tables(txn: Transaction) -> Iterator[TableInfo]:
    with txn.cursor() as cursor:
        cursor.set_range(TABLE_PREFIX)
        for key, raw in cursor.iternext():
            if bytes(key[:1]) != TABLE_PREFIX:
                return
            yield TableInfo.load(bytes(raw))


def _known(txn: Transaction, path: Path, name: str) -> TableInfo:
    raw = txn.get(table_key(name))
    if raw is None:
        raise NotFoundError(f"{path}: no table {name!r}; create it first")
    return TableInfo.load(raw)


def _sweep(txn: Transaction, path: Path) -> None:
    """Remove slot files that a killed writer left: no committed table is theirs."""
    kept = {info.slots_name for info in _tables(txn)}
    for file in path.glob("*.slots"):
        if file.name not in kept:
            file.unlink(missing_ok=True)


def _copy_slots(handle: Handle, old: TableInfo, new: TableInfo, count: int) -> None:
    """Write the slot file of `new` from that of `old`, slot by slot, so that no key changes."""
    source = SlotMap(handle.path / old.slots_name, old.layout.dtype.itemsize).rows(count)
    writer = SlotWriter(handle.path / new.slots_name, new.layout.dtype.itemsize, durable=handle.durable)
    kept = [c.name for c in new.layout.columns if old.by_name.get(c.name) == c]
    step = max(_COPY_BYTES // new.layout.dtype.itemsize, 1)
    try:
        for at in range(0, count, step):
            rows = source[at : min(at + step, count)].view(old.layout.dtype)
            block = np.zeros(len(rows), new.layout.dtype)
            for field in ("event", "key"):
                block[field] = rows[field]
            for name in kept:
                block[new.layout.field(name)] = rows[old.layout.field(name)]
                block["valid"][:, new.layout.order[name]] = rows["valid"][:, old.layout.order[name]]
            writer.put(np.arange(at, at + len(rows)), block)
        writer.sync()
    finally:
        writer.close()


def _before_fork() -> None:
    """LMDB must not be used by a forked process, whose copy ends the parent's reads: let there be none."""
    _sharing.acquire()
    for handle in _shared.values():
        handle.pause()


def _after_fork_in_parent() -> None:
    for handle in _shared.values():
        handle.resume()
    _sharing.release()


def _after_fork_in_child() -> None:
    for handle in _shared.values():
        handle.start_again()
    _sharing.release()


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
