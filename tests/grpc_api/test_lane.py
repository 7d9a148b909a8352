"""The lane: one call at a time, callers in turns, and no more waiting than can be done."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial

import pytest

from feature_repo.errors import DeadlineError, InputError, OverloadedError, UnavailableError
from grpc_api.calls import Call
from grpc_api.lane import _CALM, _TOGETHER, Lane, Shared


@asynccontextmanager
async def lane(
    waiting: int = 100, waiting_s: float = 100.0, brief_s: float = 0.0, sees_all: bool = True
) -> AsyncIterator[Lane]:
    opened = Lane("test", waiting, waiting_s, brief_s, sees_all=sees_all)
    opened.start()
    try:
        yield opened
    finally:
        await opened.close()


class Gate:
    """Work that holds the lane until the gate opens."""

    def __init__(self, on: Lane) -> None:
        self._open, self._entered = threading.Event(), threading.Event()
        self._task = asyncio.ensure_future(on.run(self._wait, Call("gate")))

    def _wait(self) -> None:
        self._entered.set()
        assert self._open.wait(30)

    async def entered(self) -> None:
        assert await asyncio.to_thread(self._entered.wait, 30)

    async def open(self) -> None:
        self._open.set()
        await self._task


def asynchronous(test: Callable[[], Awaitable[None]]) -> Callable[[], None]:
    def run() -> None:
        asyncio.run(asyncio.wait_for(test(), 60))

    run.__name__ = test.__name__
    return run


async def learn(on: Lane, seconds: float) -> None:
    """Let the lane learn what calls of the method `slow` take."""
    for _ in range(30):
        await on.run(lambda: time.sleep(seconds), Call("slow"))


@asynchronous
async def test_callers_take_turns() -> None:
    done: list[str] = []
    async with lane() as one:
        gate = Gate(one)
        await gate.entered()
        asked = [one.run(partial(done.append, caller), Call("m", caller=caller)) for caller in "aaaab"]
        together = asyncio.gather(*asked)
        await asyncio.sleep(0)
        await gate.open()
        await together
    assert done == list("abaaa")


@asynchronous
async def test_what_work_raises_comes_back() -> None:
    def fail() -> None:
        raise InputError("k: is odd")

    async with lane() as one:
        with pytest.raises(InputError, match="k: is odd"):
            await one.run(fail, Call("m"))
        with pytest.raises(RuntimeError, match="StopIteration"):
            await one.run(lambda: next(iter(())), Call("m"))
        assert await one.run(lambda: 7, Call("m")) == 7


@asynchronous
async def test_more_than_may_wait_are_refused_with_a_time_to_come_back() -> None:
    async with lane(waiting=2) as one:
        gate = Gate(one)
        await gate.entered()
        waiting = [asyncio.ensure_future(one.run(lambda: 1, Call("m", caller="a"))) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(OverloadedError) as refused:
            await one.run(lambda: 1, Call("m", caller="a"))
        assert refused.value.retry_s > 0
        await gate.open()
        assert await asyncio.gather(*waiting) == [1, 1]
        assert await one.run(lambda: 2, Call("m", caller="a")) == 2


@asynchronous
async def test_the_newest_of_who_waits_most_makes_room_for_another_caller() -> None:
    async with lane(waiting=3) as one:
        gate = Gate(one)
        await gate.entered()
        greedy = [asyncio.ensure_future(one.run(partial(int, n), Call("m", caller="greedy"))) for n in range(3)]
        await asyncio.sleep(0)
        modest = asyncio.ensure_future(one.run(lambda: "modest", Call("m", caller="modest")))
        with pytest.raises(OverloadedError):
            await greedy[2]
        await gate.open()
        assert await modest == "modest"
        assert await asyncio.gather(*greedy[:2]) == [0, 1]


@asynchronous
async def test_no_more_seconds_of_work_wait_than_may() -> None:
    async with lane(waiting_s=0.05) as one:
        await learn(one, 0.02)
        gate = Gate(one)
        await gate.entered()
        outcomes = [asyncio.ensure_future(one.run(lambda: 1, Call("slow"))) for _ in range(5)]
        await asyncio.sleep(0)
        refused = [task for task in outcomes if task.done()]
        assert 3 <= len(refused) < 5, "at most two of 0.02 s fit into 0.05 s"
        await gate.open()
        found = await asyncio.gather(*outcomes, return_exceptions=True)
    taken = len(outcomes) - len(refused)
    assert [type(one) for one in found] == [int] * taken + [OverloadedError] * len(refused)


@asynchronous
async def test_a_call_that_cannot_be_done_in_time_is_refused_at_once() -> None:
    async with lane() as one:
        await learn(one, 0.02)
        gate = Gate(one)
        await gate.entered()
        patient = asyncio.ensure_future(one.run(lambda: 1, Call("slow")))
        await asyncio.sleep(0)
        with pytest.raises(OverloadedError):
            await one.run(lambda: 1, Call("slow", deadline=time.monotonic() + 0.03))
        await gate.open()
        assert await patient == 1


@asynchronous
async def test_an_estimate_that_was_once_too_high_is_learned_anew() -> None:
    """Were calls refused for their own length alone, none would ever show that they are short again."""
    async with lane() as one:
        await one.run(lambda: time.sleep(0.5), Call("m"))
        for _ in range(30):
            assert await one.run(lambda: 1, Call("m", deadline=time.monotonic() + 0.3)) == 1


@asynchronous
async def test_expired_and_abandoned_calls_are_not_worked_on() -> None:
    worked: list[str] = []
    async with lane(waiting=2) as one:
        gate = Gate(one)
        await gate.entered()
        late = asyncio.ensure_future(
            one.run(lambda: worked.append("late"), Call("m", deadline=time.monotonic() + 0.05))
        )
        abandoned = asyncio.ensure_future(one.run(lambda: worked.append("abandoned"), Call("m")))
        await asyncio.sleep(0)
        assert one.waiting == 2
        abandoned.cancel()
        await asyncio.sleep(0.1)
        assert one.waiting == 1, "its place is free for another"
        await gate.open()
        with pytest.raises(DeadlineError):
            await late
    assert not worked


@asynchronous
async def test_work_under_way_learns_that_its_caller_is_gone() -> None:
    entered, told = threading.Event(), threading.Event()
    call = Call("m")

    def work() -> None:
        entered.set()
        while True:
            time.sleep(0.01)
            try:
                call.check()
            except DeadlineError:
                told.set()
                raise

    async with lane() as one:
        task = asyncio.ensure_future(one.run(work, call))
        assert await asyncio.to_thread(entered.wait, 30)
        task.cancel()
        assert await asyncio.to_thread(told.wait, 30)
        assert await one.run(lambda: 1, Call("m")) == 1


@asynchronous
async def test_the_loop_does_brief_calls_and_sees_to_others_between_them() -> None:
    seen: list[object] = []

    def work() -> None:
        seen.append(threading.current_thread())
        asyncio.get_running_loop().call_soon(seen.append, "between")

    async with lane(brief_s=1.0) as one:
        assert await one.run(threading.current_thread, Call("brief")) is not threading.main_thread(), "unknown as yet"
        await asyncio.gather(*(one.run(work, Call("brief")) for _ in range(3)))
    assert seen[:5] == [threading.main_thread(), "between"] * 2 + [threading.main_thread()]


@asynchronous
async def test_a_call_in_a_lull_is_done_at_once() -> None:
    """What follows closely on another waits a turn, in which more may come, so that they are done together."""
    async with lane(brief_s=1.0) as one:
        one._means["slow"] = 0.5  # seconds, which is how long a lull has to be
        in_a_lull = asyncio.ensure_future(one.run(int, Call("slow")))
        await asyncio.sleep(0)
        assert in_a_lull.done()
        while one._at_work:
            await asyncio.sleep(0)
        rounds: list[list[int]] = []

        def together(items: list[int]) -> list[int]:
            rounds.append(items)
            return items

        close = []
        for number in range(2):
            shared = Shared(together, number, 1)
            close.append(asyncio.ensure_future(one.run(lambda: -1, Call("slow"), shared)))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        assert await asyncio.gather(*close) == [0, 1]
    assert rounds == [[0, 1]]


@asynchronous
async def test_a_crowd_is_let_in_before_the_next_call_is_done() -> None:
    """gRPC gives the loop one call a turn: had each turn a call done, a thousand would wait unseen."""
    asked: list[asyncio.Future[int]] = []

    async with lane(waiting=2, brief_s=1.0) as one:
        one._means["slow"] = 0.5
        await one.run(int, Call("slow"))  # so that there is no lull

        def come(more: int) -> None:
            asked.extend(asyncio.ensure_future(one.run(lambda: len(asked), Call("slow"))) for _ in range(2))
            if more:
                asyncio.get_running_loop().call_soon(come, more - 1)

        come(19)
        while len(asked) < 40:
            await asyncio.sleep(0)
        found = await asyncio.gather(*asked, return_exceptions=True)
    assert found[:2] == [40, 40], "begun once all had come"
    assert {type(refused) for refused in found[2:]} == {OverloadedError}


@pytest.mark.parametrize("sees_all", [True, False])
def test_while_enough_wait_others_may_be_left_at_the_door(sees_all: bool) -> None:
    seen: list[int] = []

    async def crowded() -> None:
        async with lane(brief_s=0.02, sees_all=sees_all) as one:
            await learn(one, 0.01)
            asked = [asyncio.ensure_future(one.run(lambda: seen.append(turns), Call("slow"))) for _ in range(10)]
            turns = 0
            while len(seen) < 2:
                await asyncio.sleep(0)
                turns += 1
            await asyncio.gather(*asked)

    asyncio.run(asyncio.wait_for(crowded(), 60))
    assert (seen[1] > _CALM) == sees_all, "turns in which others could have come"


@asynchronous
async def test_a_crowd_without_end_does_not_hold_up_those_inside() -> None:
    async with lane(waiting=3, brief_s=0.05) as one:
        await one.run(int, Call("brief"))
        ended = asyncio.Event()

        async def crowd() -> None:
            while not ended.is_set():
                asyncio.ensure_future(one.run(int, Call("brief", caller="crowd"))).add_done_callback(
                    lambda task: task.exception()
                )
                await asyncio.sleep(0)

        pressing = asyncio.ensure_future(crowd())
        await asyncio.sleep(0)
        assert await one.run(lambda: 7, Call("brief", caller="modest")) == 7
        ended.set()
        await pressing


@asynchronous
async def test_brief_calls_wait_for_the_thread() -> None:
    """One call at a time: who works on one need not think of others."""
    done: list[str] = []
    async with lane(brief_s=1.0) as one:
        await one.run(int, Call("brief"))
        gate = Gate(one)
        await gate.entered()
        brief = asyncio.ensure_future(one.run(lambda: done.append("brief"), Call("brief")))
        await asyncio.sleep(0.01)
        assert not done
        await gate.open()
        await brief
    assert done == ["brief"]


@asynchronous
async def test_a_call_that_takes_long_is_not_done_by_the_loop() -> None:
    async with lane(brief_s=0.005) as one:
        await learn(one, 0.01)
        assert await one.run(threading.current_thread, Call("slow")) is not threading.main_thread()


@asynchronous
async def test_a_brief_call_fails_as_any_other() -> None:
    def fail() -> None:
        raise InputError("k: is odd")

    async with lane(brief_s=1.0) as one:
        await one.run(int, Call("brief"))
        with pytest.raises(InputError, match="is odd"):
            await one.run(fail, Call("brief"))
        with pytest.raises(DeadlineError):
            await one.run(int, Call("brief", deadline=time.monotonic() - 1))
    with pytest.raises(UnavailableError):
        await one.run(int, Call("brief"))


@asynchronous
async def test_closing_finishes_what_waits() -> None:
    async with lane() as one:
        tasks = [asyncio.ensure_future(one.run(partial(int, n), Call("m"))) for n in range(50)]
        await asyncio.sleep(0)
    assert await asyncio.gather(*tasks) == list(range(50))
    with pytest.raises(UnavailableError, match="stopping"):
        await one.run(lambda: 1, Call("m"))


@asynchronous
async def test_calls_that_share_their_work_are_done_together() -> None:
    rounds: list[list[int]] = []

    def together(items: list[int]) -> list[int]:
        rounds.append(items)
        return [10 * item for item in items]

    async with lane() as one:
        gate = Gate(one)
        await gate.entered()
        sizes = [1, 1, _TOGETHER + 1, 1, 1]
        asked = [one.run(lambda: -1, Call("m"), Shared(together, n, size)) for n, size in enumerate(sizes)]
        other = one.run(lambda: -2, Call("other"))
        waiting = asyncio.gather(*asked, other)
        await asyncio.sleep(0)
        await gate.open()
        assert await waiting == [0, 10, -1, 30, 40, -2], "what is large, or of another kind, is done alone"
    assert rounds == [[0, 1], [3, 4]]


@asynchronous
async def test_what_fails_together_is_done_alone() -> None:
    def together(items: list[int]) -> list[int]:
        raise InputError("one of them is odd")

    def alone(number: int) -> int:
        if number % 2:
            raise InputError(f"{number} is odd")
        return number

    async with lane() as one:
        gate = Gate(one)
        await gate.entered()
        asked = [one.run(partial(alone, n), Call("m"), Shared(together, n, 1)) for n in range(4)]
        waiting = asyncio.gather(*asked, return_exceptions=True)
        await asyncio.sleep(0)
        await gate.open()
        assert [str(found) for found in await waiting] == ["0", "1 is odd", "2", "3 is odd"]
