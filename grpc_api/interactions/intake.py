"""Where streams hand their messages to the one thread that records them, many to a commit."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from queue import Empty, SimpleQueue

from feature_repo.errors import InputError, LarderError, OverloadedError, StateError, UnavailableError
from feature_repo.recorder import Recorder
from grpc_api.messages.events import Acknowledged, Sent
from grpc_api.wire import events as wire

log = logging.getLogger(__name__)

GROUP_BYTES = 256 * 1024  # of messages to a commit, some 3,000 events: more would hold up those that come after
WAITING_BYTES = 16 * 2**20
RETRY_S = 1.0

Answer = asyncio.Future[Acknowledged]


@dataclass(frozen=True, slots=True)
class _Message:
    payload: bytes
    answer: Answer


class Intake:
    """Records messages; `record` and `close` belong to the server's event loop, the recorder to a thread of its own."""

    def __init__(self, open_recorder: Callable[[], Recorder], most_events: int) -> None:
        self._open_recorder = open_recorder
        self._most_events = most_events
        self._waiting: SimpleQueue[_Message | None] = SimpleQueue()
        self._waiting_bytes = 0
        self.events: Counter[str] = Counter()  # by what became of them
        self._thread = threading.Thread(target=self._work, name="intake", daemon=True)

    def start(self) -> None:
        """Open the log, bring online what was left over, and take messages; those that come earlier wait."""
        self._loop = asyncio.get_running_loop()
        self._thread.start()

    def record(self, payload: bytes) -> Answer:
        """What becomes of a message; messages are recorded in the order of the calls.

        The future raises InputError for a message that is none, OverloadedError where too much waits, and
        UnavailableError where the log or the store cannot be written to: then nothing is acknowledged.
        """
        answer: Answer = self._loop.create_future()
        if self._waiting_bytes + len(payload) > WAITING_BYTES:
            answer.set_exception(OverloadedError("more events come in than can be kept: send them later", RETRY_S))
            return answer
        self._waiting_bytes += len(payload)
        self._waiting.put(_Message(payload, answer))
        return answer

    async def close(self) -> None:
        """Record what waits, then let go of the log."""
        if self._thread.is_alive():
            self._waiting.put(None)
            await asyncio.to_thread(self._thread.join)

    def _tell(self, group: list[_Message], outcomes: list[Acknowledged | Exception]) -> None:
        for message, outcome in zip(group, outcomes, strict=True):
            if isinstance(outcome, Acknowledged):
                self.events.update(outcome.counts)
            self._waiting_bytes -= len(message.payload)
            if message.answer.done():  # its caller is gone
                continue
            if isinstance(outcome, Exception):
                message.answer.set_exception(outcome)
            else:
                message.answer.set_result(outcome)

    # -- on the thread

    def _work(self) -> None:
        recorder = self._open()
        while group := self._next_group():
            sent = [self._read(message.payload) for message in group]
            recorder = recorder or self._open()
            outcomes = _outcomes(recorder, sent)
            self._loop.call_soon_threadsafe(self._tell, group, outcomes)
        if recorder is not None:
            recorder.close()

    def _open(self) -> Recorder | None:
        """The recorder, once it has caught up; None where that fails, to be tried again with the next messages."""
        recorder = None
        try:
            recorder = self._open_recorder()
            recorder.catch_up()
        except Exception:
            log.exception("no events can be taken")
            if recorder is not None:
                recorder.close()
            return None
        return recorder

    def _next_group(self) -> list[_Message]:
        """What waits, up to `GROUP_BYTES`, at least one message; empty at the end."""
        group: list[_Message] = []
        size = 0
        while size < GROUP_BYTES:
            try:
                message = self._waiting.get(block=not group)
            except Empty:
                break
            if message is None:
                self._waiting.put(None)  # for the next time
                break
            group.append(message)
            size += len(message.payload)
        return group

    def _read(self, payload: bytes) -> Sent | InputError:
        try:
            return wire.read(payload, self._most_events, datetime.now(UTC))
        except InputError as error:
            return error


def _outcomes(recorder: Recorder | None, sent: list[Sent | InputError]) -> list[Acknowledged | Exception]:
    """Of each message what became of it: all that can be read are recorded at once, or fail together."""
    readable = [one for one in sent if isinstance(one, Sent)]
    try:
        if recorder is None:
            raise StateError("the log is not open")
        fresh = iter(recorder.record([event for one in readable for event in one.events]))
    except LarderError as error:
        log.error("events were not kept: %s", error)  # its message may hold a path, so callers get another
        failed = UnavailableError("events cannot be kept at the moment: send those not acknowledged again later")
        return [failed if isinstance(one, Sent) else one for one in sent]
    except Exception as error:
        return [error if isinstance(one, Sent) else one for one in sent]
    return [_acknowledged(one, fresh) if isinstance(one, Sent) else one for one in sent]


def _acknowledged(sent: Sent, fresh: Iterator[bool]) -> Acknowledged:
    accepted = sum(islice(fresh, len(sent.events)))
    return Acknowledged(sent.offset, accepted, len(sent.events) - accepted, sent.rejected)
