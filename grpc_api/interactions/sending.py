"""The client's side of LogInteraction: sends events, and after a break sends again what was not acknowledged."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from queue import SimpleQueue
from typing import Any

import grpc

from feature_repo.contracts import Event
from feature_repo.errors import DeadlineError, LarderError, OverloadedError, UnavailableError
from grpc_api.errors import from_status
from grpc_api.messages.events import Acknowledged
from grpc_api.wire import events as wire
from protos.larder.v1 import scoring_pb2 as pb

BATCH = 500  # events to a message
WINDOW = 8  # messages that may be without an acknowledgement
STREAM_S = 60.0  # that a stream may live: a server that hangs is left for another
PAUSE_S = (0.1, 2.0)  # before a new stream: first, and at most

_RETRIED = (UnavailableError, OverloadedError, DeadlineError)

Open = Callable[[Iterator[pb.LogInteractionRequest]], Any]


def send(open_stream: Open, events: Iterable[Event], address: str, patience_s: float) -> Iterator[Acknowledged]:
    """Send events in messages numbered by how many events were sent; yields every acknowledgement.

    A stream that breaks is opened again; events that the server had recorded then come back as duplicates. Raises what
    broke it once there was no acknowledgement for `patience_s` seconds, and at once what trying again does not help.
    """
    messages = _messages(events)
    unheard: deque[pb.LogInteractionRequest] = deque()
    last_heard, pause_s = time.monotonic(), PAUSE_S[0]
    while True:
        error: LarderError = UnavailableError(f"{address} ended the stream: try again")
        try:
            for said in _one_stream(open_stream, messages, unheard):
                last_heard, pause_s = time.monotonic(), PAUSE_S[0]
                yield said
        except grpc.RpcError as broken:
            error = from_status(broken, address)
        else:
            if not unheard:
                return
        if not isinstance(error, _RETRIED) or time.monotonic() - last_heard > patience_s:
            raise error
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, PAUSE_S[1])


def _one_stream(
    open_stream: Open, messages: Iterator[pb.LogInteractionRequest], unheard: deque[pb.LogInteractionRequest]
) -> Iterator[Acknowledged]:
    """Send what is unheard of and then more, until all is acknowledged or the stream ends."""
    outbox: SimpleQueue[pb.LogInteractionRequest | None] = SimpleQueue()
    for message in unheard:
        outbox.put(message)
    answers = open_stream(iter(outbox.get, None))
    try:
        while True:
            for message in islice(messages, WINDOW - len(unheard)):
                unheard.append(message)
                outbox.put(message)
            if not unheard or (said := next(answers, None)) is None:
                return
            while unheard and unheard[0].offset <= said.offset:
                unheard.popleft()
            yield wire.acknowledged(said)
    finally:
        outbox.put(None)  # the thread of gRPC that reads it ends
        answers.cancel()


def _messages(events: Iterable[Event]) -> Iterator[pb.LogInteractionRequest]:
    source, sent = iter(events), 0
    while batch := list(islice(source, BATCH)):
        sent += len(batch)
        yield wire.request(sent, batch)
