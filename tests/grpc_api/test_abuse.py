"""Callers that are slow, silent, broken or hostile: the server rids itself of them, and the others notice nothing."""

from __future__ import annotations

import contextlib
import random
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from feature_repo.errors import DeadlineError, OverloadedError
from feature_repo.settings import Settings
from grpc_api import handlers, transport
from grpc_api.calls import Call
from grpc_api.client import Scorer
from grpc_api.errors import from_status
from grpc_api.rpcs import UNARY
from predictors.loaded import LoadedRelease
from protos.larder.v1 import scoring_pb2 as pb
from protos.larder.v1 import scoring_pb2_grpc
from tests.grpc_api.http2 import (
    CANCEL,
    DATA,
    END_STREAM,
    ENHANCE_YOUR_CALM,
    GOAWAY,
    HEADERS,
    PING,
    PREFACE,
    RST_STREAM,
    SETTINGS,
    closed,
    connect,
    frame,
    frames,
    headers,
    message,
)
from tests.grpc_api.parts import TableStore, until
from tests.grpc_api.running import RunningServer, running

PREDICT = UNARY["Predict"].path
HELLO = PREFACE + frame(SETTINGS)
WAITS = {
    "nothing": b"",
    "half a preface": PREFACE[:10],
    "a preface alone": PREFACE,
    "half a frame": PREFACE + frame(SETTINGS)[:4],
}


@pytest.fixture
def server(settings: Settings, release: LoadedRelease, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningServer]:
    monkeypatch.setattr(transport, "HANDSHAKE_S", 1.0)
    with running(settings, release) as started:
        yield started


@pytest.fixture
def others(scorer: Scorer) -> Iterator[None]:
    """Somebody else calls the server all the time, and must have been answered each time."""
    failed: list[str] = []
    answered: list[int] = []
    stop = threading.Event()

    def call() -> None:
        while not stop.is_set():
            try:
                answered.append(len(scorer.predict(["c01", "c02"])))
            except Exception as error:
                failed.append(repr(error))

    thread = threading.Thread(target=call)
    thread.start()
    try:
        yield
        count = len(answered)
        assert until(lambda: len(answered) > count + 2), "the others are still answered"
    finally:
        stop.set()
        thread.join()
    assert not failed
    assert set(answered) == {2}


@pytest.mark.usefixtures("others")
class TestOthersNoticeNothing:
    @pytest.mark.parametrize("said", WAITS.values(), ids=WAITS)
    def test_of_callers_that_never_finish_their_greeting(self, server: RunningServer, said: bytes) -> None:
        with contextlib.ExitStack() as stack:
            lorises = [stack.enter_context(connect(server.port, said)) for _ in range(50)]
            assert all(map(closed, lorises))

    def test_of_calls_that_never_send_their_message(self, server: RunningServer) -> None:
        calls = b"".join(headers(PREDICT, stream) for stream in range(1, 101, 2))
        parts = b"".join(frame(DATA, message(100, b"half"), 0, stream) for stream in range(1, 101, 4))
        with contextlib.ExitStack() as stack:
            for _ in range(5):
                stack.enter_context(connect(server.port, HELLO + calls + parts))
            with Scorer(f"127.0.0.1:{server.port}") as another:
                for _ in range(50):
                    assert another.predict(["c03"])[0].score == 3

    def test_of_noise(self, server: RunningServer) -> None:
        chance = random.Random(0)
        for number in range(40):
            noise = chance.randbytes(chance.randrange(1, 2000))
            with connect(server.port, (HELLO if number % 2 else b"") + noise) as caller:
                caller.shutdown(socket.SHUT_WR)
                assert closed(caller)

    def test_of_callers_that_close_their_half_of_the_line(self, server: RunningServer) -> None:
        begun = HELLO + headers(PREDICT, 1) + frame(DATA, message(100, b"half"), 0, 1)
        for said in (HELLO, HELLO + headers(PREDICT, 1), begun):
            with connect(server.port, said) as caller:
                caller.shutdown(socket.SHUT_WR)
                assert closed(caller)

    def test_of_a_message_that_claims_to_be_huge(self, server: RunningServer) -> None:
        body = message(2**31, b"x" * 100)
        with connect(server.port, HELLO + headers(PREDICT, 1) + frame(DATA, body, END_STREAM, 1)) as caller:
            answer = next(payload for kind, stream, payload in frames(caller) if kind == HEADERS and stream == 1)
        assert b"grpc-status" in answer
        assert str(grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]).encode() in answer

    def test_of_calls_that_are_begun_and_taken_back(self, server: RunningServer) -> None:
        """The rapid reset attack, CVE-2023-44487."""
        resets = b"".join(
            headers(PREDICT, stream) + frame(RST_STREAM, CANCEL, 0, stream) for stream in range(1, 2001, 2)
        )
        with contextlib.suppress(ConnectionError), connect(server.port, HELLO + resets) as caller:
            caller.shutdown(socket.SHUT_WR)
            assert closed(caller)

    def test_of_pings_without_end(self, server: RunningServer) -> None:
        with connect(server.port, HELLO) as caller:
            with contextlib.suppress(ConnectionError):
                caller.sendall(frame(PING, bytes(8)) * 50)
            farewell = next(payload for kind, _, payload in frames(caller) if kind == GOAWAY)
        assert int.from_bytes(farewell[4:8], "big") == ENHANCE_YOUR_CALM

    def test_of_bytes_that_are_no_request(self, server: RunningServer) -> None:
        with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            for payload in (b"\xff", b"\n\xff\xff\xff\xff\x7f", b"no protobuf at all"):
                with pytest.raises(grpc.RpcError) as refused:
                    channel.unary_unary(PREDICT, None, None)(payload)
                assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_connections_above_the_limit_are_closed(settings: Settings, release: LoadedRelease) -> None:
    with (
        running(settings.model_copy(update={"max_connections": 3}), release) as server,
        contextlib.ExitStack() as stack,
    ):
        kept = [stack.enter_context(connect(server.port, HELLO)) for _ in range(3)]
        assert all(next(frames(one))[0] == SETTINGS for one in kept)
        assert closed(stack.enter_context(connect(server.port, HELLO)))
        kept[0].close()

        def answered() -> bool:
            with Scorer(f"127.0.0.1:{server.port}") as scorer:
                return scorer.ready()

        assert until(answered), "a place that is free again can be taken"


@pytest.mark.parametrize("leave", ["deadline", "cancel", "hang up"])
def test_work_stops_when_the_caller_is_gone(
    server: RunningServer, store: TableStore, leave: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[Call] = []
    entered = threading.Event()
    told: list[DeadlineError] = []

    def call_of(*said: Any, **more: Any) -> Call:
        calls.append(Call(*said, **more))
        return calls[-1]

    monkeypatch.setattr(handlers, "Call", call_of)

    def wait() -> None:
        if threading.current_thread().name != "scoring":
            return
        entered.set()

        def is_over() -> bool:
            try:
                calls[0].check()
            except DeadlineError as error:
                told.append(error)
            return bool(told)

        until(is_over)

    store.before_read = wait
    payload = b"\n\npopularity\x12\x03c01"
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        call = channel.unary_unary(PREDICT, None, None).future(payload, timeout=0.5 if leave == "deadline" else 60)
        assert entered.wait(30)
        if leave == "cancel":
            call.cancel()  # type: ignore[no-untyped-call]  # its stub has no types
        elif leave == "hang up":
            channel.close()
        assert until(lambda: bool(told))


def test_a_crowd_that_nobody_has_time_to_see_is_cancelled(settings: Settings, release: LoadedRelease) -> None:
    """Unseen, while the server is busy; its own client knows what that means."""

    async def be_busy() -> None:
        time.sleep(1)  # a loop that scores is as deaf

    few = settings.model_copy(update={"max_at_door": 2})
    with running(few, release) as server, grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        predict = scoring_pb2_grpc.ScoringServiceStub(channel).Predict  # type: ignore[no-untyped-call]  # generated
        request = pb.PredictRequest(predictors=["popularity"], content_ids=["c03"])
        assert predict(request).results[0].scores == [3]
        busy = server.begin(be_busy())
        crowd = [predict.future(request) for _ in range(50)]
        said = Counter(one.code() for one in crowd)
        busy.result()
        dropped = next(one.exception() for one in crowd if one.code() is grpc.StatusCode.CANCELLED)
        assert said.keys() == {grpc.StatusCode.OK, grpc.StatusCode.CANCELLED}
        assert said[grpc.StatusCode.CANCELLED] > 40
        assert isinstance(from_status(dropped, "here"), OverloadedError)
        assert predict(request).results[0].scores == [3]
