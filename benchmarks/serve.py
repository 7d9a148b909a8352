"""Predict and Similar over gRPC against what they are made of, and Predict against what one would write instead.

One worker on one core, the load on the others, all parts in one run and by turns. The parts are an empty RPC with
messages of the same sizes, the bare `read_columns` that the features take, the bare model, and FAISS alone, each in a
process on the worker's core. The workspace is made where `--home` has none, and kept.

Usage: python -m benchmarks.serve --home <folder> [--contents 100000] [--users 10000] [--calls 300] [--seconds 30]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from itertools import islice
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import numpy.typing as npt

from benchmarks import overload, queues, serve_parts, serve_peer, serve_world
from benchmarks.harness import Row, machine, may_lock, publish
from feature_repo.catalog import Catalog
from feature_repo.events import EventLog
from feature_repo.settings import load_settings
from grpc_api import memory
from protos.larder.v1 import scoring_pb2 as pb
from protos.larder.v1 import scoring_pb2_grpc

CANDIDATES = (1, 100, 500)
STREAMS = 256  # calls under way of a connection, as the server allows by itself
OVER_PARTS, TAIL, OVER_SEARCH, OVER_PEER = 1.5, 2.5, 1.3, 20.0  # the bars
WARM_UP, PEER_CALLS = 20, 15
QUEUED = 1_000_000  # calls over which a queue's tail is reckoned
START_S = 900.0  # the peer fills its store first
K = 10
_CHILDREN: dict[str, Callable[[Path], None]] = {"parts": serve_parts.serve, "peer": serve_peer.serve}

Seconds = npt.NDArray[np.float64]


@contextmanager
def child(name: str, core: int) -> Iterator[int]:
    """A process of `_CHILDREN` on that core, and its port."""
    with tempfile.TemporaryDirectory() as folder:
        port_file = Path(folder) / "port"
        command = ["taskset", "-c", str(core), sys.executable, "-m", "benchmarks.serve", "--child", name]
        limits = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
        with subprocess.Popen([*command, "--port-file", str(port_file)], env=os.environ | limits) as process:
            try:
                deadline = time.monotonic() + START_S
                while not (port_file.exists() and port_file.read_text()):
                    if process.poll() is not None or time.monotonic() > deadline:
                        raise SystemExit(f"{name} did not start")
                    time.sleep(0.05)
                yield int(port_file.read_text())
            finally:
                process.terminate()


@dataclass(frozen=True)
class Bench:
    """The worker, its parts, and what to ask for."""

    stub: Any
    parts: grpc.Channel
    ids: list[str]
    user: str
    calls: int

    def part(self, name: str, said: dict[str, Any], sent: int, answered: int) -> Callable[[], float]:
        """Asks for a part: its seconds, or for the empty one those of the call."""
        method = self.parts.unary_unary(f"/{serve_parts.SERVICE}/{name}", None, None)
        message = serve_parts.pack(said, sent, answered)

        def ask() -> float:
            start = time.perf_counter()
            answer = method(message)
            return time.perf_counter() - start if name == "Empty" else serve_parts.seconds(answer)

        return ask

    def against(self, what: str, bar: float, method: Any, request: Any, names: tuple[str, ...], said: Any) -> Row:
        """A method's median over the sum of its parts' medians, call by call in turns."""
        sent, answered = request.ByteSize(), method(request).ByteSize()
        asks = [self.part("Empty", {}, sent, answered), *(self.part(name, said, 0, 8) for name in names)]

        def whole() -> float:
            start = time.perf_counter()
            method(request)
            return time.perf_counter() - start

        taken = np.array([[ask() for ask in (whole, *asks)] for _ in range(WARM_UP + self.calls)])[WARM_UP:]
        ours, *parts = 1e3 * np.median(taken, axis=0)
        sizes = ", ".join(f"{name} {part:.2f}" for name, part in zip(("Empty", *names), parts, strict=True))
        return Row(
            f"{what} over its parts ({sizes})", float(ours), float(sum(parts)), bar, "ms", self.calls, machine(), True
        )

    def predict(self, predictor: str, count: int, user: str | None) -> Row:
        """A row of Predict."""
        ids = self.ids[:count]
        request = pb.PredictRequest(predictors=[predictor], content_ids=ids, user_id=user)
        bar = OVER_PARTS if count == max(CANDIDATES) else float("inf")
        said = {"predictor": predictor, "ids": ids, "user": user}
        return self.against(f"Predict {count}, {predictor}", bar, self.stub.Predict, request, ("Read", "Model"), said)

    def similar(self) -> Row:
        """A row of Similar."""
        asked = [pb.WeightedEmbedding(name=serve_world.SEARCHED)]
        request = pb.SimilarRequest(content_id=self.ids[0], k=K, embeddings=asked)
        said = {"embedding": serve_world.SEARCHED, "id": self.ids[0], "k": K}
        return self.against(f"Similar k={K}", OVER_SEARCH, self.stub.Similar, request, ("Search",), said)

    def tail(self, port: int, process: int, predictor: str, user: str | None, seconds: float) -> list[Row]:
        """p99 over p50 of calls that arrive at random, at half the rate that the worker can do; and what that comes to
        for any worker that does one call after the other.
        """
        request = pb.PredictRequest(predictors=[predictor], content_ids=self.ids, user_id=user)
        payload = request.SerializeToString()
        best = asyncio.run(overload.peak(port, process, payload, seconds / 3)).goodput
        found = asyncio.run(overload.overload(port, process, payload, best / 2, seconds, 10.0))
        middle, calls = 1e3 * float(np.median(found.latencies)), len(found.latencies)
        what = f"Predict {len(self.ids)}, {predictor}, p99 over p50 at half of {best:.0f} answers/s"
        queue = queues.tail(queues.one_by_one(best / 2, 1 / found.thrift, QUEUED))
        took = f"{1e3 / found.thrift:.2f} ms of CPU each"
        return [
            Row(what, 1e3 * found.p99, middle, TAIL, "ms", calls, machine(), True),
            Row(
                f"{what}: over a queue's, {took}",
                1e3 * found.p99 / middle,
                queue,
                float("inf"),
                "",
                calls,
                machine(),
                True,
            ),
        ]

    def against_peer(self, port: int) -> Row:
        """Candidates a second that one caller gets."""
        request = pb.PredictRequest(predictors=["popularity"], content_ids=self.ids)
        body, connection = json.dumps({"content_ids": self.ids}), HTTPConnection("127.0.0.1", port, timeout=60)

        def post() -> Any:
            connection.request("POST", "/predict", body, {"Content-Type": "application/json"})
            return json.load(connection.getresponse())

        np.testing.assert_allclose(post()["scores"], self.stub.Predict(request).results[0].scores, atol=1e-5)
        pairs = [(_timed(lambda: self.stub.Predict(request)), _timed(post)) for _ in range(PEER_CALLS)]
        connection.close()
        taken = np.array(pairs)
        ours, peer = len(self.ids) / np.median(taken, axis=0)
        what = "Predict 500, popularity, over FastAPI and stock Feast on SQLite"
        return Row(what, float(ours), float(peer), OVER_PEER, "candidates/s", PEER_CALLS, machine())


def _timed(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def busiest(count: int = 1) -> list[str]:
    """The users of the longest histories, whose last events are all told."""
    log = EventLog(load_settings().interactions_dir).scan()
    return log.group_by("user_id").len().sort("len", "user_id").tail(count).collect()["user_id"].to_list()


def measure(calls: int, seconds: float) -> list[Row]:
    """All claims."""
    with Catalog(load_settings().catalog) as catalog:
        every = [item.content.content_id for item in islice(catalog.items(), 20 * max(CANDIDATES))]
    ids = [every[row] for row in np.random.default_rng(0).permutation(len(every))[: max(CANDIDATES)]]
    core, [user] = max(os.sched_getaffinity(0)), busiest()
    with (
        overload.server({core}, STREAMS) as (process, port),
        child("parts", core) as parts_port,
        grpc.insecure_channel(f"127.0.0.1:{port}") as channel,
        grpc.insecure_channel(f"127.0.0.1:{parts_port}") as parts,
    ):
        stub: Any = scoring_pb2_grpc.ScoringServiceStub(channel)  # type: ignore[no-untyped-call]  # generated
        bench = Bench(stub, parts, ids, user, calls)
        of = {"popularity": None, "interest": user}
        rows = [bench.predict(predictor, count, who) for predictor, who in of.items() for count in CANDIDATES]
        rows.append(bench.similar())
        for predictor, who in of.items():
            rows += bench.tail(port, process.pid, predictor, who, seconds)
        with child("peer", core) as peer_port:
            rows.append(bench.against_peer(peer_port))
    return rows


def main() -> None:
    """Make the workspace, measure and publish."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path, default=Path(".larder/serve"))
    parser.add_argument("--contents", type=int, default=100_000)
    parser.add_argument("--users", type=int, default=10_000)
    parser.add_argument("--calls", type=int, default=300)
    parser.add_argument("--seconds", type=float, default=30.0, help="of the load at half the peak")
    parser.add_argument("--child", choices=list(_CHILDREN), help=argparse.SUPPRESS)
    parser.add_argument("--port-file", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        if may_lock():
            memory.lock()
        _CHILDREN[options.child](options.port_file)
        return
    os.environ["LARDER_HOME"] = str(options.home.absolute())
    serve_world.make(load_settings(), options.contents, options.users)
    publish("serve", measure(options.calls, options.seconds))


if __name__ == "__main__":
    main()
