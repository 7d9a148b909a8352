"""PredictStream over a real socket: order, pipelining, failures inside the stream, a reader that is slow, an end."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import grpc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grpc_api.rpcs import Work
from grpc_api.streams import LOOK_AHEAD
from protos.larder.v1 import scoring_pb2 as pb
from protos.larder.v1 import scoring_pb2_grpc
from tests.grpc_api.parts import IDS, TableStore, until
from tests.grpc_api.running import RunningServer

INVALID = grpc.StatusCode.INVALID_ARGUMENT.value[0]


@pytest.fixture
def stub(server: RunningServer) -> Iterator[scoring_pb2_grpc.ScoringServiceStub]:
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        yield scoring_pb2_grpc.ScoringServiceStub(channel)  # type: ignore[no-untyped-call]  # generated


def asked(*content_ids: str) -> pb.PredictStreamRequest:
    return pb.PredictStreamRequest(
        request=pb.PredictRequest(predictors=["popularity"], content_ids=content_ids, user_id="u1")
    )


def test_answers_come_in_the_order_of_the_requests(stub: scoring_pb2_grpc.ScoringServiceStub) -> None:
    @settings(max_examples=15)
    @given(st.lists(st.lists(st.sampled_from([*IDS, "nobody", ""]), max_size=5), max_size=40))
    def check(requests: list[list[str]]) -> None:
        answers = list(stub.PredictStream(iter([asked(*ids) for ids in requests])))
        assert len(answers) == len(requests)
        for ids, answer in zip(requests, answers, strict=True):
            if not ids or "" in ids:
                assert answer.failure.code == INVALID
                assert answer.failure.message.startswith("content_ids: ")
            else:
                assert answer.response.content_ids == ids

    check()


def test_each_answer_is_that_of_a_predict(stub: scoring_pb2_grpc.ScoringServiceStub) -> None:
    [streamed] = stub.PredictStream(iter([asked(*IDS)]), metadata=(("x-request-id", "mine"),))
    alone = stub.Predict(asked(*IDS).request, metadata=(("x-request-id", "mine.0"),))
    assert streamed.response == alone


def test_what_is_no_request_fails_alone(server: RunningServer) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        method = channel.stream_stream("/larder.v1.ScoringService/PredictStream", None, None)
        payloads = [b"\xff", asked("c01").SerializeToString(), b""]
        answers = [pb.PredictStreamResponse.FromString(answer) for answer in method(iter(payloads))]
    assert [answer.WhichOneof("answer") for answer in answers] == ["failure", "response", "failure"]


def test_requests_are_read_ahead_but_not_without_end(
    server: RunningServer, stub: scoring_pb2_grpc.ScoringServiceStub, store: TableStore
) -> None:
    gate, entered, lane = threading.Event(), threading.Event(), server.server.lanes[Work.SCORING]

    def held() -> None:
        entered.set()
        assert_opened(gate)

    store.before_read = held
    first = stub.Predict.future(asked("c01").request)
    assert entered.wait(30)
    call = stub.PredictStream(iter([asked(*IDS)] * 200))
    assert until(lambda: lane.waiting >= LOOK_AHEAD)
    assert not until(lambda: lane.waiting > LOOK_AHEAD + 2, 0.3)
    gate.set()
    assert [len(answer.response.content_ids) for answer in call] == [len(IDS)] * 200
    assert first.result().content_ids == ["c01"]


def assert_opened(gate: threading.Event) -> None:
    assert gate.wait(30)


def test_the_deadline_of_the_stream_ends_it(
    stub: scoring_pb2_grpc.ScoringServiceStub, store: TableStore, caplog: pytest.LogCaptureFixture
) -> None:
    gate = threading.Event()
    store.before_read = lambda: assert_opened(gate)
    with pytest.raises(grpc.RpcError) as ended:
        list(stub.PredictStream(iter([asked("c01")] * 20), timeout=0.3))
    assert ended.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    store.reads.clear()
    gate.set()
    assert stub.Predict(asked("c01").request).content_ids == ["c01"]
    assert len(store.reads) <= 2, "requests that waited are not worked on any more"
    assert not [record for record in caplog.records if record.levelname in ("ERROR", "WARNING")]


def test_a_caller_that_hangs_up_is_no_error(server: RunningServer, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(5):
        with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            stub = scoring_pb2_grpc.ScoringServiceStub(channel)  # type: ignore[no-untyped-call]  # generated
            answers = stub.PredictStream(iter([asked(*IDS)] * 200))
            next(answers)
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        stub = scoring_pb2_grpc.ScoringServiceStub(channel)  # type: ignore[no-untyped-call]  # generated
        assert len(list(stub.PredictStream(iter([asked(*IDS)] * 20)))) == 20
    assert not [record for record in caplog.records if record.levelname in ("ERROR", "WARNING")]
