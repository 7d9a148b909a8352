"""Decoders behind a wall: in child processes that are killed when they pass their time or break down.

A thread that is inside a decoder cannot be interrupted, and a decoder that crashes takes its process along;
so decoders of sound and video run in processes of their own. A child's clock is a timer of the kernel, which
ends it wherever it is, even where its parent is gone. Arrays come back through memory that parent and child
share; only what describes them goes through the pipe. A call costs some 0.1 ms more than the function itself.
"""

from __future__ import annotations

import os
import pickle
import resource
import signal
import subprocess
import sys
import tempfile
import weakref
from collections.abc import Callable
from io import FileIO
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from queue import Empty, LifoQueue
from typing import Any, ParamSpec, TypeVar

import numpy as np

from feature_repo.errors import MediaError

P = ParamSpec("P")
R = TypeVar("R")

_KEPT_BYTES = 2**26  # shared memory that a child keeps between calls: pages that are there already cost nothing
_FAREWELL = 5.0  # seconds that an idle child gets to end by itself
_CHILD_BYTES = 4 * 2**30  # memory that a child may have: a file that unpacks to more is no file that people post
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
_PROGRAM = (
    "import sys; sys.path[:] = sys.argv[4:];"
    "from embedders.media.guard import _serve; _serve(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))"
)


class Guard:
    """Up to `workers` child processes, in which a call may take `seconds`; any thread may call.

    A child is started when it is first needed, which takes some tenths of a second, and is used again until
    it fails. Children end with `close`, with the guard (an embedder need not close its own) or with this process.
    """

    def __init__(self, workers: int, seconds: float) -> None:
        self._seconds = seconds
        self._idle: LifoQueue[_Child | None] = LifoQueue()  # None: a child not started; the last used is the next
        for _ in range(workers):
            self._idle.put(None)
        self._end = weakref.finalize(self, _end_all, self._idle)

    def __enter__(self) -> Guard:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def call(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """What `function(*args, **kwargs)` gives in a child; waits for a child where all are at work.

        `function` is importable by its name (of a module's top level), `args` can be pickled, and the result
        too; arrays in it, also within tuples and dicts, arrive writable and are the caller's own.
        Raises what the function raises, MediaError("too slow: ...") where it passes the limit and
        MediaError("decoder crashed: ...") where it takes the child down,
        MediaError("too large: ...") where it needs more than 4 GiB of memory.
        """
        request = pickle.dumps((function, args, kwargs))
        child = self._idle.get()
        try:
            if not self._end.alive:
                raise RuntimeError("this guard is closed")
            if child is not None and not child.alive():  # something else has killed it
                child.end(0)
                child = None
            if child is None:
                child = _Child(self._seconds)
            return child.call(request)  # type: ignore[no-any-return]
        finally:
            self._idle.put(child if child is not None and child.alive() else None)
            if not self._end.alive:  # closed meanwhile
                _end_all(self._idle)

    def close(self) -> None:
        """End the children: those that are idle now, those at work after their call."""
        self._end()


class _Child:
    """One child process, and this side of its pipe and of its memory."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._connection, theirs = Pipe()
        self._memory = _shared_memory()
        fds = (theirs.fileno(), self._memory.fileno())
        command = [sys.executable, "-c", _PROGRAM, *map(str, fds), str(seconds), *sys.path]
        self._process = subprocess.Popen(
            command,
            pass_fds=fds,
            env=os.environ | _ONE_THREAD,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        theirs.close()

    def alive(self) -> bool:
        return self._process.poll() is None

    def call(self, request: bytes) -> Any:
        try:
            self._connection.send_bytes(request)
            good, outcome = self._receive()
        except (EOFError, OSError) as error:
            raise MediaError(self._cause_of_death()) from error
        except BaseException:  # interrupted half-way: what the child answers belongs to no later call
            self.end(0)
            raise
        if good:
            return outcome
        raise outcome

    def end(self, patience: float) -> None:
        """Let the child end by itself within `patience` seconds, else kill it."""
        self._connection.close()
        try:
            self._process.wait(patience)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._memory.close()

    def _receive(self) -> tuple[bool, Any]:
        described, sizes = pickle.loads(self._connection.recv_bytes())
        self._memory.seek(0)
        arrays = [np.empty(size, np.uint8) for size in sizes]
        for array in arrays:
            self._fill(memoryview(array.data))
        if sum(sizes) > _KEPT_BYTES:
            self._memory.truncate(0)
        good, outcome = pickle.loads(described, buffers=arrays)
        return good, outcome

    def _fill(self, rest: memoryview) -> None:
        while rest:
            count = self._memory.readinto(rest)
            if not count:
                raise EOFError("shared memory ends early")
            rest = rest[count:]

    def _cause_of_death(self) -> str:
        self.end(_FAREWELL)
        code = self._process.returncode
        if code == -signal.SIGALRM:
            return f"too slow: over {self._seconds:g} s"
        return f"decoder crashed: {signal.Signals(-code).name if code < 0 else f'exit status {code}'}"


def _end_all(idle: LifoQueue[_Child | None]) -> None:
    """End the children that are idle, and leave an empty place for each, so that no call waits for ever."""
    places = 0
    try:
        while True:
            child = idle.get_nowait()
            places += 1
            if child is not None:
                child.end(_FAREWELL)
    except Empty:
        for _ in range(places):
            idle.put(None)


def _shared_memory() -> FileIO:
    """An open file without a name: it goes when the last process that has it goes."""
    if hasattr(os, "memfd_create"):
        return FileIO(os.memfd_create("larder"), "r+")
    with tempfile.TemporaryFile() as file:
        return FileIO(os.dup(file.fileno()), "r+")


def _serve(connection_fd: int, memory_fd: int, seconds: float) -> None:
    """What a child does: answer requests until the parent has closed the pipe or is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # that is, to die
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGALRM})
    resource.setrlimit(resource.RLIMIT_DATA, (_CHILD_BYTES, _CHILD_BYTES))
    with Connection(connection_fd) as connection, FileIO(memory_fd, "r+") as memory:
        while True:
            try:
                request = connection.recv_bytes()
            except EOFError:
                return
            connection.send_bytes(_answer(request, seconds, memory))


def _answer(request: bytes, seconds: float, memory: FileIO) -> bytes:
    """The result's description, its arrays' bytes being in `memory`; the clock runs while the function does."""
    buffers: list[pickle.PickleBuffer] = []
    try:
        function, args, kwargs = pickle.loads(request)
        signal.setitimer(signal.ITIMER_REAL, seconds)
        try:
            result = function(*args, **kwargs)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        described = pickle.dumps((True, result), protocol=5, buffer_callback=buffers.append)
    except MemoryError:
        buffers.clear()
        described = _describe(MediaError(f"too large: needs over {_CHILD_BYTES // 2**30} GiB of memory"))
    except Exception as error:
        buffers.clear()
        described = _describe(error)
    memory.seek(0)
    for buffer in buffers:
        rest = buffer.raw()
        while rest:
            rest = rest[memory.write(rest) :]
    return pickle.dumps((described, [buffer.raw().nbytes for buffer in buffers]))


def _describe(error: Exception) -> bytes:
    """The pickled error, or a MediaError of its words where the parent could not read it."""
    try:
        described = pickle.dumps((False, error))
        pickle.loads(described)
    except Exception:  # an error class with a constructor of its own
        return pickle.dumps((False, MediaError(f"decoder failed: {type(error).__name__}: {error}")))
    return described
