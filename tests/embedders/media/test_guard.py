from __future__ import annotations

import ctypes
import gc
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import hypothesis
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from embedders.media.guard import Guard
from feature_repo.errors import MediaError

# Native byte order: that of arrays without dimensions is lost by numpy itself when it pickles them.
DTYPES = npst.boolean_dtypes() | npst.integer_dtypes(endianness="=") | npst.floating_dtypes(endianness="=")


@pytest.fixture(scope="module")
def guard() -> Iterator[Guard]:
    with Guard(1, 20) as opened:
        yield opened


def running(pid: int) -> bool:
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True).stdout.strip()
    return bool(state) and not state.startswith("Z")


def wait_until_gone(pid: int, seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while running(pid):
        assert time.monotonic() < end, f"process {pid} is still there"
        time.sleep(0.05)


@hypothesis.settings(deadline=None)
@given(npst.arrays(DTYPES, npst.array_shapes(min_dims=0, min_side=0)))
def test_arrays_come_back_as_they_are(guard: Guard, array: npt.NDArray[Any]) -> None:
    (same,) = guard.call(tuple, (array,))
    assert same.dtype == array.dtype
    assert same.shape == array.shape
    assert same.tobytes() == array.tobytes()


@hypothesis.settings(deadline=None)
@given(st.recursive(st.integers() | st.text() | st.none(), lambda inner: st.lists(inner) | st.tuples(inner, inner)))
def test_other_results_come_back_as_they_are(guard: Guard, value: object) -> None:
    assert guard.call(dict, value=value) == {"value": value}


def test_arrays_are_the_callers_own(guard: Guard) -> None:
    first = guard.call(np.arange, 100_000)
    first += 1
    second = guard.call(np.full, 100_000, 7)
    assert first[-1] == 100_000
    assert (second == 7).all()
    assert (guard.call(np.flip, first) == first[::-1]).all()


def test_a_large_array_comes_whole(guard: Guard) -> None:
    large = guard.call(np.arange, 20_000_000)
    assert large.nbytes > 2**27
    assert (large[::1_000_000] == np.arange(0, 20_000_000, 1_000_000)).all()
    assert (guard.call(np.arange, 5) == np.arange(5)).all()


def test_a_child_is_used_again_also_after_an_error(guard: Guard) -> None:
    pid = guard.call(os.getpid)
    assert pid != os.getpid()
    with pytest.raises(ValueError, match="invalid literal for int"):
        guard.call(int, "x")
    with pytest.raises(ModuleNotFoundError):
        guard.call(__import__, "no_such_module")
    assert guard.call(os.getpid) == pid


def test_an_error_that_cannot_travel_keeps_its_words(guard: Guard) -> None:
    with pytest.raises(MediaError, match=r"^decoder failed: Odd: that$"):
        guard.call(exec, "class Odd(Exception): pass\nraise Odd('that')")


@pytest.mark.parametrize(
    ("function", "args"),
    [
        (time.sleep, (60,)),
        (re.fullmatch, (r"(a+)+b", "a" * 60)),  # C code that lets no other thread run
    ],
)
def test_what_hangs_is_killed_and_replaced(function: object, args: tuple[object, ...]) -> None:
    with Guard(1, 0.5) as guard:
        pid = guard.call(os.getpid)
        start = time.monotonic()
        with pytest.raises(MediaError, match=r"^too slow: over 0\.5 s$"):
            guard.call(function, *args)  # type: ignore[arg-type]
        assert time.monotonic() - start < 10
        assert not running(pid)
        assert guard.call(os.getpid) != pid


@pytest.mark.parametrize(
    ("function", "args", "words"),
    [
        (ctypes.string_at, (0,), "SIGSEGV"),
        (os.abort, (), "SIGABRT"),
        (os._exit, (3,), "exit status 3"),
    ],
)
def test_what_crashes_is_replaced(function: object, args: tuple[object, ...], words: str) -> None:
    with Guard(1, 20) as guard:
        with pytest.raises(MediaError, match=f"^decoder crashed: {words}$"):
            guard.call(function, *args)  # type: ignore[arg-type]
        assert guard.call(int, "7") == 7


def test_what_needs_too_much_memory_is_refused(guard: Guard) -> None:
    with pytest.raises(MediaError, match=r"^too large: needs over 4 GiB of memory$"):
        guard.call(np.ones, 2**33)


def test_a_child_killed_while_idle_is_replaced(guard: Guard) -> None:
    pid = guard.call(os.getpid)
    os.kill(pid, signal.SIGKILL)
    wait_until_gone(pid)
    assert guard.call(os.getpid) != pid


def test_threads_share_the_children() -> None:
    with Guard(2, 20) as guard, ThreadPoolExecutor(8) as pool:
        arrays = list(pool.map(lambda n: guard.call(np.full, 20_000, n), range(64)))
        assert all((array == n).all() for n, array in enumerate(arrays))
        assert len(set(pool.map(lambda _: guard.call(os.getpid), range(16)))) <= 2


def test_one_that_hangs_does_not_hold_up_the_others() -> None:
    with Guard(2, 2.0) as guard, ThreadPoolExecutor(1) as pool:
        hanging = pool.submit(guard.call, time.sleep, 60)
        assert guard.call(int, "7") == 7
        assert not hanging.done()
        assert isinstance(hanging.exception(), MediaError)


def test_children_end_with_close() -> None:
    guard = Guard(1, 20)
    pid = guard.call(os.getpid)
    guard.close()
    assert not running(pid)
    with pytest.raises(RuntimeError, match="closed"):
        guard.call(os.getpid)


def test_children_at_work_end_after_their_call() -> None:
    with ThreadPoolExecutor(1) as pool:
        guard = Guard(1, 20)
        pid = guard.call(os.getpid)
        working = pool.submit(guard.call, time.sleep, 0.5)
        time.sleep(0.1)
        guard.close()
        assert working.result() is None
        wait_until_gone(pid)


def test_children_end_with_the_guard() -> None:
    guard = Guard(1, 20)
    pid = guard.call(os.getpid)
    del guard
    gc.collect()
    assert not running(pid)


@pytest.mark.crash
def test_a_hanging_child_outlives_a_killed_parent_by_its_limit_only() -> None:
    program = (
        "import os, time; from embedders.media.guard import Guard; guard = Guard(1, 2.0);"
        "print(guard.call(os.getpid), flush=True); guard.call(time.sleep, 60)"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        time.sleep(0.3)
        parent.kill()
    wait_until_gone(pid)
