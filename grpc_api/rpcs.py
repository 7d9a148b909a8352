"""The table of requests with one answer: what each takes and gives, who may ask, and which lane works on it.

gRPC handlers, the gateway's routes and the tables of roles and metrics are all read from here. The two calls with
streams, PredictStream and LogInteraction, are in `streams.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from google.protobuf.message import Message

from grpc_api.calls import Call
from grpc_api.service import ScoringService
from grpc_api.wire import describe, predict, similar
from protos.larder.v1 import scoring_pb2 as pb

SERVICE = pb.DESCRIPTOR.services_by_name["ScoringService"].full_name


class Role(StrEnum):
    """What a caller may do."""

    SCORE = "score"
    LOG = "log"
    ADMIN = "admin"


class Work(StrEnum):
    """The lanes: `encoding` is for requests that run an embedder, so that they hold up no others."""

    SCORING = "scoring"
    ENCODING = "encoding"


def _scoring(_: Any) -> Work:
    return Work.SCORING


@dataclass(frozen=True, slots=True)
class Rpc:
    """A request with one answer. `answer` runs on a thread of the lane that `work` gives for the request."""

    name: str
    role: Role
    request: type[Message]
    answer: Callable[[ScoringService, Any, Call], Message]
    work: Callable[[Any], Work] = _scoring

    @property
    def path(self) -> str:
        """As gRPC names it."""
        return f"/{SERVICE}/{self.name}"


def _predict_work(request: pb.PredictRequest) -> Work:
    return Work.ENCODING if request.raw_contents else Work.SCORING


def _similar_work(request: pb.SimilarRequest) -> Work:
    return Work.ENCODING if request.WhichOneof("query") in ("text", "image") else Work.SCORING


UNARY: Mapping[str, Rpc] = {
    rpc.name: rpc
    for rpc in (
        Rpc("Predict", Role.SCORE, pb.PredictRequest, predict.answer, _predict_work),
        Rpc("Similar", Role.SCORE, pb.SimilarRequest, similar.answer, _similar_work),
        Rpc("Describe", Role.SCORE, pb.DescribeRequest, describe.answer),
    )
}
