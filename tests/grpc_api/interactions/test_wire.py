"""Which events are taken from the wire."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import settings as tries
from hypothesis import strategies as st

from feature_repo.contracts import Event, EventType, Interaction
from feature_repo.errors import InputError
from grpc_api.wire import events as wire
from protos.larder.v1 import scoring_pb2 as pb

NOW = datetime(2025, 6, 1, tzinfo=UTC)
GOOD: dict[str, Any] = {"event_id": "e", "user_id": "u", "content_id": "c", "event": pb.EVENT_TYPE_LIKE}


def sent(*interactions: pb.Interaction, most: int = 100) -> tuple[list[Event], list[str]]:
    payload = pb.LogInteractionRequest(offset=7, interactions=interactions).SerializeToString()
    found = wire.read(payload, most, NOW)
    assert found.offset == 7
    return found.events, [one.reason for one in found.rejected]


def test_what_is_left_out() -> None:
    [event], [] = sent(pb.Interaction(**GOOD))
    assert event == Event("e", Interaction("u", "c", EventType.LIKE, NOW, 1.0), None)


NAMES = st.text(min_size=1, max_size=20)
EVENTS = st.builds(
    Event,
    NAMES,
    st.builds(
        Interaction,
        NAMES,
        NAMES,
        st.sampled_from(list(EventType)),
        st.datetimes(datetime(1970, 1, 1), datetime(2025, 5, 1), timezones=st.just(UTC)),
        st.floats(0, width=32, allow_infinity=False),
    ),
    st.none() | NAMES,
)


@given(st.lists(EVENTS, max_size=5))
def test_arrive_as_they_were_sent(events: list[Event]) -> None:
    found = wire.read(wire.request(3, events).SerializeToString(), 100, NOW)
    assert (found.events, found.rejected) == (events, ())


@pytest.mark.parametrize(
    ("amiss", "reason"),
    [
        ({"event_id": ""}, "event_id: "),
        ({"user_id": ""}, "user_id: "),
        ({"content_id": "c" * 257}, "content_id: "),
        ({"request_id": "r" * 257}, "request_id: "),
        ({"event": pb.EVENT_TYPE_UNSPECIFIED}, "event: "),
        ({"event": 99}, "event: "),
        ({"value": float("nan")}, "value: "),
        ({"value": float("inf")}, "value: "),
        ({"value": -1}, "value: "),
        ({"timestamp": Timestamp(seconds=-1)}, "timestamp: "),
        ({"timestamp": Timestamp(seconds=2**62)}, "timestamp: "),
        ({"timestamp": Timestamp(nanos=-5)}, "timestamp: "),
        ({"timestamp": NOW + wire.AHEAD + timedelta(seconds=1)}, "timestamp: "),
    ],
)
def test_one_that_is_amiss_is_refused_and_the_others_are_taken(amiss: dict[str, Any], reason: str) -> None:
    events, [said] = sent(pb.Interaction(**GOOD), pb.Interaction(**GOOD | amiss), pb.Interaction(**GOOD))
    assert len(events) == 2
    assert said.startswith(reason)


def test_too_many_at_once() -> None:
    with pytest.raises(InputError, match="interactions: 3 are more than the 2"):
        sent(*[pb.Interaction(**GOOD)] * 3, most=2)


HOSTILE = st.builds(
    pb.Interaction,
    event_id=st.text(max_size=300),
    user_id=st.text(max_size=300),
    content_id=st.text(max_size=300),
    event=st.integers(-(2**31), 2**31 - 1),
    timestamp=st.none()
    | st.builds(Timestamp, seconds=st.integers(-(2**63), 2**63 - 1), nanos=st.integers(-(2**31), 2**31 - 1)),
    value=st.none() | st.floats(width=32),
    request_id=st.none() | st.text(max_size=300),
)


@tries(deadline=None)
@given(st.lists(HOSTILE, max_size=5))
def test_whatever_comes_is_taken_or_refused(said: list[pb.Interaction]) -> None:
    events, reasons = sent(*said)
    assert len(events) + len(reasons) == len(said)
    assert all(reason.partition(": ")[0] in pb.Interaction.DESCRIPTOR.fields_by_name for reason in reasons)


@given(st.binary(max_size=200))
def test_bytes_that_are_no_message(said: bytes) -> None:
    with suppress(InputError):  # nothing else, that is
        wire.read(said, 100, NOW)
