"""LogInteraction."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from google.protobuf.message import DecodeError
from google.protobuf.timestamp_pb2 import Timestamp

from feature_repo.contracts import Event, EventType, Interaction
from feature_repo.errors import InputError
from grpc_api.messages.events import Acknowledged, Rejected, Sent
from protos.larder.v1 import scoring_pb2 as pb

AHEAD = timedelta(minutes=10)  # how far a caller's clock may be before ours
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LONGEST = 256

_NUMBERS: dict[EventType, Any] = {kind: pb.EventType.Value(f"EVENT_TYPE_{kind.name}") for kind in EventType}
_TYPES: dict[int, EventType] = {number: kind for kind, number in _NUMBERS.items()}


def read(payload: bytes, most: int, now: datetime) -> Sent:
    """A request of at most so many events. Raises InputError where it is none; events amiss are refused one by one."""
    try:
        request = pb.LogInteractionRequest.FromString(payload)
    except DecodeError as error:
        raise InputError(f"request: is no {pb.LogInteractionRequest.DESCRIPTOR.full_name}") from error
    if len(request.interactions) > most:
        raise InputError(f"interactions: {len(request.interactions)} are more than the {most} of one message")
    events, rejected = [], []
    for said in request.interactions:
        try:
            events.append(_event(said, now))
        except InputError as error:
            rejected.append(Rejected(said.event_id, str(error)))
    return Sent(request.offset, events, tuple(rejected))


def acknowledgement(found: Acknowledged) -> pb.LogInteractionResponse:
    """The answer to one request."""
    return pb.LogInteractionResponse(
        offset=found.offset,
        accepted=found.accepted,
        duplicates=found.duplicates,
        rejected=[pb.RejectedInteraction(event_id=one.event_id, reason=one.reason) for one in found.rejected],
    )


def acknowledged(said: pb.LogInteractionResponse) -> Acknowledged:
    """The answer, at the client."""
    rejected = tuple(Rejected(one.event_id, one.reason) for one in said.rejected)
    return Acknowledged(said.offset, said.accepted, said.duplicates, rejected)


def request(offset: int, events: Sequence[Event]) -> pb.LogInteractionRequest:
    """The request, at the client."""
    return pb.LogInteractionRequest(offset=offset, interactions=map(_to_proto, events))


def _to_proto(event: Event) -> pb.Interaction:
    said = event.interaction
    moment = Timestamp()
    moment.FromDatetime(said.timestamp)
    return pb.Interaction(
        event_id=event.event_id,
        user_id=said.user_id,
        content_id=said.content_id,
        event=_NUMBERS[said.event],
        timestamp=moment,
        value=said.value,
        request_id=event.request_id,
    )


def _event(said: pb.Interaction, now: datetime) -> Event:
    for field in ("event_id", "user_id", "content_id"):
        if not 0 < len(getattr(said, field)) <= _LONGEST:
            raise InputError(f"{field}: give 1 to {_LONGEST} characters")
    if len(said.request_id) > _LONGEST:
        raise InputError(f"request_id: has more than {_LONGEST} characters")
    if said.event not in _TYPES:
        raise InputError("event: is none of the types of events")
    value = said.value if said.HasField("value") else 1.0
    if not (math.isfinite(value) and value >= 0):
        raise InputError("value: give a number from 0")
    interaction = Interaction(said.user_id, said.content_id, _TYPES[said.event], _time(said, now), value)
    return Event(said.event_id, interaction, said.request_id if said.HasField("request_id") else None)


def _time(said: pb.Interaction, now: datetime) -> datetime:
    if not said.HasField("timestamp"):
        return now
    try:
        moment = said.timestamp.ToDatetime(UTC)
    except ValueError as error:
        raise InputError(f"timestamp: {error}") from error
    if not _EPOCH <= moment <= now + AHEAD:
        raise InputError("timestamp: lies before 1970 or in the future")
    return moment
