"""Makes the calls of a plan when they are due, and times them from then on.

A caller who waits for an answer before the next call sends nothing while the server stalls, and so never sees the
stall (coordinated omission; Tene, "How NOT to Measure Latency"). Here nobody waits. Lateness of the generator itself
counts against the server rather than in its favour, and is measured.
"""

from __future__ import annotations

import asyncio
import os
import selectors
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import grpc

from feature_repo.errors import ConfigurationError
from grpc_api.client.access import Access
from grpc_api.errors import from_status
from grpc_api.load.outcome import Outcome
from grpc_api.load.plan import KINDS, Plan

_LEAD_S = 0.1
_OPENING_S = 30.0
_AT_LEAST_S = 0.001
_BUSY = (grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.DEADLINE_EXCEEDED)  # with the load before this one

Method = grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]


@dataclass(frozen=True, slots=True)
class Target:
    """The server, HOST:PORT, how it is reached, over how many connections, and seconds that a caller waits."""

    address: str
    access: Access
    connections: int
    deadline_s: float


def runner() -> asyncio.Runner:
    """Runs loads, on a loop whose waits end within microseconds: other selectors round them up to a millisecond."""
    return asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selectors.SelectSelector()))


@contextmanager
def pinned(core: int | None) -> Iterator[None]:
    """Stay on one core: by default the last, which leaves the others to a server beside it."""
    cores = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {max(cores) if core is None else core})
    except OSError as error:
        raise ConfigurationError(f"core {core}: is none of {sorted(cores)}") from error
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


async def run(plan: Plan, target: Target, progress: Callable[[int, int], None]) -> Outcome:
    """Carry the plan out. Raises what the server says where it answers none of a kind of calls to begin with.

    `progress` is told how many calls were sent, and of how many, now and then.
    """
    outcome = Outcome(plan.rate, plan.seconds, plan.kinds)
    metadata = target.access.metadata
    channels = target.access.channels(grpc.aio, target.address, target.connections)
    methods = [[channel.unary_unary(KINDS[name].path) for name in plan.kinds] for channel in channels]

    async def call(method: Method, kind: int, request: bytes, due: float) -> None:
        sent = time.perf_counter()
        outcome.lag.record(sent - due)
        code = "OK"
        try:
            await method(request, timeout=max(_AT_LEAST_S, due + target.deadline_s - sent), metadata=metadata)
        except grpc.aio.AioRpcError as error:
            code = error.code().name
        outcome.record(plan.kinds[kind], due - start, code, time.perf_counter() - due)

    try:
        requests = await _answerable(plan, methods, target)
        start = time.perf_counter() + _LEAD_S
        async with asyncio.TaskGroup() as calls:
            for number, after in enumerate(plan.due.tolist()):
                await asyncio.sleep(max(0.0, start + after - time.perf_counter()))
                kind = plan.kind[number]
                request = requests[kind][plan.request[number] % len(requests[kind])]
                calls.create_task(call(methods[number % len(methods)][kind], kind, request, start + after))
                if number % 100 == 0:
                    progress(number, len(plan.due))
    finally:
        for channel in channels:
            await channel.close()
    return outcome


async def _answerable(plan: Plan, methods: list[list[Method]], target: Target) -> list[list[bytes]]:
    """The requests of each kind less those about what is not found. Asking each once also warms both sides."""

    async def of(kind: int) -> list[bytes]:
        kept, missed = [], None
        for number, request in enumerate(plan.requests[kind]):
            method = methods[number % len(methods)][kind]
            try:
                await method(request, timeout=_OPENING_S, metadata=target.access.metadata)
            except grpc.aio.AioRpcError as error:
                if error.code() is grpc.StatusCode.NOT_FOUND:
                    missed = error
                    continue
                if error.code() not in _BUSY:
                    raise from_status(error, target.address) from error
            kept.append(request)
        if missed is not None and not kept:
            raise from_status(missed, target.address) from missed
        return kept

    return [await of(kind) for kind in range(len(plan.kinds))]
