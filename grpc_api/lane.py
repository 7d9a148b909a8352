"""A lane: one call after the other, by the event loop or a thread, and no more that wait than it can get to in time."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, TypeVar

from feature_repo.errors import DeadlineError, OverloadedError, UnavailableError
from grpc_api.calls import Call
from grpc_api.waiting import FairQueue

T = TypeVar("T")

_NEWEST = 0.1  # weight of a call in the mean of what its method takes
_LEAST_RETRY_S = 0.02
_TOGETHER = 48 * 2**10  # size of the calls that are worked on together, at most
_CALM = 32  # turns of the loop in which no call came, after which all that were at the door are in
_CALM_FOR_EACH = 8  # that waits; where few wait, few are at the door
_CAUTION = 2.0  # a call is taken where the time it is expected to need fits so often into what is left of its time


@dataclass(frozen=True, slots=True)
class Shared:
    """How a call can be worked on along with others of its method: `together` gives what the work of each would, from
    the `item` of each, or raises, after which each is worked on alone. `size` is in bytes of the request.
    """

    together: Callable[[list[Any]], list[Any]]
    item: Any
    size: int


@dataclass(slots=True, eq=False)
class _Job:
    work: Callable[[], Any]
    call: Call
    shared: Shared | None
    estimate_s: float
    done: asyncio.Future[Any]


_Outcome = tuple[Any, Exception | None]


class Lane:
    """Works on one call at a time. At most `waiting` calls, of `waiting_s` seconds of work, wait. Belongs to a loop.

    The event loop does what should take less than `brief_s` seconds by itself, and sees between two calls to what has
    come; the rest is for a thread. To wake a thread takes longer than to score some candidates, and a thread that wants
    the interpreter back after each operation waits for a crowded loop again and again. A call that comes in a lull (as
    long a one as it will take) is done at once; what follows closely on another waits for more to be done with.

    Who comes then is refused at once, or, where another caller has more calls waiting, that caller's newest is. So is
    a call that could not be worked on before its deadline. What a call will take is the mean of the last ones of its
    method. Calls whose caller is gone leave the line; work under way learns of it through `Call.check`. Small calls
    that can share their work are taken together, as many as wait: the more there is to do, the less each costs.

    To refuse a call takes time from the others. A lane that does not see to all (`sees_all`) leaves whoever comes while
    enough wait at the door, where gRPC cancels those that are too many for a fraction of it, without a word.
    """

    def __init__(
        self, name: str, waiting: int, waiting_s: float, brief_s: float = 0.0, *, sees_all: bool = True
    ) -> None:
        self.name = name
        self._most, self._most_s, self._brief_s, self._sees_all = waiting, waiting_s, brief_s, sees_all
        self._queue: FairQueue[_Job] = FairQueue()
        self._waiting_s = 0.0
        self._free_at = 0.0  # when the work under way should be done
        self._done_at = 0.0  # when the last was
        self._means: dict[str, float] = {}
        self._at_work = False
        self._came = 0  # calls, so far
        self._open = True
        self._finished = asyncio.Event()  # with all calls, once there come no more
        self.shed: Counter[str] = Counter()  # calls that were refused, by reason
        self._handed: SimpleQueue[list[_Job]] = SimpleQueue()  # to the thread; nothing ends it
        self._thread = threading.Thread(target=self._run, name=name)

    def start(self) -> None:
        """Work from here on."""
        self._thread.start()

    async def close(self) -> None:
        """Take no more calls and end with the last that waits."""
        self._open = False
        if self._at_work:
            await self._finished.wait()
        if self._thread.ident is not None:
            self._handed.put([])
            await asyncio.to_thread(self._thread.join)

    @property
    def waiting(self) -> int:
        """Calls that wait."""
        return len(self._queue)

    async def run(self, work: Callable[[], T], call: Call, shared: Shared | None = None) -> T:
        """What `work` gives.

        Raises OverloadedError where it cannot be done in time, DeadlineError where it was not, UnavailableError once
        the lane is closed.
        """
        if not self._open:
            raise UnavailableError("the server is stopping")
        loop, estimate_s = asyncio.get_running_loop(), self._means.get(call.method, 0.0)
        self._came += 1
        if not self._at_work and 0 < estimate_s < min(self._brief_s, time.monotonic() - self._done_at):
            self._at_work = True
            loop.call_soon(self._turn, loop)
            return self._done(work, call)
        job = _Job(work, call, shared, estimate_s, loop.create_future())
        displaced = self._admit(job)
        if displaced is not None:
            _settle(displaced, None, self._refusal("displaced"))
        if not self._at_work:
            self._at_work = True
            loop.call_soon(self._turn, loop)
        try:
            return await job.done  # type: ignore[no-any-return]
        except asyncio.CancelledError:
            call.gone = True
            if self._queue.remove(call.caller, job):
                self._waiting_s -= job.estimate_s
            raise

    def _admit(self, job: _Job) -> _Job | None:
        """Let a job wait, in the place of the one that is given back. Raises OverloadedError."""
        call, queue = job.call, self._queue
        ahead = queue.ahead_of(call.caller)
        rest_s = max(0.0, self._free_at - time.monotonic())
        if ahead:
            expected_s = rest_s + ahead * self._waiting_s / len(queue) + job.estimate_s
            if _CAUTION * expected_s > call.remaining_s:
                raise self._refusal("late")
        displaced = None
        if len(queue) >= self._most or (queue and self._waiting_s + job.estimate_s > self._most_s):
            displaced = queue.take_newest_of_longest(call.caller)
            if displaced is None:
                raise self._refusal("full")
            self._waiting_s -= displaced.estimate_s
        queue.put(call.caller, job)
        self._waiting_s += job.estimate_s
        return displaced

    def _refusal(self, reason: str) -> OverloadedError:
        """Try again once what waits now is done."""
        self.shed[reason] += 1
        return OverloadedError(
            "the server has more to do than it can: try again later", max(_LEAST_RETRY_S, self._waiting_s)
        )

    def _turn(self, loop: asyncio.AbstractEventLoop) -> None:
        """Go on with what waits; the loop does this, and has seen to what else was ready."""
        self._let_in(loop, time.monotonic() + self._brief_s)

    def _let_in(self, loop: asyncio.AbstractEventLoop, until: float, calm: int = 0, came: int = 0) -> None:
        """First let all in who are at the door, but go on by `until`: gRPC gives the loop one call a turn, and those it
        still holds are neither done together, nor refused, nor done in time.
        """
        enough = not self._sees_all and self._waiting_s >= self._brief_s
        patience = min(_CALM, _CALM_FOR_EACH * len(self._queue))
        if enough or calm >= patience or time.monotonic() >= until:
            self._begin(loop)
        else:
            os.sched_yield()  # gRPC's thread, which brings them, may have no other core
            loop.call_soon(self._let_in, loop, until, calm + 1 if came == self._came else 0, self._came)

    def _begin(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin with the next jobs, if any wait."""
        if not self._queue:
            self._at_work = False
            if not self._open:
                self._finished.set()
            return
        jobs = self._take()
        if all(job.estimate_s for job in jobs) and sum(job.estimate_s for job in jobs) < self._brief_s:
            for job, outcome in self._outcomes(jobs):
                _settle(job, *outcome)
            loop.call_soon(self._turn, loop)
        else:
            self._handed.put(jobs)

    def _run(self) -> None:
        while jobs := self._handed.get():
            loop = jobs[0].done.get_loop()
            for job, outcome in self._outcomes(jobs):
                loop.call_soon_threadsafe(_settle, job, *outcome)
            loop.call_soon_threadsafe(self._turn, loop)

    def _outcomes(self, jobs: list[_Job]) -> Iterable[tuple[_Job, _Outcome]]:
        if len(jobs) > 1 and (found := self._together(jobs)) is not None:
            return found
        return ((job, self._outcome(job)) for job in jobs)

    def _together(self, jobs: list[_Job]) -> list[tuple[_Job, _Outcome]] | None:
        """What comes of jobs that share their work; None where each is to be done alone."""
        start = time.monotonic()
        expired = {job: failed for job in jobs if (failed := _expired(job))}
        live = [job for job in jobs if job not in expired]
        shared = [job.shared for job in live if job.shared is not None]
        try:
            results = shared[0].together([one.item for one in shared]) if shared else []
        except Exception:
            return None
        self._done_at = time.monotonic()
        for job in live:
            self._learn(job.call.method, (self._done_at - start) / len(live))
        found = dict(zip(live, results, strict=True))
        return [(job, expired.get(job) or _expired(job) or (found[job], None)) for job in jobs]

    def _outcome(self, job: _Job) -> _Outcome:
        try:
            return self._done(job.work, job.call), None
        except StopIteration as error:  # which no future takes
            return None, RuntimeError(repr(error))
        except Exception as error:
            return None, error

    def _done(self, work: Callable[[], T], call: Call) -> T:
        start = time.monotonic()
        call.check()
        result = work()
        self._done_at = time.monotonic()
        self._learn(call.method, self._done_at - start)
        return result

    def _take(self) -> list[_Job]:
        """The next job, and those that share its work."""
        jobs = [self._queue.take()]
        while self._queue and _fits(self._queue.peek(), jobs):
            jobs.append(self._queue.take())
        taken_s = sum(job.estimate_s for job in jobs)
        self._waiting_s = self._waiting_s - taken_s if self._queue else 0.0
        self._free_at = time.monotonic() + taken_s
        return jobs

    def _learn(self, method: str, seconds: float) -> None:
        mean = self._means.get(method, 0.0)  # the first calls of a method often take long
        self._means[method] = mean + _NEWEST * (seconds - mean)


def _fits(job: _Job, jobs: list[_Job]) -> bool:
    """Whether it may be worked on along with those."""
    sizes = [one.shared.size for one in (job, *jobs) if one.shared is not None]
    same = job.call.method == jobs[0].call.method
    return same and len(sizes) > len(jobs) and sum(sizes) <= _TOGETHER


def _expired(job: _Job) -> _Outcome | None:
    try:
        job.call.check()
    except DeadlineError as error:
        return None, error
    return None


def _settle(job: _Job, result: Any, error: Exception | None) -> None:
    if job.done.done():  # the caller is gone
        return
    if error is None:
        job.done.set_result(result)
    else:
        job.done.set_exception(error)
