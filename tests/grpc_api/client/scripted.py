"""A server that answers as it is told, and both clients of it as one function."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, NamedTuple

import grpc
from grpc_status import rpc_status

from feature_repo.errors import LarderError
from grpc_api.client import AsyncScorer, Scorer
from grpc_api.errors import to_status
from protos.larder.v1 import scoring_pb2 as pb
from protos.larder.v1 import scoring_pb2_grpc

Ask = Callable[..., Any]


def ask_sync(
    address: str, method: str, *given: Any, client: dict[str, Any], options: dict[str, Any], **named: Any
) -> Any:
    with Scorer(address, **client) as scorer:
        return getattr(scorer.with_options(**options), method)(*given, **named)


def ask_async(
    address: str, method: str, *given: Any, client: dict[str, Any], options: dict[str, Any], **named: Any
) -> Any:
    async def go() -> Any:
        async with AsyncScorer(address, **client) as scorer:
            return await getattr(scorer.with_options(**options), method)(*given, **named)

    return asyncio.run(go())


ROUNDING_S = 0.1  # a deadline travels rounded up by as much as this, where it is 100 s or less


class Heard(NamedTuple):
    """A call, as the server saw it."""

    at: float
    peer: str
    metadata: dict[str, str]
    remaining_s: float
    request: Any


class Scripted(scoring_pb2_grpc.ScoringServiceServicer):
    """Takes what is next in `script` for each call: an error to answer with, or a release to answer from.

    After the script all is well, and the release is "r1". Predict scores content cN with N.
    """

    def __init__(self, candidates: int = 3) -> None:
        self.script: Sequence[LarderError | grpc.StatusCode | str] = ()
        self.calls: dict[str, list[Heard]] = {"Describe": [], "Predict": []}
        self.limits = pb.Limits(candidates=candidates, raw_contents=2, payload_bytes=4096)
        self.port = 0

    def Describe(self, request: pb.DescribeRequest, context: grpc.ServicerContext) -> pb.DescribeResponse:  # noqa: N802
        release = "r1" if len(self.calls["Predict"]) else self._next("Describe", request, context)
        return pb.DescribeResponse(release=release, limits=self.limits)

    def Predict(self, request: pb.PredictRequest, context: grpc.ServicerContext) -> pb.PredictResponse:  # noqa: N802
        release = self._next("Predict", request, context)
        ids = [*request.content_ids, *(raw.content_id for raw in request.raw_contents)]
        if len(ids) > self.limits.candidates or len(request.raw_contents) > self.limits.raw_contents:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "content_ids: too many")
        scores = pb.PredictorScores(
            predictor="popularity",
            statuses=[pb.STATUS_OK] * len(ids),
            scores=[float(one[1:]) for one in ids],
            class_count=2,
            class_probabilities=[0.5] * 2 * len(ids),
            classes=[0] * len(ids),
            missing_features=[pb.MissingFeature(name=ids[-1][-1], rows=[len(ids) - 1])],
        )
        return pb.PredictResponse(release=release, request_id="server's", content_ids=ids, results=[scores])

    def _next(self, method: str, request: Any, context: grpc.ServicerContext) -> str:
        said: dict[str, Any] = dict(context.invocation_metadata())
        self.calls[method].append(
            Heard(time.monotonic(), context.peer(), said, context.time_remaining() or 0.0, request)
        )
        step, *self.script = self.script or ("r1",)
        if isinstance(step, LarderError):
            context.abort_with_status(rpc_status.to_status(to_status(step, method, "id")))
        if isinstance(step, grpc.StatusCode):
            context.abort(step, "as told")
        assert isinstance(step, str)
        return step


@contextmanager
def scripted(candidates: int = 3) -> Iterator[Scripted]:
    """The server, on a free port."""
    servicer = Scripted(candidates)
    server = grpc.server(ThreadPoolExecutor(8))
    scoring_pb2_grpc.add_ScoringServiceServicer_to_server(servicer, server)  # type: ignore[no-untyped-call]  # generated
    servicer.port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield servicer
    finally:
        server.stop(0).wait()
