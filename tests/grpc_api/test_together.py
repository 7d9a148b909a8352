"""Calls that wait are worked on together: each gets the answer, or the failure, that it would have got alone."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import grpc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grpc_api.calls import Call
from grpc_api.client import Scorer
from grpc_api.lane import Lane
from grpc_api.messages.describe import Limits
from grpc_api.rpcs import Work
from grpc_api.service import ScoringService
from grpc_api.wire import predict
from predictors.loaded import LoadedRelease
from protos.larder.v1 import scoring_pb2 as pb
from protos.larder.v1 import scoring_pb2_grpc
from tests.grpc_api.parts import IDS, TableStore, until
from tests.grpc_api.running import RunningServer

CANDIDATES = st.lists(st.sampled_from([*IDS, "nobody", "nothing"]), min_size=1, max_size=6)
PREDICTORS = st.sampled_from([("popularity",), ("other",), ("popularity", "other")])
QUERIES = st.lists(st.tuples(CANDIDATES, PREDICTORS, st.sampled_from([None, "u1", "u2"])), min_size=1, max_size=8)


def request(
    ids: list[str], predictors: tuple[str, ...] = ("popularity",), user: str | None = None
) -> pb.PredictRequest:
    return pb.PredictRequest(predictors=predictors, content_ids=ids, user_id=user)


@pytest.fixture
def service(release: LoadedRelease) -> ScoringService:
    both = {"popularity": release.models["popularity"], "other": replace(release.models["popularity"])}
    return ScoringService(replace(release, models=both), Limits())


def test_answers_are_those_of_each_alone(service: ScoringService) -> None:
    @settings(max_examples=50, deadline=None)
    @given(QUERIES)
    def check(queries: list[tuple[list[str], tuple[str, ...], str | None]]) -> None:
        requests, calls = [request(*query) for query in queries], [Call("m", f"r{n}") for n in range(len(queries))]
        together = predict.answer_together(service, requests, calls)
        alone = [predict.answer(service, one, call) for one, call in zip(requests, calls, strict=True)]
        assert [one.SerializeToString() for one in together] == [one.SerializeToString() for one in alone]

    check()


@contextmanager
def held(server: RunningServer) -> Iterator[Lane]:
    """The scoring lane, which works on nothing in the block."""
    gate, entered, lane = threading.Event(), threading.Event(), server.server.lanes[Work.SCORING]

    def work() -> None:
        entered.set()
        assert gate.wait(60)

    holding = server.begin(lane.run(work, Call("gate")))
    try:
        assert entered.wait(30)
        yield lane
    finally:
        gate.set()
        holding.result(30)


class Crowd:
    """Callers of a server whose lane is held until all of them wait."""

    def __init__(self, server: RunningServer) -> None:
        self._server = server
        self._channel = grpc.insecure_channel(f"127.0.0.1:{server.port}")
        self._stub = scoring_pb2_grpc.ScoringServiceStub(self._channel)  # type: ignore[no-untyped-call]  # generated
        self._pool = ThreadPoolExecutor(32)

    def ask(self, requests: list[pb.PredictRequest], hasty: Collection[int] = ()) -> list[Any]:
        """What each is answered: a response, or the code of its failure. Those that are hasty do not wait."""
        with held(self._server) as lane:
            timeouts = [0.2 if number in hasty else 60.0 for number in range(len(requests))]
            asked = [self._pool.submit(self._answer, *one) for one in zip(requests, timeouts, strict=True)]
            wait([asked[number] for number in hasty])
            assert until(lambda: lane.waiting == len(requests) - len(hasty))
        return [one.result() for one in asked]

    def _answer(self, one: pb.PredictRequest, timeout: float) -> Any:
        try:
            return self._stub.Predict(one, timeout=timeout)
        except grpc.RpcError as error:
            return error.code()

    def close(self) -> None:
        self._pool.shutdown()
        self._channel.close()


@pytest.fixture
def crowd(server: RunningServer) -> Iterator[Crowd]:
    gathered = Crowd(server)
    yield gathered
    gathered.close()


def scores(answers: list[Any]) -> list[Any]:
    return [one if isinstance(one, grpc.StatusCode) else list(one.results[0].scores) for one in answers]


def reads(store: TableStore) -> list[list[str]]:
    """Reads of several contents: those of health are of one."""
    return [read for read in store.reads if len(read) > 1]


def test_calls_that_wait_share_one_read(crowd: Crowd, store: TableStore) -> None:
    answers = crowd.ask([request([IDS[n], IDS[n + 1]], user=f"u{n}") for n in range(8)])
    assert scores(answers) == [[1000 + n, 1001 + n] for n in range(8)]
    [read] = reads(store)
    assert Counter(read) == Counter([IDS[n] for n in range(8)] + [IDS[n + 1] for n in range(8)])
    assert len({one.request_id for one in answers}) == 8


def test_the_failure_of_one_is_no_others(crowd: Crowd) -> None:
    broken = [request([]), request(["c01"], ("weather",)), request(["c01", ""])]
    answers = scores(crowd.ask([request(["c02"]), *broken, request(["c03"])]))
    invalid, missing = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND
    assert answers == [[2], invalid, missing, invalid, [3]]


def test_what_is_late_leaves_the_others_alone(crowd: Crowd, store: TableStore) -> None:
    answers = scores(crowd.ask([request([IDS[n]]) for n in range(4)], hasty={1}))
    assert answers == [[0], grpc.StatusCode.DEADLINE_EXCEEDED, [2], [3]]
    assert list(map(sorted, reads(store))) == [["c00", "c02", "c03"]], "nobody read for the one that is gone"


def test_large_calls_go_alone(crowd: Crowd, store: TableStore) -> None:
    large = request(["x" * 1200 for _ in range(45)])
    crowd.ask([large, large])
    assert list(map(len, reads(store))) == [45, 45]


def test_health_answers_while_calls_wait(server: RunningServer) -> None:
    address = f"127.0.0.1:{server.port}"
    with Scorer(address, timeout=60) as busy, Scorer(address, timeout=30) as probe, ThreadPoolExecutor(20) as pool:
        with held(server) as lane:
            asked = [pool.submit(busy.predict, ["c01"]) for _ in range(20)]
            assert until(lambda: lane.waiting == 20)
            assert all(probe.ready() for _ in range(20))
            assert lane.waiting == 20
        assert all(one.result()[0].score == 1 for one in asked)
