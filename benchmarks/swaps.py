"""A hundred swaps and rollbacks of releases under constant load: what fails, and which answers mix two releases.

Two releases whose predictors give other scores are put in use in turns, and the server is told by SIGHUP. Every answer
must be, in all that it names and in every score, that of the one release that it names.

Usage: LARDER_HOME=<workspace of a finished `larder demo`> python -m benchmarks.swaps [--swaps 100]
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import shutil
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import numpy as np
from rich.console import Console

from benchmarks.harness import Row, machine, publish
from benchmarks.overload import resident, server
from feature_repo.catalog import Catalog
from feature_repo.settings import Settings, load_settings
from larder import steps
from larder.display import Display
from predictors import shelf
from predictors.config import TrainConfig
from predictors.pins import ReleaseManifest
from protos.larder.v1 import scoring_pb2 as pb
from protos.larder.v1 import scoring_pb2_grpc

log = logging.getLogger(__name__)

CANDIDATES = 50
TOGETHER = 4  # callers that always have a call under way
STREAMS = 256  # far more than there are callers: a stream that just ended counts for a moment
PATIENCE_S = 600.0
GROWTH = 1.1

Answer = pb.PredictResponse | pb.RecommendResponse | pb.SimilarResponse


@dataclass
class Outcome:
    """What became of the calls: how many of each release, those that failed or were mixed, and the server's memory."""

    expected: Mapping[str, tuple[ReleaseManifest, list[float]]]
    answers: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    mixed: list[str] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)
    memory: list[int] = field(default_factory=list)
    latest: str = ""

    def take(self, answer: Answer) -> None:
        """Look whether all parts of an answer are of the release that it names."""
        manifest, scores = self.expected[answer.release]
        self.answers[answer.release] += 1
        self.latest = answer.release
        match answer:
            case pb.PredictResponse():
                [said] = answer.results
                version = manifest.predictors[said.predictor].version
                whole = said.version == version and np.allclose(said.scores, scores, atol=1e-6)
            case pb.RecommendResponse():
                whole = answer.predictor_version == manifest.predictors[answer.predictor].version
            case pb.SimilarResponse():
                whole = all(manifest.indexes[one.embedding] == one.version for one in answer.indexes)
        if not whole:
            self.mixed.append(str(answer))


def requests(settings: Settings) -> list[tuple[str, pb.PredictRequest | pb.RecommendRequest | pb.SimilarRequest]]:
    """One of each kind, by RPC."""
    with Catalog(settings.catalog) as catalog:
        ids = [item.content.content_id for item in catalog.items()][:CANDIDATES]
        user = next(iter(catalog.users())).user_id
    return [
        ("Predict", pb.PredictRequest(predictors=["popularity"], content_ids=ids)),
        ("Recommend", pb.RecommendRequest(user_id=user)),
        ("Similar", pb.SimilarRequest(content_id=ids[0])),
    ]


def two_releases(settings: Settings) -> list[str]:
    """Versions of two releases that differ in their model; the second is in use."""
    made = []
    with Catalog(settings.catalog) as catalog:
        space = steps.Workspace(settings, catalog, Display())
        for depth in (3, 5):
            steps.train(space, "popularity", TrainConfig(iterations=50, folds=2, resamples=5, depth=depth, threads=1))
            made.append(steps.release(space, ["popularity"]).version)
    return made


async def swap(settings: Settings, process: int, port: int, versions: list[str], swaps: int) -> Outcome:
    """Put the versions in use in turns while callers ask; `versions[1]` is served at first."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = scoring_pb2_grpc.ScoringServiceStub(channel)  # type: ignore[no-untyped-call]  # generated
        asked = requests(settings)

        async def now_served(version: str) -> list[float]:
            """The scores of a release, once it is served."""
            os.kill(process, signal.SIGHUP)
            async with asyncio.timeout(PATIENCE_S):
                while (said := await stub.Predict(asked[0][1])).release != version:
                    await asyncio.sleep(0.05)
            return list(said.results[0].scores)

        expected = {}
        for version in versions:
            shelf.use(settings, version)
            expected[version] = (shelf.read_manifest(settings, version), await now_served(version))
        first, second = (scores for _, scores in expected.values())
        if np.allclose(first, second):
            raise SystemExit("the two releases give the same scores: nothing could be told from them")
        outcome, done = Outcome(expected), asyncio.Event()

        async def caller(number: int) -> None:
            while not done.is_set():
                number = (number + 1) % len(asked)
                name, request = asked[number]
                start = time.perf_counter()
                try:
                    outcome.take(await getattr(stub, name)(request, timeout=30))
                except grpc.aio.AioRpcError as error:
                    outcome.failed[f"{error.code().name} {error.details()}"] += 1
                outcome.latencies.append(time.perf_counter() - start)

        async with asyncio.TaskGroup() as callers:
            for number in range(TOGETHER):
                callers.create_task(caller(number))
            for number in range(swaps):
                await _next(settings, process, versions, number, lambda: outcome.latest)
                outcome.memory.append(resident(process))
            done.set()
    return outcome


async def _next(settings: Settings, process: int, versions: list[str], number: int, latest: Callable[[], str]) -> None:
    """Back to the first release, then the second again, and so on; returns once it answers."""
    if number % 2:
        shelf.use(settings, versions[1])
    else:
        shelf.rollback(settings)
    os.kill(process, signal.SIGHUP)
    async with asyncio.timeout(PATIENCE_S):
        while latest() != versions[number % 2]:
            await asyncio.sleep(0.02)


def main() -> None:
    """Measure and publish."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--swaps", type=int, default=100)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        shutil.copytree(load_settings().home, home)
        os.environ["LARDER_HOME"] = str(home)
        settings = load_settings(home=home, tracking="off")
        versions = two_releases(settings)
        with server({max(os.sched_getaffinity(0))}, STREAMS) as (process, port):
            found = asyncio.run(swap(settings, process.pid, port, versions, options.swaps))
    for reason, count in found.failed.most_common():
        log.warning("%d failed: %s", count, reason)
    sent, answered, where = len(found.latencies), found.answers.total(), machine()
    said = ", ".join(f"{memory / 2**20:.0f} ({n + 1})" for n, memory in enumerate(found.memory) if n % 20 == 19)
    Console().print(f"MiB of the server's own memory (after so many swaps): {said}")
    memory = found.memory[len(found.memory) // 10 :]
    times = f"{options.swaps} swaps and rollbacks"
    claims = [
        Row(f"requests answered, of those sent during {times}", answered, sent, 1, "requests", sent, where),
        Row("answers that are of one release", answered - len(found.mixed), answered, 1, "answers", sent, where),
        Row(f"memory after {times}, over that after a tenth", memory[-1], memory[0], GROWTH, "B", 1, where, most=True),
    ]
    publish("swaps", claims)


if __name__ == "__main__":
    main()
