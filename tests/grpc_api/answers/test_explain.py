"""Explain and Recommend on a real workspace: a trained predictor over a real store."""

from __future__ import annotations

import numpy as np
import pytest

from feature_repo.errors import DeadlineError, InputError, NotFoundError
from grpc_api.calls import Call
from grpc_api.messages.explain import ExplainQuery
from grpc_api.messages.filters import Filter, NumberRange
from grpc_api.messages.recommend import RecommendQuery, Source
from tests.grpc_api.answers.world import CALL, World


def test_what_a_score_is_made_of_sums_to_it(world: World) -> None:
    content = world.ids[7]
    found = world.service.explain(ExplainQuery("popularity", content, top=1000), CALL)
    said = world.predict([content])
    assert found.score == said.scores[0]
    assert found.base + sum(value for _, value in found.contributions) == pytest.approx(found.score)
    assert sum(found.modalities.values()) == pytest.approx(1)
    assert {"facts", "creator", "text"} <= found.modalities.keys()
    assert (found.method, found.predictor_version) == ("SHAP values of trees", said.version)
    sizes = [abs(value) for _, value in found.contributions]
    assert sizes == sorted(sizes, reverse=True)


def test_the_greatest_contributions_come_first(world: World) -> None:
    every = world.service.explain(ExplainQuery("popularity", world.ids[3], top=1000), CALL).contributions
    assert world.service.explain(ExplainQuery("popularity", world.ids[3], top=2), CALL).contributions == every[:2]
    assert len(world.service.explain(ExplainQuery("popularity", world.ids[3]), CALL).contributions) == 10


@pytest.mark.parametrize(
    ("query", "error", "said"),
    [
        (ExplainQuery("", "c"), InputError, "predictor: is empty"),
        (ExplainQuery("popularity", ""), InputError, "content_id: is empty"),
        (ExplainQuery("popularity", "c", ""), InputError, "user_id: is empty"),
        (ExplainQuery("popularity", "c", top=1001), InputError, "top: 1001 is more than the 1000"),
        (ExplainQuery("weather", "c"), NotFoundError, "predictor: 'weather'"),
        (ExplainQuery("popularity", "nobody"), NotFoundError, "content_id: the store has no content 'nobody'"),
    ],
)
def test_refusals(world: World, query: ExplainQuery, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        world.service.explain(query, CALL)


def test_nothing_is_explained_to_who_is_gone(world: World) -> None:
    with pytest.raises(DeadlineError):
        world.service.explain(ExplainQuery("popularity", world.ids[0]), Call("test", gone=True))


def test_users_are_recommended_what_is_near_to_their_likes(world: World) -> None:
    store = world.service.release.store
    met = {user: set(store.read("interest", ["x"], user).objects("recent_contents")[0] or ()) for user in world.users}
    user = max(world.users, key=lambda one: len(met[one]))
    found = world.service.recommend(RecommendQuery(user, k=20, pool=40), CALL)
    shown = [one.content_id for one in found.recommendations]
    assert found.source is Source.RECENT_LIKES
    assert met[user]
    assert not met[user] & set(shown)
    said = world.predict(shown, user=user)
    np.testing.assert_array_equal(said.scores, [one.score for one in found.recommendations])


def test_filters_are_of_the_catalogs_facts(world: World) -> None:
    times = [content.published_at.timestamp() for content in world.contents]
    middle = float(np.median(times))
    query = RecommendQuery("nobody", k=1000, filters=(Filter("published_at", NumberRange(None, middle)),))
    found = world.service.recommend(query, CALL)
    early = {content.content_id for content in world.contents if content.published_at.timestamp() < middle}
    assert {one.content_id for one in found.recommendations} == early
