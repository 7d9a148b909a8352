"""Callers that hang up at any moment leave no error in the log."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import struct
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractContextManager
from typing import Any

import grpc
import pytest

from feature_repo.recorder import Recorder
from feature_repo.settings import Settings
from grpc_api import hangups
from grpc_api.client import Scorer
from grpc_api.rpcs import LOG_INTERACTION, PREDICT_STREAM, UNARY
from predictors.loaded import LoadedRelease
from protos.larder.v1 import scoring_pb2 as pb
from tests.grpc_api.http2 import CANCEL, DATA, PREFACE, RST_STREAM, SETTINGS, connect, frame, headers, message
from tests.grpc_api.interactions.taking import Features
from tests.grpc_api.parts import IDS, TableStore, until
from tests.grpc_api.running import RunningServer, running

DEAF = struct.pack(">HI", 4, 0)  # SETTINGS_INITIAL_WINDOW_SIZE: no byte of any answer may be sent (RFC 9113, 6.5.2)
PREDICT = pb.PredictRequest(predictors=["popularity"], content_ids=IDS)
EVENT = pb.Interaction(event_id="e1", user_id="u1", content_id="c01", event="EVENT_TYPE_VIEW")
CALLS = {
    UNARY["Predict"].path: PREDICT.SerializeToString(),
    UNARY["Similar"].path: pb.SimilarRequest(content_id="nobody").SerializeToString(),
    PREDICT_STREAM.path: pb.PredictStreamRequest(request=PREDICT).SerializeToString(),
    LOG_INTERACTION: pb.LogInteractionRequest(offset=1, interactions=[EVENT]).SerializeToString(),
}


@pytest.fixture(autouse=True)
def nothing_is_logged(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    """Nor printed, which gRPC does with what it cannot send; the server has stopped when this is looked at."""
    yield
    assert [r.getMessage() for r in caplog.get_records("call") if r.levelno > logging.INFO] == []
    assert "Traceback" not in capfd.readouterr().err


def serving(settings: Settings, release: LoadedRelease) -> AbstractContextManager[RunningServer]:
    """A server that takes events too."""
    features = Features(settings.home)
    return running(settings, release, lambda: Recorder(settings, features.push))


def test_while_the_answer_is_on_its_way(settings: Settings, release: LoadedRelease) -> None:
    with serving(settings, release) as server:
        for path, payload in CALLS.items():
            streams = range(1, 41, 2)
            begun = b"".join(headers(path, n) + frame(DATA, message(len(payload), payload), 0, n) for n in streams)
            with connect(server.port, PREFACE + frame(SETTINGS, DEAF) + begun) as caller:
                time.sleep(0.3)
                caller.sendall(b"".join(frame(RST_STREAM, CANCEL, 0, n) for n in streams))
            with Scorer(f"127.0.0.1:{server.port}") as another:
                assert another.predict(["c03"])[0].score == 3


def test_at_any_moment(settings: Settings, release: LoadedRelease, store: TableStore) -> None:
    store.before_read = lambda: time.sleep(0.001)
    chance = random.Random(0)
    few = settings.model_copy(update={"max_waiting": 4})
    with serving(few, release) as server, grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        begin: Any = channel  # its stubs want serializers
        for _ in range(25):
            calls: list[Any] = []
            for path, payload in CALLS.items():
                if path in (PREDICT_STREAM.path, LOG_INTERACTION):
                    calls += [begin.stream_stream(path)(iter([payload] * 3)) for _ in range(5)]
                else:
                    calls += [begin.unary_unary(path).future(payload) for _ in range(15)]
            chance.shuffle(calls)
            for call in calls:
                time.sleep(chance.uniform(0, 0.002))
                call.cancel()
        with Scorer(f"127.0.0.1:{server.port}") as another:
            assert until(lambda: another.predict(["c03"])[0].score == 3)


def test_streams_that_outlast_the_server(settings: Settings, release: LoadedRelease) -> None:
    over = threading.Event()

    def held(payload: bytes) -> Iterator[bytes]:
        yield payload
        over.wait(60)

    with contextlib.ExitStack() as stack:
        with serving(settings, release) as server:
            channel: Any = stack.enter_context(grpc.insecure_channel(f"127.0.0.1:{server.port}"))
            for path in (PREDICT_STREAM.path, LOG_INTERACTION):
                assert next(channel.stream_stream(path)(held(CALLS[path])))
        over.set()


def test_a_stream_ends_where_the_server_stops() -> None:
    async def stopping() -> AsyncIterator[bytes]:
        yield b"said"
        raise grpc.aio.InternalError("Server already stopped.")

    async def heard() -> list[bytes]:
        return [message async for message in hangups.reading(stopping())]

    assert asyncio.run(heard()) == [b"said"]


def test_other_errors_of_grpc_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    hangups.log_no_hangups()
    log = logging.getLogger("grpc._cython.cygrpc")
    for error in (grpc.aio.InternalError("nobody there"), grpc.aio.UsageError("a fault")):
        try:
            raise error
        except grpc.aio.BaseError:
            log.exception("told")
    told = [record.exc_info[1] for record in caplog.records if record.exc_info]
    caplog.clear()
    assert [type(error) for error in told] == [grpc.aio.UsageError]
