"""Filters, which several requests have."""

from __future__ import annotations

from collections.abc import Iterable

from grpc_api.messages.filters import AnyOf, Filter, NoneOf, NumberRange
from protos.larder.v1 import scoring_pb2 as pb


def filters(said: Iterable[pb.Filter]) -> tuple[Filter, ...]:
    """The conditions, in order."""
    return tuple(Filter(one.field, _condition(one)) for one in said)


def to_proto(one: Filter) -> pb.Filter:
    """A condition as a message."""
    match one.condition:
        case AnyOf(texts):
            return pb.Filter(field=one.field, any_of=pb.TextSet(values=texts))
        case NoneOf(texts):
            return pb.Filter(field=one.field, none_of=pb.TextSet(values=texts))
        case NumberRange(at_least, below):
            return pb.Filter(field=one.field, range=pb.NumberRange(at_least=at_least, below=below))
    return pb.Filter(field=one.field)


def _condition(said: pb.Filter) -> AnyOf | NoneOf | NumberRange | None:
    match said.WhichOneof("condition"):
        case "any_of":
            return AnyOf(tuple(said.any_of.values))
        case "none_of":
            return NoneOf(tuple(said.none_of.values))
        case "range":
            ends = said.range
            return NumberRange(
                ends.at_least if ends.HasField("at_least") else None, ends.below if ends.HasField("below") else None
            )
    return None
