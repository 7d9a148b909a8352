"""Predict at 2 and 5 times the rate that the server can do: what it still gets done, how late, and in how much memory.

The server has one core, the load another. Calls arrive at random times (Poisson) whatever becomes of those before, and
are timed from when they were due, so a stalled server is seen as one (no coordinated omission). Goodput counts answers
within the deadline, and also by second of the server's CPU time, which says the same on a machine that others use too.

A refusal costs the server a good part of what gRPC's Python costs it for any call. So callers heed the number of calls
that the server allows a connection (HTTP/2's SETTINGS_MAX_CONCURRENT_STREAMS): beyond it, their calls fail at once and
are never sent. With `--heedless` they send all, and the server has to refuse; or, with `--at-door`, sees only to those
that it has time for and leaves it to gRPC to cancel the others.

Usage: LARDER_HOME=<workspace of a finished `larder demo`> python -m benchmarks.overload [--seconds 60]
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import grpc
import numpy as np

from benchmarks.harness import Row, machine, may_lock, publish
from feature_repo.catalog import Catalog
from feature_repo.settings import load_settings
from protos.larder.v1 import scoring_pb2 as pb

FACTORS = (2, 5)
GOODPUT = 0.9
GROWTH = 1.05
CONNECTIONS = 4
_AGAIN_S = 0.02  # after a refusal
TOGETHER = 16  # calls that are always under way while the peak is measured
PEAK_S = 10.0
START_S = 600.0
STREAMS = 2 * TOGETHER // CONNECTIONS  # calls under way that the server allows a connection: the peak, and some to wait
HEEDFUL = [("grpc.http.max_concurrent_streams_reject_on_client", 1), ("grpc.enable_retries", 0)]
METHOD = "/larder.v1.ScoringService/Predict"


@dataclass
class Outcome:
    """What became of the calls of one run: seconds of those answered, and how many ended with which code."""

    seconds: float
    latencies: list[float] = field(default_factory=list)
    codes: Counter[str] = field(default_factory=Counter)
    memory: list[int] = field(default_factory=list)
    cpu_s: float = 0.0

    @property
    def thrift(self) -> float:
        """Answers a second of the server's CPU time."""
        return len(self.latencies) / self.cpu_s

    @property
    def goodput(self) -> float:
        """Answers a second."""
        return len(self.latencies) / self.seconds

    @property
    def p99(self) -> float:
        """Seconds within which 99 of 100 answers came."""
        return float(np.percentile(self.latencies, 99))

    @property
    def growth(self) -> float:
        """Memory of the last tenth of the run over that of the second tenth, when all that is needed is there."""
        tenth = max(1, len(self.memory) // 10)
        return float(np.mean(self.memory[-tenth:]) / np.mean(self.memory[tenth : 2 * tenth]))


@contextmanager
def server(cores: set[int], streams: int, at_door: int | None = None) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """`larder serve` on these cores, and its port; a connection may have so many calls under way, and so many may wait
    at the door, unseen.
    """
    with tempfile.TemporaryDirectory() as folder:
        port_file = Path(folder) / "port"
        command = [sys.executable, "-m", "larder", "serve", "--port", "0", "--port-file", str(port_file), "--no-warm"]
        own = os.sched_getaffinity(0)
        os.sched_setaffinity(0, cores)
        said = {"LARDER_SERVE_THREADS": "1", "LARDER_MAX_STREAMS": str(streams)}
        said |= {"LARDER_MAX_AT_DOOR": str(at_door)} if at_door else {}
        said |= {"LARDER_LOCK_MEMORY": "true"} if may_lock() else {}
        process = subprocess.Popen(command, env=os.environ | said)
        os.sched_setaffinity(0, own - cores or own)
        try:
            deadline = time.monotonic() + START_S
            while not port_file.exists():
                if process.poll() is not None or time.monotonic() > deadline:
                    raise SystemExit("the server did not start: is LARDER_HOME a finished `larder demo`?")
                time.sleep(0.05)
            yield process, int(port_file.read_text())
        finally:
            process.terminate()
            process.wait()


@asynccontextmanager
async def connections(
    port: int, options: Sequence[tuple[str, int]] = ()
) -> AsyncIterator[list[grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]]]:
    """Predict over each of several connections; requests and answers stay bytes."""
    own = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1), *options]
    channels = [grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=own) for _ in range(CONNECTIONS)]
    try:
        yield [channel.unary_unary(METHOD, None, None) for channel in channels]
    finally:
        for channel in channels:
            await channel.close(None)


async def peak(port: int, process: int, payload: bytes, seconds: float) -> Outcome:
    """As many answers as callers get who always have a few calls under way."""
    outcome, before = Outcome(seconds), cpu_s(process)

    async def caller(ask: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes], until: float) -> None:
        while (start := time.perf_counter()) < until:
            try:
                await ask(payload)
            except grpc.aio.AioRpcError as error:  # calls so long that not all of these may wait
                outcome.codes[error.code().name] += 1
                await asyncio.sleep(_AGAIN_S)
            else:
                outcome.latencies.append(time.perf_counter() - start)

    async with connections(port) as asks:
        until = time.perf_counter() + seconds
        await asyncio.gather(*(caller(asks[n % CONNECTIONS], until) for n in range(TOGETHER)))
    outcome.cpu_s = cpu_s(process) - before
    return outcome


async def overload(
    port: int,
    process: int,
    payload: bytes,
    rate: float,
    seconds: float,
    deadline_s: float,
    options: Sequence[tuple[str, int]] = (),
) -> Outcome:
    """Calls at a rate, each with a deadline."""
    outcome, before = Outcome(seconds), cpu_s(process)
    chance = random.Random(0)

    async def call(ask: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes], due: float) -> None:
        try:
            await ask(payload, timeout=max(0.001, due + deadline_s - time.perf_counter()))
        except grpc.aio.AioRpcError as error:
            outcome.codes[f"{error.code().name}{' of the server' * bool(error.trailing_metadata())}"] += 1
        else:
            outcome.latencies.append(time.perf_counter() - due)

    async with connections(port, options) as asks, asyncio.TaskGroup() as calls:
        start = due = time.perf_counter()
        while due < start + seconds:
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            calls.create_task(call(chance.choice(asks), due))
            due += chance.expovariate(rate)
            if due - start > len(outcome.memory) * seconds / 100:
                outcome.memory.append(resident(process))
    outcome.cpu_s = cpu_s(process) - before
    return outcome


def cpu_s(process: int) -> float:
    """Seconds that a process has computed for."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident(process: int) -> int:
    """Bytes of memory that a process has of its own."""
    line = next(x for x in Path(f"/proc/{process}/status").read_text().splitlines() if x.startswith("RssAnon"))
    return 1024 * int(line.split()[1])


def rows(factor: int, peaks: Sequence[Outcome], found: Outcome, deadline_s: float) -> list[Row]:
    """The claims of one run; `peaks` are those before and after it, since the speed of a machine moves."""
    at = f"{factor}x the peak ({', '.join(f'{code} {count}' for code, count in sorted(found.codes.items()))})"
    goodput, thrift = (float(np.mean([getattr(one, name) for one in peaks])) for name in ("goodput", "thrift"))
    where, calls = machine(), len(found.latencies)
    return [
        Row(f"goodput at {at}", found.goodput, goodput, GOODPUT, "answers/s", calls, where),
        Row(f"the same by second of CPU time, {factor}x", found.thrift, thrift, GOODPUT, "answers/s", calls, where),
        Row(f"p99 of answers at {factor}x over the deadline", found.p99, deadline_s, 1, "s", calls, where, most=True),
        Row(f"memory at {factor}x, end over start", found.growth, 1, GROWTH, "", calls, where, most=True),
    ]


def main() -> None:
    """Measure and publish."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="of each overload")
    parser.add_argument("--candidates", type=int, default=500)
    parser.add_argument("--deadline", type=float, default=0.5, help="seconds that a caller waits")
    parser.add_argument("--heedless", action="store_true", help="callers send more than a connection is allowed")
    parser.add_argument("--at-door", type=int, help="calls that may wait unseen: LARDER_MAX_AT_DOOR")
    options = parser.parse_args()
    streams, heeded = (256, []) if options.heedless else (STREAMS, HEEDFUL)
    with Catalog(load_settings().catalog) as catalog:
        ids = [item.content.content_id for item in islice(catalog.items(), options.candidates)]
    payload = pb.PredictRequest(predictors=["popularity"], content_ids=ids).SerializeToString()
    core = max(os.sched_getaffinity(0))
    claims: list[Row] = []
    with server({core}, streams, options.at_door) as (process, port):
        asyncio.run(peak(port, process.pid, payload, 2.0))
        peaks = [asyncio.run(peak(port, process.pid, payload, PEAK_S))]
        for factor in FACTORS:
            rate = factor * peaks[0].goodput
            found = asyncio.run(overload(port, process.pid, payload, rate, options.seconds, options.deadline, heeded))
            peaks.append(asyncio.run(peak(port, process.pid, payload, PEAK_S)))
            claims += rows(factor, peaks[-2:], found, options.deadline)
    publish("overload" + "-heedless" * options.heedless + "-at-door" * bool(options.at_door), claims)


if __name__ == "__main__":
    main()
