"""The table of requests with one answer: what each takes and gives, who may ask, and which lane works on it.

gRPC handlers, the gateway's routes and the tables of roles and metrics are all read from here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from google.protobuf.message import Message

from grpc_api.calls import Call
from grpc_api.security.roles import Role
from grpc_api.service import ScoringService
from grpc_api.wire import describe, explain, predict, recommend, similar
from protos.larder.v1 import scoring_pb2 as pb

SERVICE = pb.DESCRIPTOR.services_by_name["ScoringService"].full_name


class Work(StrEnum):
    """The lanes: `encoding` is for requests that run an embedder or explain, so that they hold up no others."""

    SCORING = "scoring"
    ENCODING = "encoding"


def _scoring(_: Any) -> Work:
    return Work.SCORING


def _encoding(_: Any) -> Work:
    return Work.ENCODING


@dataclass(frozen=True, slots=True)
class Rpc:
    """A request with one answer. `answer` is the work of the lane that `work` gives for the request.

    `together` answers several requests of the scoring lane in less time than one after the other; it raises where any
    of them cannot be answered.
    """

    name: str
    role: Role
    request: type[Message]
    answer: Callable[[ScoringService, Any, Call], Message]
    work: Callable[[Any], Work] = _scoring
    together: Callable[[ScoringService, Sequence[Any], Sequence[Call]], Sequence[Message]] | None = None

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
        Rpc("Predict", Role.SCORE, pb.PredictRequest, predict.answer, _predict_work, predict.answer_together),
        Rpc("Similar", Role.SCORE, pb.SimilarRequest, similar.answer, _similar_work),
        Rpc("Recommend", Role.SCORE, pb.RecommendRequest, recommend.answer),
        Rpc("Explain", Role.SCORE, pb.ExplainRequest, explain.answer, _encoding),
        Rpc("Describe", Role.SCORE, pb.DescribeRequest, describe.answer),
    )
}

# Each message of the stream is a call of its own.
PREDICT_STREAM = Rpc(
    "PredictStream",
    Role.SCORE,
    pb.PredictStreamRequest,
    predict.answer_streamed,
    lambda request: _predict_work(request.request),
    predict.answer_streamed_together,
)

LOG_INTERACTION = f"/{SERVICE}/LogInteraction"  # in interactions/

# Who may make which call, streams included.
ROLES: Mapping[str, Role] = {
    **{rpc.path: rpc.role for rpc in (*UNARY.values(), PREDICT_STREAM)},
    LOG_INTERACTION: Role.LOG,
}
