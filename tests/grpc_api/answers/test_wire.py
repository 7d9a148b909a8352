"""The same over a real socket: fields arrive as they were meant, and errors as the client's kinds."""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import numpy as np
import pytest

from feature_repo.errors import InputError, NotFoundError
from grpc_api.client import Scorer
from grpc_api.messages.explain import ExplainQuery
from grpc_api.messages.filters import AnyOf, Filter, NoneOf, NumberRange
from grpc_api.messages.predict import Status
from grpc_api.messages.recommend import RecommendQuery, Source
from grpc_api.messages.similar import ByContents, SimilarQuery
from protos.larder.v1 import scoring_pb2 as pb
from protos.larder.v1 import scoring_pb2_grpc
from tests.grpc_api.answers.world import CALL, World
from tests.grpc_api.running import running


@pytest.fixture(scope="module")
def address(world: World) -> Iterator[str]:
    with running(world.settings.model_copy(update={"port": 0, "raw_seconds": 60.0}), world.service.release) as server:
        yield f"127.0.0.1:{server.port}"


@pytest.fixture
def scorer(address: str) -> Iterator[Scorer]:
    with Scorer(address, timeout=60) as client:
        yield client


def test_similar_with_weights_and_filters(scorer: Scorer, world: World) -> None:
    weights = {"minilm": 1.0, "efficientnet_lite0": 3.0}
    year = float(np.median([content.published_at.year for content in world.contents]))
    filters = (
        Filter("published_year", NumberRange(year)),
        Filter("language", AnyOf(("en",))),
        Filter("creator", NoneOf(("nobody",))),
    )
    said = scorer.similar(contents=world.ids[:2], embeddings=weights, filters=filters, k=5)
    own = world.service.similar(
        SimilarQuery(ByContents(tuple(world.ids[:2])), tuple(weights.items()), 5, filters), CALL
    )
    assert [(n.content_id, n.title) for n in said.neighbours] == [(n.content_id, n.title) for n in own.neighbours]
    assert [n.score for n in said.neighbours] == pytest.approx([n.score for n in own.neighbours])
    assert [(i.embedding, i.weight) for i in said.indexes] == [("minilm", 0.25), ("efficientnet_lite0", 0.75)]
    assert said.neighbours


def test_recommend(scorer: Scorer, world: World) -> None:
    query = RecommendQuery(world.users[0], k=4, pool=30, exclude_ids=(world.ids[0],), diversity=0.0)
    said, own = scorer.recommend(query), world.service.recommend(query, CALL)
    assert said.recommendations == own.recommendations
    assert len(said.recommendations) == 4
    assert (said.source, said.embedding, said.predictor) == (Source.RECENT_LIKES, own.embedding, "popularity")
    assert (said.release, said.predictor_version) == (own.release, own.predictor_version)


def test_an_absent_diversity_is_the_usual_one_and_none_is_none(address: str, world: World) -> None:
    with grpc.insecure_channel(address) as channel:
        stub = scoring_pb2_grpc.ScoringServiceStub(channel)  # type: ignore[no-untyped-call]  # generated
        usual, none = (
            stub.Recommend(pb.RecommendRequest(user_id="nobody", k=20, diversity=said)) for said in (None, 0.0)
        )
    scores = [one.score for one in none.recommendations]
    assert scores == sorted(scores, reverse=True)
    assert [one.score for one in usual.recommendations] != scores


def test_explain(scorer: Scorer, world: World) -> None:
    said = scorer.explain(world.ids[0], top=3)
    own = world.service.explain(ExplainQuery("popularity", world.ids[0], top=3), CALL)
    assert (said.contributions, said.modalities, said.score, said.base, said.method) == (
        own.contributions,
        own.modalities,
        own.score,
        own.base,
        own.method,
    )


def test_raw_contents(address: str, world: World) -> None:
    known = world.contents[0]
    raw = pb.RawContent(content_id="r", title=known.title, tags=known.tags, language="en", creator_id=known.creator_id)
    raw.published_at.FromDatetime(known.published_at)
    broken = pb.RawContent(content_id="b", title="broken", image=b"no picture")
    with grpc.insecure_channel(address) as channel:
        stub = scoring_pb2_grpc.ScoringServiceStub(channel)  # type: ignore[no-untyped-call]  # generated
        asked = pb.PredictRequest(
            predictors=["popularity"], content_ids=[known.content_id, "nobody"], raw_contents=[raw, broken]
        )
        [said] = stub.Predict(asked).results
    assert list(said.statuses) == [Status.OK, Status.UNKNOWN_CONTENT, Status.INCOMPLETE, Status.UNREADABLE]
    assert np.isnan(said.scores).tolist() == [False, True, False, True]
    assert [(one.name, list(one.rows)) for one in said.missing_features] == [("efficientnet_lite0", [2])]


def test_errors_keep_their_kind(scorer: Scorer) -> None:
    with pytest.raises(InputError, match=r"filters\[0\].field: 'colour'"):
        scorer.similar(content_id="x", filters=(Filter("colour", AnyOf(("red",))),))
    with pytest.raises(InputError, match="user_id: is empty"):
        scorer.recommend(RecommendQuery(""))
    with pytest.raises(NotFoundError, match="content_id: the store has no content 'nobody'"):
        scorer.explain("nobody")
