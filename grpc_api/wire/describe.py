"""Describe."""

from __future__ import annotations

from dataclasses import asdict

from grpc_api.calls import Call
from grpc_api.messages.describe import Description
from grpc_api.service import ScoringService
from protos.larder.v1 import scoring_pb2 as pb


def answer(service: ScoringService, request: pb.DescribeRequest, call: Call) -> pb.DescribeResponse:
    """What is loaded."""
    return to_proto(service.describe())


def to_proto(found: Description) -> pb.DescribeResponse:
    """Every field has the name that the message gives it."""
    return pb.DescribeResponse(
        release=found.release,
        predictors=[pb.Predictor(**asdict(p)) for p in found.predictors],
        embeddings=[pb.Embedding(**asdict(e)) for e in found.embeddings],
        indexes=[pb.Index(**asdict(i)) for i in found.indexes],
        limits=pb.Limits(**asdict(found.limits)),
        variants=[pb.Variant(**asdict(v)) for v in found.variants],
    )
