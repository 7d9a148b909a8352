"""Predict and Similar over gRPC against an empty handler with messages of the same sizes, call by call in turns.

Both servers share one process, so that a busy machine slows both alike; this process is the client of both.

Usage: LARDER_HOME=<workspace of a finished `larder demo`> python -m benchmarks.serve [--calls 300]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import numpy.typing as npt

from benchmarks.harness import Row, machine, publish
from feature_repo.catalog import Catalog
from feature_repo.settings import load_settings
from feature_repo.store import Store
from grpc_api.server import serve
from predictors.release import load
from protos.larder.v1 import scoring_pb2 as pb
from protos.larder.v1 import scoring_pb2_grpc

CANDIDATES = {1: 0.10, 100: 0.05, 500: 0.02}  # contents in a request -> least share of the empty handler's calls/s
SIMILAR_FLOOR = 0.20
PERCENTILES = (50, 99)
WARM_UP = 20
EMPTY = "/benchmarks.Empty/Answer"
START_S = 120.0

Seconds = npt.NDArray[np.float64]


class _Empty(grpc.GenericRpcHandler):  # type: ignore[type-arg]  # only its stub has parameters
    """Answers with as many zero bytes as the first four bytes of the request say."""

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any] | None:
        """The one handler there is, whatever the method."""
        return grpc.unary_unary_rpc_method_handler(lambda request, _: bytes(int.from_bytes(request[:4], "big")))


def run_servers(folder: Path) -> None:
    """Serve the current release and the empty handler until SIGTERM; `folder` then holds both ports."""
    settings = load_settings(port=0)
    empty = grpc.server(ThreadPoolExecutor(8), handlers=[_Empty()])
    port = empty.add_insecure_port("127.0.0.1:0")
    empty.start()
    (folder / "empty").write_text(str(port))
    with Catalog(settings.catalog) as catalog:
        serve(settings, load(settings, catalog, Store(settings)), port_file=folder / "scoring")
    empty.stop(None)


@contextmanager
def servers() -> Iterator[tuple[grpc.Channel, grpc.Channel]]:
    """Channels to the scoring server and to the empty one, in a process of their own."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with subprocess.Popen([sys.executable, "-m", "benchmarks.serve", "--servers", name]) as process:
            try:
                deadline = time.monotonic() + START_S
                while not (folder / "scoring").exists():
                    if process.poll() is not None or time.monotonic() > deadline:
                        raise SystemExit("the servers did not start: is LARDER_HOME a finished `larder demo`?")
                    time.sleep(0.05)
                ports = [(folder / part).read_text().strip() for part in ("scoring", "empty")]
                scoring, empty = (grpc.insecure_channel(f"127.0.0.1:{port}") for port in ports)
                with scoring, empty:
                    yield scoring, empty
            finally:
                process.terminate()


def in_turns(ours: Callable[[], object], peer: Callable[[], object], calls: int) -> tuple[Seconds, Seconds]:
    """Seconds of each call, both (calls,), after a warm-up."""
    taken = np.empty((WARM_UP + calls, 2))
    for row in taken:
        for column, call in enumerate((ours, peer)):
            start = time.perf_counter()
            call()
            row[column] = time.perf_counter() - start
    return taken[WARM_UP:, 0], taken[WARM_UP:, 1]


def compare(
    what: str, floor: float, method: Callable[[Any], Any], request: Any, empty: grpc.Channel, calls: int
) -> list[Row]:
    """A row for each percentile, as the calls a second that one caller gets at that latency."""
    sent, answered = request.ByteSize(), method(request).ByteSize()
    message = answered.to_bytes(4, "big") + bytes(max(0, sent - 4))
    bare = empty.unary_unary(EMPTY, None, None)
    ours, peer = in_turns(lambda: method(request), lambda: bare(message), calls)
    return [
        Row(
            f"{what}, p{percentile} (ours {1e3 * np.percentile(ours, percentile):.2f} ms)",
            float(1 / np.percentile(ours, percentile)),
            float(1 / np.percentile(peer, percentile)),
            floor,
            "calls/s",
            calls,
            machine(),
        )
        for percentile in PERCENTILES
    ]


def main() -> None:
    """Measure and publish."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=300)
    parser.add_argument("--servers", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.servers:
        run_servers(options.servers)
        return
    with Catalog(load_settings().catalog) as catalog:
        ids = [item.content.content_id for item in islice(catalog.items(), max(CANDIDATES))]
    if len(ids) < max(CANDIDATES):
        raise SystemExit(f"{len(ids)} contents in the workspace, {max(CANDIDATES)} are needed: run a larger demo")
    rows: list[Row] = []
    with servers() as (scoring, empty):
        stub: Any = scoring_pb2_grpc.ScoringServiceStub(scoring)  # type: ignore[no-untyped-call]  # generated
        for count, floor in CANDIDATES.items():
            request = pb.PredictRequest(predictors=["popularity"], content_ids=ids[:count])
            rows += compare(f"Predict {count} contents", floor, stub.Predict, request, empty, options.calls)
        request_similar = pb.SimilarRequest(content_id=ids[0], k=10)
        rows += compare("Similar k=10", SIMILAR_FLOOR, stub.Similar, request_similar, empty, options.calls)
    publish("serve", rows)


if __name__ == "__main__":
    main()
