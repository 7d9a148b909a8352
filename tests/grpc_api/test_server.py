"""The whole stack over a real socket: requests, refusals, health, reflection, swapping and draining."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from feature_repo.errors import DeadlineError, InputError, LarderError, NotFoundError, UnavailableError
from feature_repo.settings import Settings
from grpc_api.client import Scorer
from grpc_api.messages.predict import Status
from grpc_api.rpcs import SERVICE
from predictors.loaded import LoadedRelease
from protos.larder.v1 import scoring_pb2 as pb
from protos.larder.v1 import scoring_pb2_grpc
from tests.grpc_api.parts import DIM, IDS, SPEC, WITHOUT_VECTOR, TableStore, angle, until
from tests.grpc_api.running import RunningServer, running

ROOT = Path(__file__).parents[2]


@pytest.fixture
def stub(server: RunningServer) -> Iterator[scoring_pb2_grpc.ScoringServiceStub]:
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        yield scoring_pb2_grpc.ScoringServiceStub(channel)  # type: ignore[no-untyped-call]  # generated


class TestPredict:
    def test_scores_in_the_order_of_the_request(self, scorer: Scorer) -> None:
        found = scorer.predict(["c03", "c01", "c03"])
        assert [(p.content_id, p.score, p.predicted_class) for p in found] == [
            ("c03", 3, 3),
            ("c01", 1, 1),
            ("c03", 3, 3),
        ]
        assert {p.status for p in found} == {Status.OK}
        assert found[0].probabilities == (0, 0, 0, 1, 0)

    def test_unknown_and_incomplete_contents_leave_the_others_alone(self, scorer: Scorer) -> None:
        known, unknown, incomplete = scorer.predict(["c02", "nobody", WITHOUT_VECTOR])
        assert (known.status, known.score) == (Status.OK, 2)
        assert unknown.status is Status.UNKNOWN_CONTENT
        assert math.isnan(unknown.score)
        assert np.isnan(unknown.probabilities).all()
        assert unknown.predicted_class is None
        assert (incomplete.status, incomplete.score, incomplete.missing_features) == (Status.INCOMPLETE, 11, ("tiny",))
        assert not known.missing_features
        assert not unknown.missing_features

    def test_unknown_contents_alone(self, scorer: Scorer) -> None:
        found = scorer.predict(["x", "y"], user="u1")
        assert [p.status for p in found] == [Status.UNKNOWN_CONTENT] * 2
        assert all(math.isnan(p.score) for p in found)

    def test_the_user_reaches_the_store(self, scorer: Scorer) -> None:
        assert [p.score for p in scorer.predict(["c01"], user="u1")] == [1001]

    def test_one_read_a_request(self, scorer: Scorer, store: TableStore) -> None:
        store.reads.clear()
        scorer.predict(IDS)
        assert [read for read in store.reads if len(read) > 1] == [IDS]

    def test_names_the_release_and_the_model(self, scorer: Scorer, release: LoadedRelease) -> None:
        found = scorer.predict_columns(["c01"])
        assert found.release == release.version
        assert [(one.predictor, one.version) for one in found.results] == [("popularity", "v1")]

    def test_an_unknown_predictor_is_told_with_those_there_are(self, scorer: Scorer) -> None:
        with pytest.raises(NotFoundError, match=r"predictor: 'weather' .* there are: popularity"):
            scorer.predict(["c01"], predictor="weather")


class TestSimilar:
    def test_neighbours_of_a_content_without_itself(self, scorer: Scorer, release: LoadedRelease) -> None:
        found = scorer.similar(content_id="c00", k=3)
        assert [(n.content_id, n.title) for n in found.neighbours] == [(c, f"title of {c}") for c in IDS[1:4]]
        assert [n.score for n in found.neighbours] == pytest.approx(np.cos(np.radians([10, 20, 30])), abs=1e-5)
        assert found.release == release.version
        [searched] = found.indexes
        assert (searched.embedding, searched.version, searched.weight) == (
            "tiny",
            release.indexes["tiny"].manifest.version,
            1,
        )

    def test_a_content_can_be_its_own_neighbour(self, scorer: Scorer) -> None:
        found = scorer.similar(content_id="c05", k=1, include_self=True)
        assert [n.content_id for n in found.neighbours] == ["c05"]

    @pytest.mark.parametrize("query", [{"text": "4"}, {"image": b"4"}, {"vector": angle(4), "embedding": "tiny"}])
    def test_other_queries_find_the_content_at_their_place(self, scorer: Scorer, query: dict[str, Any]) -> None:
        found = scorer.similar(**query, k=1)
        assert [n.content_id for n in found.neighbours] == ["c04"]
        assert found.neighbours[0].score == pytest.approx(1, abs=1e-5)

    def test_k_above_the_size_gives_all(self, scorer: Scorer) -> None:
        assert len(scorer.similar(content_id="c00", k=20, include_self=True).neighbours) == len(IDS) - 1

    def test_no_k_is_ten(self, stub: scoring_pb2_grpc.ScoringServiceStub) -> None:
        assert len(stub.Similar(pb.SimilarRequest(content_id="c00")).neighbours) == 10

    @pytest.mark.parametrize("content_id", ["nobody", WITHOUT_VECTOR])
    def test_a_content_without_a_vector_is_not_found(self, scorer: Scorer, content_id: str) -> None:
        with pytest.raises(NotFoundError, match=f"content_id: .*'tiny'.*'{content_id}'"):
            scorer.similar(content_id=content_id)

    def test_an_unknown_embedding_is_told_with_those_there_are(self, scorer: Scorer) -> None:
        with pytest.raises(NotFoundError, match=r"embedding: 'huge' .* there are: deaf, tiny"):
            scorer.similar(content_id="c01", embedding="huge")

    def test_the_client_wants_one_query(self, scorer: Scorer) -> None:
        with pytest.raises(InputError, match=r"query: .*not content_id, text"):
            scorer.similar(content_id="c01", text="4")


METHODS = ["Predict", "PredictStream", "Recommend", "Similar", "LogInteraction", "Explain", "Describe"]
TINY, DEAF = ([pb.WeightedEmbedding(name=name)] for name in ("tiny", "deaf"))
BROKEN = {
    "predictors": pb.PredictRequest(content_ids=["c01"]),
    "content_ids": pb.PredictRequest(predictors=["popularity"]),
    "content_ids: number 1 ": pb.PredictRequest(predictors=["popularity"], content_ids=["c01", ""]),
    "content_ids: 51 ": pb.PredictRequest(predictors=["popularity"], content_ids=["c01"] * 51),
    "user_id": pb.PredictRequest(predictors=["popularity"], content_ids=["c01"], user_id=""),
    "query": pb.SimilarRequest(k=3),
    "content_id": pb.SimilarRequest(content_id=""),
    "text": pb.SimilarRequest(text="  "),
    "text: 10001 ": pb.SimilarRequest(text="x" * 10_001),
    "image: is empty": pb.SimilarRequest(image=b""),
    "image: not a picture": pb.SimilarRequest(image=b"four"),
    "k": pb.SimilarRequest(content_id="c01", k=21),
    "vector: is empty": pb.SimilarRequest(vector=pb.Vector(), embeddings=TINY),
    "vector: is all zeros": pb.SimilarRequest(vector=pb.Vector(values=[0.0] * DIM), embeddings=TINY),
    "vector: has 2 values where 'tiny' has 8": pb.SimilarRequest(vector=pb.Vector(values=[1, 0]), embeddings=TINY),
    "vector: has values that are not": pb.SimilarRequest(vector=pb.Vector(values=[math.nan] * DIM), embeddings=TINY),
    "embeddings": pb.SimilarRequest(vector=pb.Vector(values=[1.0] * DIM)),
    "embeddings: 'deaf' cannot be searched by text; those that can: tiny": pb.SimilarRequest(text="4", embeddings=DEAF),
    "embeddings: 'deaf' cannot be searched by image": pb.SimilarRequest(image=b"4", embeddings=DEAF),
}


class TestRefusals:
    @pytest.mark.parametrize("starts", BROKEN)
    def test_a_broken_request_is_invalid_and_names_its_field(
        self, stub: scoring_pb2_grpc.ScoringServiceStub, starts: str
    ) -> None:
        request = BROKEN[starts]
        with pytest.raises(grpc.RpcError) as refused:
            stub.Predict(request) if isinstance(request, pb.PredictRequest) else stub.Similar(request)
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert (refused.value.details() or "").startswith(starts if ":" in starts else f"{starts}: ")

    def test_a_payload_above_the_limit(self, scorer: Scorer) -> None:
        with pytest.raises(InputError, match="larger than max"):
            scorer.similar(image=b"4" * 70_000)
        assert scorer.similar(text="4", k=1).neighbours

    def test_a_fault_of_ours_tells_nothing_but_an_id(
        self, scorer: Scorer, store: TableStore, caplog: pytest.LogCaptureFixture
    ) -> None:
        def fail() -> None:
            raise RuntimeError("secret path")

        store.before_read = fail
        with pytest.raises(LarderError, match=r"internal error [0-9a-f]{16}") as told:
            scorer.predict(["c01"])
        assert "secret" not in str(told.value)
        reference = str(told.value).split("internal error ")[1][:16]
        assert any(reference in r.getMessage() and r.exc_info for r in caplog.records)

    def test_no_server(self) -> None:
        with Scorer("127.0.0.1:1", timeout=2) as nobody:
            assert not nobody.ready()
            with pytest.raises(UnavailableError, match=r"127\.0\.0\.1:1"):
                nobody.describe()

    def test_no_answer_in_time(self, server: RunningServer, store: TableStore) -> None:
        store.before_read = lambda: time.sleep(0.5)
        with Scorer(f"127.0.0.1:{server.port}", timeout=0.1) as hasty, pytest.raises(DeadlineError, match="in time"):
            hasty.predict(["c01"])

    def test_a_store_out_of_reach(self, scorer: Scorer, store: TableStore) -> None:
        def fail() -> None:
            raise UnavailableError("the store is locked")

        store.before_read = fail
        with pytest.raises(UnavailableError, match=r"cannot answer \(the store is locked\)"):
            scorer.predict(["c01"])

    def test_a_taken_port(self, settings: Settings, server: RunningServer, release: LoadedRelease) -> None:
        taken = settings.model_copy(update={"port": server.port})
        with pytest.raises(UnavailableError, match=rf"cannot listen on 127\.0\.0\.1:{server.port}: stop .*LARDER_PORT"):
            running(taken, release).__enter__()


class TestDescribe:
    def test_says_what_is_loaded(self, scorer: Scorer, server: RunningServer) -> None:
        found = scorer.describe()
        assert found == server.service.describe()
        assert [(e.name, e.dim, e.spec_digest, e.query_modalities) for e in found.embeddings][1] == (
            ("tiny", DIM, SPEC.digest, ("text", "image"))
        )
        assert [(i.embedding, i.kind, i.count, i.recall) for i in found.indexes][1] == ("tiny", "exact", 11, 1.0)
        assert found.limits.candidates == 50

    def test_the_swapped_release_answers(
        self, scorer: Scorer, server: RunningServer, release: LoadedRelease, store: TableStore
    ) -> None:
        other = replace(release, models={}, indexes={"tiny": release.indexes["tiny"]})
        server.swap(other)
        assert scorer.describe().predictors == ()
        assert not scorer.ready("predictor/popularity")
        assert scorer.ready("index/tiny")
        assert scorer.ready()


def test_swapping_drops_no_request(scorer: Scorer, server: RunningServer, release: LoadedRelease) -> None:
    fewer = replace(release.manifest, defaults={"content": "tiny"})
    releases = [release, replace(release, manifest=fewer)]
    answered: list[str] = []
    asking = threading.Thread(target=lambda: answered.extend(scorer.predict_columns(IDS).release for _ in range(200)))
    asking.start()
    turns = 0
    while asking.is_alive():
        server.swap(releases[turns % 2])
        turns += 1
    asking.join()
    assert len(answered) == 200
    assert set(answered) == {one.version for one in releases}


class TestHealth:
    @pytest.mark.parametrize("part", ["", SERVICE, "store", "index/tiny", "index/deaf", "predictor/popularity"])
    def test_every_part_serves(self, scorer: Scorer, part: str) -> None:
        assert scorer.ready(part)

    def test_an_unknown_part_does_not(self, scorer: Scorer) -> None:
        assert not scorer.ready("index/huge")

    def test_a_store_that_fails_is_told_and_so_is_its_return(
        self, scorer: Scorer, server: RunningServer, store: TableStore
    ) -> None:
        def fail() -> None:
            raise UnavailableError("the store is out of reach")

        store.before_read = fail
        server.refresh()
        assert [scorer.ready(part) for part in ("store", SERVICE, "", "index/tiny")] == [False, False, False, True]
        store.before_read = lambda: None
        server.refresh()
        assert scorer.ready()
        assert scorer.ready("store")


def test_reflection_lists_the_service(server: RunningServer) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        assert {SERVICE, "grpc.health.v1.Health"} <= set(database.get_services())
        file = database.FindFileContainingSymbol(SERVICE)
        assert [m.name for m in file.service[0].method] == METHODS


def test_calls_are_logged(scorer: Scorer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "grpc_api.telemetry.logs")
    scorer.predict(["c01"])
    with pytest.raises(InputError):
        scorer.predict([])
    lines = [r.getMessage() for r in caplog.records if r.name == "grpc_api.telemetry.logs"]
    assert [line.split()[:2] for line in lines] == [
        ["/larder.v1.ScoringService/Predict", "OK"],
        ["/larder.v1.ScoringService/Predict", "INVALID_ARGUMENT"],
    ]


def test_parallel_callers_get_their_own_answers(scorer: Scorer) -> None:
    wrong: list[str] = []

    def ask(number: int) -> None:
        for _ in range(20):
            found = [p.score for p in scorer.predict([IDS[number]] * (number + 1))]
            if found != [number] * (number + 1):
                wrong.append(f"{number}: {found}")

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


class TestSignals:
    """`serve` in a process of its own, over a store that takes a second for an answer."""

    @pytest.fixture
    def process(self, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
        command = [sys.executable, "-m", "tests.grpc_api.serving", str(tmp_path)]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        with subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True) as started:
            yield started
            started.kill()

    @pytest.fixture
    def remote(self, process: subprocess.Popen[str], tmp_path: Path) -> Iterator[Scorer]:
        port_file = tmp_path / "port"
        assert until(port_file.exists, 180), process.stderr and process.stderr.read()
        with Scorer(f"127.0.0.1:{port_file.read_text().strip()}") as client:
            yield client

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_what_is_under_way_finishes_and_nothing_new_is_taken(
        self, process: subprocess.Popen[str], remote: Scorer, number: signal.Signals
    ) -> None:
        answers: list[float] = []
        asking = threading.Thread(target=lambda: answers.extend(p.score for p in remote.predict(["c07"])))
        asking.start()
        time.sleep(0.3)
        process.send_signal(number)
        assert until(lambda: not remote.ready(), 30)
        with pytest.raises(UnavailableError):
            remote.describe()
        asking.join()
        assert answers == [7]
        assert process.wait(10) == 0

    def test_sighup_swaps_to_the_release_that_is_reloaded(
        self, process: subprocess.Popen[str], remote: Scorer, tmp_path: Path
    ) -> None:
        assert remote.describe().predictors
        process.send_signal(signal.SIGHUP)
        assert until(lambda: not remote.describe().predictors)
        process.send_signal(signal.SIGHUP)
        assert until((tmp_path / "gone").exists), "the release before is let go of"
        process.send_signal(signal.SIGHUP)
        time.sleep(0.2)
        assert remote.ready("index/tiny"), "a release that cannot be loaded leaves the old one in use"
