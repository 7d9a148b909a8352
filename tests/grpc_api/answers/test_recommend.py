"""Recommend on the small release, where a greater number is a better score."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_repo.errors import DeadlineError, InputError, NotFoundError
from grpc_api.calls import Call
from grpc_api.messages.describe import Limits
from grpc_api.messages.filters import AnyOf, Filter
from grpc_api.messages.recommend import Recommendations, RecommendQuery, Source
from grpc_api.service import ScoringService
from predictors.loaded import LoadedRelease, Model
from tests.grpc_api.parts import IDS, WITHOUT_VECTOR, Linear, TableStore

LIKED_C02 = [("c05", "view", 30.0), ("c02", "like", 1.0), ("c06", "rating", 2.0)]


def ids(found: Recommendations) -> list[str]:
    return [one.content_id for one in found.recommendations]


@pytest.fixture
def store(store: TableStore) -> TableStore:
    """With a user who likes c02 and met two others, and one who only viewed."""
    store.histories |= {"u1": LIKED_C02, "viewer": [("c09", "view", 1.0)], "stale": [("gone", "like", 1.0)]}
    return store


def test_what_is_near_to_likes_is_scored_and_ranked(service: ScoringService, call: Call) -> None:
    found = service.recommend(RecommendQuery("u1", k=2, pool=3, diversity=0.0), call)
    # The three nearest to c02 that were not met are c01, c03 and c04 or c00: at the same angle, of which one is in
    assert ids(found)[1 if "c04" in ids(found) else 0] == "c03"
    assert found.source is Source.RECENT_LIKES
    assert (found.embedding, found.predictor, found.predictor_version) == ("tiny", "popularity", "v1")
    assert found.recommendations[0].title == f"title of {ids(found)[0]}"
    assert found.recommendations[0].score == 1000 + int(ids(found)[0][1:])


def test_views_count_where_there_is_nothing_dearer(service: ScoringService, call: Call) -> None:
    found = service.recommend(RecommendQuery("viewer", k=1, pool=1), call)
    assert (ids(found)[0] in ("c08", "c10"), found.source) == (True, Source.RECENT_LIKES)


@pytest.mark.parametrize("user", ["nobody", "stale"])
def test_who_is_unknown_gets_what_is_popular(service: ScoringService, call: Call, user: str) -> None:
    found = service.recommend(RecommendQuery(user, k=3, pool=3, diversity=0.0), call)
    assert (ids(found), found.source, found.embedding) == (["c11", "c10", "c09"], Source.POPULAR, "")


def test_what_was_met_comes_again_only_when_asked_for(service: ScoringService, call: Call) -> None:
    met = {"c02", "c05", "c06"}
    assert not met & set(ids(service.recommend(RecommendQuery("u1", k=20), call)))
    assert set(ids(service.recommend(RecommendQuery("u1", k=20, include_seen=True), call))) == set(IDS)


@given(
    k=st.integers(1, 14),
    pool=st.integers(0, 14),
    excluded=st.sets(st.sampled_from([*IDS, "nowhere"])),
    odd=st.booleans(),
    seen=st.booleans(),
    user=st.sampled_from(["u1", "nobody"]),
    diversity=st.floats(0, 1),
)
def test_as_many_as_can_be_shown(
    built: LoadedRelease, k: int, pool: int, excluded: set[str], odd: bool, seen: bool, user: str, diversity: float
) -> None:
    store = TableStore()
    store.histories["u1"] = LIKED_C02
    service = ScoringService(replace(built, store=store), Limits())
    filters = (Filter("creator", AnyOf(("odd",))),) if odd else ()
    query = RecommendQuery(user, "", "", k, pool, filters, tuple(excluded), seen, diversity)
    found = ids(service.recommend(query, Call("test")))
    met = set() if seen or user == "nobody" else {content_id for content_id, _, _ in LIKED_C02}
    eligible = {c for n, c in enumerate(IDS) if (n % 2 or not odd) and c not in excluded | met}
    assert set(found) <= eligible
    assert len(found) == len(set(found)) == min(k, len(eligible))


def test_contents_that_the_store_lacks_are_made_up_for(service: ScoringService, store: TableStore, call: Call) -> None:
    store._frame = store._frame.filter(~store._frame["content_id"].is_in(["c11", "c10", "c09"]))
    found = service.recommend(RecommendQuery("nobody", k=2, pool=2, diversity=0.0), call)
    assert ids(found) == ["c08", "c07"]


def test_diversity_brings_what_is_unlike(service: ScoringService, call: Call) -> None:
    best = ids(service.recommend(RecommendQuery("nobody", k=3, filters=in_the_index(), diversity=0.0), call))
    spread = ids(service.recommend(RecommendQuery("nobody", k=3, filters=in_the_index(), diversity=1.0), call))
    assert best == ["c10", "c09", "c08"]
    assert spread[:2] == ["c10", "c01"]


def in_the_index() -> tuple[Filter, ...]:
    return (Filter("tags", AnyOf(tuple(f"t{n}" for n in range(1, 11)))),)


def test_a_predictor_for_users_goes_first(release: LoadedRelease, call: Call) -> None:
    personal = Linear()
    personal.service = "interest"
    models = {**release.models, "interest": Model(personal, {})}
    service = ScoringService(replace(release, models=models), Limits())
    assert service.recommend(RecommendQuery("u1"), call).predictor == "interest"
    assert service.recommend(RecommendQuery("u1", predictor="popularity"), call).predictor == "popularity"


def test_a_release_without_indexes_recommends_what_is_popular(release: LoadedRelease, call: Call) -> None:
    manifest = replace(release.manifest, defaults={}, indexes={})
    service = ScoringService(replace(release, manifest=manifest, indexes={}), Limits())
    found = service.recommend(RecommendQuery("u1", k=2), call)
    assert (ids(found), found.source) == ([WITHOUT_VECTOR, "c10"], Source.POPULAR)


@pytest.mark.parametrize(
    ("query", "error", "said"),
    [
        (RecommendQuery(""), InputError, "user_id: is empty"),
        (RecommendQuery("u", k=21), InputError, "k: 21 is more than the 20"),
        (RecommendQuery("u", pool=41), InputError, "pool: 41 is more than the 40"),
        (RecommendQuery("u", diversity=1.1), InputError, "diversity: 1.1 is not from 0 to 1"),
        (RecommendQuery("u", diversity=np.nan), InputError, "diversity: nan"),
        (RecommendQuery("u", filters=(Filter("x", None),)), InputError, r"filters\[0\].field: 'x'"),
        (RecommendQuery("u", predictor="x"), NotFoundError, "predictor: 'x'"),
        (RecommendQuery("u", embedding="x"), NotFoundError, "embedding: 'x'"),
    ],
)
def test_refusals(
    service: ScoringService, call: Call, query: RecommendQuery, error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        service.recommend(query, call)


def test_a_release_without_predictors_says_so(release: LoadedRelease, call: Call) -> None:
    with pytest.raises(NotFoundError, match="predictor: this release has none"):
        ScoringService(replace(release, models={}), Limits()).recommend(RecommendQuery("u"), call)


def test_nothing_is_answered_to_who_is_gone(service: ScoringService) -> None:
    with pytest.raises(DeadlineError):
        service.recommend(RecommendQuery("u1"), Call("test", gone=True))
