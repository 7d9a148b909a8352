"""One LMDB environment of a process: reading, one writer at a time, growth of the map, and errors in plain words."""

from __future__ import annotations

import errno
import fcntl
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import lmdb

from feature_repo.errors import ConfigurationError, NotFoundError, UnavailableError

Result = TypeVar("Result")
Transaction = Any

MAX_READERS = 1024
MAP_SIZE = 1 << 30
_POLL_S = 0.005
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_DENIED = (errno.EROFS, errno.EACCES, errno.EPERM)


class Gate:
    """Many inside, or one alone: LMDB's map must not be resized while the process has a transaction open.

    Entering costs one uncontended lock, since every read does it; being alone is rare, so it polls.
    """

    def __init__(self) -> None:
        self._door = threading.Lock()
        self._lock = threading.Lock()
        self._inside = 0

    def __enter__(self) -> None:
        with self._door, self._lock:
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1

    def shut(self) -> None:
        """Wait until nobody is inside, and let nobody in until `open`."""
        self._door.acquire()
        while self._inside:
            time.sleep(_POLL_S / 10)

    def open(self) -> None:
        """Undo `shut`."""
        self._door.release()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Shut for a while."""
        self.shut()
        try:
            yield
        finally:
            self.open()


class Handle:
    """The environment's LMDB side. LMDB allows one per process and path, so `Environment` shares it."""

    def __init__(self, path: Path, *, readonly: bool, map_size: int, durable: bool, lock_timeout_s: float) -> None:
        self.path = path
        self.readonly = readonly
        self.durable = durable
        self._lock_timeout_s = lock_timeout_s
        self._map_size = map_size
        self.users = 0
        self.gate = Gate()
        self._writer = threading.Lock()
        with translated(path):
            if not readonly:
                path.mkdir(parents=True, exist_ok=True)
            elif not (path / "data.mdb").exists():
                raise NotFoundError(f"{path}: no store there; write to it first, or mend the path")
            self._env = self._open()

    def _open(self) -> lmdb.Environment:
        return lmdb.open(
            str(self.path),
            map_size=self._map_size,
            readonly=self.readonly,
            sync=self.durable,
            metasync=self.durable,
            max_readers=MAX_READERS,
            max_spare_txns=0,
            readahead=False,
            create=not self.readonly,
        )

    def close(self) -> None:
        """Close; waits for the reads under way."""
        with self.gate.alone():
            self._env.close()

    def pause(self) -> None:
        """Wait until no transaction is open, and let none begin until `resume`."""
        self.gate.shut()

    def resume(self) -> None:
        """Undo `pause`."""
        self.gate.open()

    def start_again(self) -> None:
        """In a forked process, instead of `resume`: open LMDB anew, for what was opened belongs to the parent."""
        self.gate, self._writer = Gate(), threading.Lock()
        self._env.close()
        self._env = self._open()

    @contextmanager
    def reading(self) -> Iterator[Transaction]:
        """A read transaction: one committed state; values are buffers that hold until its end."""
        txn = self.begin()
        try:
            yield txn
        finally:
            self.end(txn)

    def end(self, txn: Transaction) -> None:
        """End what `begin` began."""
        txn.abort()
        self.gate.__exit__()

    def begin(self) -> Transaction:
        """`reading` for where a context manager costs too much."""
        while True:
            self.gate.__enter__()
            try:
                return self._env.begin(buffers=True)
            except lmdb.MapResizedError:
                self.gate.__exit__()
                with self.gate.alone():
                    self._env.set_mapsize(0)
            except lmdb.ReadersFullError:
                self.gate.__exit__()
                if not self._env.reader_check():
                    raise UnavailableError(
                        f"{self.path}: more than {MAX_READERS} readers; use fewer processes"
                    ) from None
            except BaseException:
                self.gate.__exit__()
                raise

    def write(self, work: Callable[[Transaction], Result]) -> Result:
        """Run `work` in the one write transaction; when the map is full it is grown and `work` runs again.

        Raises UnavailableError: disk full, read-only, or another process writes for longer than the lock timeout.
        """
        if self.readonly:
            raise ConfigurationError(f"{self.path}: opened read-only; open it without readonly=True to write")
        with translated(self.path), self._writer, self._file_lock():
            while True:
                try:
                    return self._attempt(work)
                except lmdb.MapFullError:
                    self._resize(lambda: 2 * int(self._env.info()["map_size"]))
                except lmdb.MapResizedError:
                    self._resize(lambda: 0)
                except lmdb.PanicError:
                    self._reopen()
                    raise

    def _attempt(self, work: Callable[[Transaction], Result]) -> Result:
        with self.gate, self._env.begin(write=True) as txn:
            return work(txn)

    def _resize(self, size: Callable[[], int]) -> None:
        with self.gate.alone():
            self._env.set_mapsize(size())

    def _reopen(self) -> None:
        """LMDB refuses all work after a failed write of its meta page, until it is opened again."""
        with self.gate.alone():
            self._env.close()
            self._env = self._open()

    @contextmanager
    def _file_lock(self) -> Iterator[None]:
        """Between processes, with a time limit: LMDB's own lock would wait for ever and hold the interpreter."""
        descriptor = os.open(self.path / "writer.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            until = time.monotonic() + self._lock_timeout_s
            while not _try_lock(descriptor):
                if time.monotonic() > until:
                    raise UnavailableError(
                        f"{self.path}: another process has been writing for {self._lock_timeout_s:g} s; try again later"
                    )
                time.sleep(_POLL_S)
            yield
        finally:
            os.close(descriptor)

    def oldest_reader(self, txn: Transaction) -> int:
        """Id of the oldest state that a reader can still see, as seen from the write transaction `txn`."""
        self._env.reader_check()
        oldest = int(txn.id()) - 1
        for line in self._env.readers().splitlines():
            words = line.split()
            if len(words) == 3 and words[2].isdigit():
                oldest = min(oldest, int(words[2]))
        return oldest


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Turn errors of the disk and of LMDB into UnavailableError with the mend."""
    try:
        yield
    except (OSError, lmdb.Error) as error:
        raise explained(path, error) from error


def explained(path: Path, error: Exception) -> UnavailableError:
    """The error to raise for one of the disk or of LMDB."""
    code = getattr(error, "errno", getattr(error, "code", None))
    if code in _FULL or "No space left" in str(error) or "File too large" in str(error):
        return UnavailableError(f"{path}: the disk is full; nothing of this write was kept, the store stays readable")
    if code in _DENIED or isinstance(error, lmdb.ReadonlyError):
        return UnavailableError(f"{path}: this place is read-only; make it writable, or open with readonly=True")
    return UnavailableError(f"{path}: {error}")
