"""A lane: a few threads that work on calls, and the calls that wait for one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from feature_repo.errors import OverloadedError
from grpc_api.calls import Call

T = TypeVar("T")


class Lane:
    """Runs work on `threads` threads; more than `waiting` calls that have none yet are refused."""

    def __init__(self, name: str, threads: int, waiting: int) -> None:
        self._most = threads + waiting
        self._under_way = 0
        self._pool = ThreadPoolExecutor(threads, name)

    async def run(self, work: Callable[[], T], call: Call) -> T:
        """What `work` gives. Raises OverloadedError where too many wait, DeadlineError where its time is up first."""
        if self._under_way >= self._most:
            raise OverloadedError("the server has more to do than it can: try again later")
        self._under_way += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, _while_wanted, work, call)
        except asyncio.CancelledError:
            call.gone = True
            raise
        finally:
            self._under_way -= 1

    def close(self) -> None:
        """Let the threads end once they are done."""
        self._pool.shutdown()


def _while_wanted(work: Callable[[], T], call: Call) -> T:
    call.check()
    return work()
