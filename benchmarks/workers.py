"""Two workers against one: answers by second of their CPU time, and the memory that they share.

On two cores the load takes from two workers what it needs itself, so their rate says little. What each second of their
CPU time comes to says what they do where the load comes from elsewhere: with a core each, the two have two such seconds
in every one. Each worker has as many calls under way at a time.

Usage: LARDER_HOME=<workspace of a finished `larder demo`> python -m benchmarks.workers [--seconds 10] [--repeats 3]
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import time
from itertools import islice
from pathlib import Path
from statistics import median

import grpc

from benchmarks.harness import Row, machine, publish
from benchmarks.overload import cpu_s, server
from feature_repo.catalog import Catalog
from feature_repo.settings import load_settings
from protos.larder.v1 import scoring_pb2 as pb

BAR = 1.7
UNDER_WAY = 4  # calls of each worker
CONNECTIONS = 16  # of each worker: the kernel deals them out by chance


def workers_of(process: int) -> list[int]:
    """The processes that answer: the one itself, or those that it looks after."""
    children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    return [int(child) for child in children] or [process]


def answers_by_cpu(port: int, process: int, payload: bytes, seconds: float) -> float:
    """Answers by second of CPU time, while there is always something to do."""
    workers = workers_of(process)
    before = sum(map(cpu_s, workers))
    answers = asyncio.run(_keep_busy(port, payload, len(workers), seconds))
    return answers / (sum(map(cpu_s, workers)) - before)


async def _keep_busy(port: int, payload: bytes, workers: int, seconds: float) -> int:
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1)]
    channels = [grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options) for _ in range(workers * CONNECTIONS)]
    asks = [channel.unary_unary("/larder.v1.ScoringService/Predict", None, None) for channel in channels]
    end = time.perf_counter() + seconds

    async def caller(turn: int) -> int:
        answers = 0
        while time.perf_counter() < end:
            await asks[(turn + answers * workers * UNDER_WAY) % len(asks)](payload)
            answers += 1
        return answers

    answered = await asyncio.gather(*(caller(turn) for turn in range(workers * UNDER_WAY)))
    for channel in channels:
        await channel.close(None)
    return sum(answered)


def share_of_memory(process: int) -> float:
    """MiB of all workers, where pages that several map count once (proportional set size)."""
    found = [Path(f"/proc/{worker}/smaps_rollup").read_text() for worker in workers_of(process)]
    return sum(int(re.findall(r"^Pss:\s+(\d+)", text, re.M)[0]) for text in found) / 1024


def measure(count: int, payload: bytes, seconds: float, repeats: int) -> tuple[float, float]:
    """Answers by second of CPU time of so many workers, and their MiB."""
    os.environ["LARDER_SERVE_WORKERS"] = str(count)
    own = os.sched_getaffinity(0)
    with server(set(sorted(own)[-count:]), 256) as (process, port):
        os.sched_setaffinity(0, own)
        found = [answers_by_cpu(port, process.pid, payload, seconds) for _ in range(1 + repeats)][1:]
        return median(found), share_of_memory(process.pid)


def main() -> None:
    """Measure and publish."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--candidates", type=int, default=500)
    options = parser.parse_args()
    with Catalog(load_settings().catalog) as catalog:
        ids = [item.content.content_id for item in islice(catalog.items(), options.candidates)]
    payload = pb.PredictRequest(predictors=["popularity"], content_ids=ids).SerializeToString()
    one, lone = measure(1, payload, options.seconds, options.repeats)
    two, pair = measure(2, payload, options.seconds, options.repeats)
    where, repeats = machine(), options.repeats
    what = f"Predict {len(ids)}, popularity, two workers with a core each over one"
    publish(
        "workers",
        [
            Row(
                f"{what}: answers a second, from those by second of CPU", 2 * two, one, BAR, "answers/s", repeats, where
            ),
            Row(f"{what}: memory, shared pages once", pair, lone, 2.0, "MiB", 1, where, most=True),
        ],
    )


if __name__ == "__main__":
    main()
