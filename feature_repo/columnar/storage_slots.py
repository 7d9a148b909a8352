"""The slot file: rows at a fixed stride, written with `pwrite`, read through one shared memory map.

A slot that a committed state refers to is never overwritten: a new version of a row goes to a free slot. Writes go
through `pwrite` since a full disk is then an error; through a map it would be a SIGBUS. The free list lies in LMDB and
so commits or vanishes with the transaction that changes it: a killed writer leaks nothing.
"""

from __future__ import annotations

import mmap
import os
import struct
import threading
from pathlib import Path
from typing import Any

import numpy as np

from feature_repo.columnar.storage_index import Slots

Rows = np.ndarray[Any, np.dtype[np.void]]

_GROW_MIN = 1 << 20
_GROW_MAX = 1 << 26
_FREE_PER_RECORD = 500
_FREE_KEY = struct.Struct(">QI")


class SlotMap:
    """The slot file as an array of rows, mapped read-only; mapped again when the file has grown."""

    def __init__(self, path: Path, stride: int) -> None:
        self._stride = stride
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._rows: Rows = np.empty(0, f"V{stride}")
        self._mapping = threading.Lock()

    def __del__(self) -> None:
        if hasattr(self, "_descriptor"):
            os.close(self._descriptor)

    def rows(self, count: int) -> Rows:
        """(>= count,) void rows. Raises OSError when the file holds fewer, which no committed state asks for."""
        if count > len(self._rows):
            with self._mapping:
                self._map(count)
        return self._rows

    def _map(self, count: int) -> None:
        held = os.fstat(self._descriptor).st_size // self._stride
        if held < count:
            raise OSError(f"slot file cut short: {held} slots of {count}; restore it from a copy")
        mapped = mmap.mmap(self._descriptor, held * self._stride, prot=mmap.PROT_READ)
        self._rows = np.frombuffer(mapped, f"V{self._stride}", held)


class SlotWriter:
    """Writes rows into free slots; `close` puts them on the disk."""

    def __init__(self, path: Path, stride: int, *, durable: bool) -> None:
        self._stride = stride
        self._durable = durable
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        self._size = os.fstat(self._descriptor).st_size

    def put(self, slots: Slots, rows: Rows) -> None:
        """Write n rows, contiguous in memory, at their ascending slots (n,); neighbours in one call. Raises OSError."""
        self._reserve((int(slots[-1]) + 1) * self._stride)
        content = rows.view(np.uint8).data
        breaks = np.flatnonzero(np.diff(slots) != 1) + 1
        starts = [0, *breaks.tolist()]
        ends = [*breaks.tolist(), len(slots)]
        first = slots[starts].tolist()
        for slot, start, end in zip(first, starts, ends, strict=True):
            self._write(content[start * self._stride : end * self._stride], slot * self._stride)

    def _reserve(self, size: int) -> None:
        """Lengthen the file ahead of need, by up to a sixteenth and without using disk: readers map it less often."""
        if size > self._size:
            ahead = min(max(size // 16, _GROW_MIN), _GROW_MAX)
            self._size = (size + ahead) // self._stride * self._stride
            os.truncate(self._descriptor, self._size)

    def _write(self, content: memoryview, at: int) -> None:
        while content:
            done = os.pwrite(self._descriptor, content, at)
            content, at = content[done:], at + done

    def sync(self) -> None:
        """Put what was written on the disk."""
        if self._durable:
            os.fdatasync(self._descriptor)

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._descriptor)


def free(txn: Any, prefix: bytes, slots: Slots) -> None:
    """Note that this transaction's state is the first that does not refer to `slots` any more."""
    for part, start in enumerate(range(0, len(slots), _FREE_PER_RECORD)):
        record = slots[start : start + _FREE_PER_RECORD].tobytes()
        txn.put(prefix + _FREE_KEY.pack(txn.id(), part), record)


def take_free(txn: Any, prefix: bytes, wanted: int, oldest: int) -> Slots:
    """Up to `wanted` slots that no state from `oldest` on refers to, ascending; they leave the free list."""
    taken: list[Slots] = []
    with txn.cursor() as cursor:
        found = cursor.set_range(prefix)
        while wanted and found and cursor.key()[: len(prefix)] == prefix:
            if _FREE_KEY.unpack(cursor.key()[len(prefix) :])[0] > oldest:
                break
            slots = np.frombuffer(bytes(cursor.value()), np.int64)
            used, rest = slots[:wanted], slots[wanted:]
            key = bytes(cursor.key())
            found = cursor.delete()
            if len(rest):
                txn.put(key, rest.tobytes())
            taken.append(used)
            wanted -= len(used)
    return np.sort(np.concatenate(taken)) if taken else np.empty(0, np.int64)
