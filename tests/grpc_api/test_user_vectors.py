"""Recommend by the user's own vector, over a real socket: it finds what comes next, which likeness does not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from embedders.user_runner import load_user_model
from embedders.user_specs import resolve_user_spec
from feature_repo.columns import Columns
from feature_repo.contracts import Event, EventType, Interaction
from feature_repo.errors import NotFoundError
from feature_repo.recorder import Recorder
from grpc_api.answers.recommend import recommend
from grpc_api.calls import Call
from grpc_api.client import Scorer
from grpc_api.messages.filters import AnyOf, Filter
from grpc_api.messages.recommend import Recommendations, RecommendQuery, Source
from predictors.loaded import FeatureReader, LoadedRelease
from tests.embedders.user_world import ITEMS, TINY
from tests.grpc_api.running import RunningServer, running
from tests.grpc_api.walkers import NAME, SPEC, Walkers, make_walkers

NOW = datetime(2025, 6, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def walkers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Walkers]:
    with make_walkers(tmp_path_factory.mktemp("walkers") / "home") as made:
        yield made


@pytest.fixture(scope="module")
def personal(walkers: Walkers) -> LoadedRelease:
    return walkers.release()


@pytest.fixture(scope="module")
def server(walkers: Walkers, personal: LoadedRelease) -> Iterator[RunningServer]:
    with running(walkers.settings, personal, lambda: Recorder(walkers.settings, walkers.store.push)) as started:
        yield started


@pytest.fixture
def scorer(server: RunningServer, personal: LoadedRelease) -> Iterator[Scorer]:
    with Scorer(f"127.0.0.1:{server.port}", timeout=60) as client:
        yield client
    server.swap(personal)


def ask(scorer: Scorer, user: str, embedding: str = "", k: int = 3, **more: object) -> Recommendations:
    return scorer.recommend(RecommendQuery(user, embedding=embedding, k=k, pool=k, diversity=0.0, **more))  # type: ignore[arg-type]


def ids(found: Recommendations) -> list[str]:
    return [one.content_id for one in found.recommendations]


def hit_rate(walkers: Walkers, answers: dict[str, Recommendations]) -> float:
    """How often the content that comes next is the first."""
    return float(np.mean([ids(answer)[0] == walkers.after(user) for user, answer in answers.items()]))


def test_it_finds_what_comes_next_where_likeness_does_not(scorer: Scorer, walkers: Walkers) -> None:
    own = {user: ask(scorer, user) for user in walkers.met}
    alike = {user: ask(scorer, user, SPEC.name) for user in walkers.met}
    assert {(one.source, one.embedding) for one in own.values()} == {(Source.USER_VECTOR, NAME)}
    assert {(one.source, one.embedding) for one in alike.values()} == {(Source.RECENT_LIKES, SPEC.name)}
    assert hit_rate(walkers, own) > 0.9
    assert hit_rate(walkers, alike) < 0.5, "4 contents of 24 are new to a user"


def test_candidates_are_those_of_greatest_inner_product(scorer: Scorer, walkers: Walkers) -> None:
    spec = resolve_user_spec(NAME, walkers.settings)
    model = load_user_model(spec, walkers.settings, walkers.catalog)
    everything = sorted(one.content.content_id for one in walkers.catalog.items())
    vectors = model.items(everything).cpu().numpy()
    assert np.ptp(np.linalg.norm(vectors, axis=1)) > 0.1, "the cosine would have another order"
    for user in list(walkers.met)[:5]:
        state = walkers.store.read("interest", [everything[0]], user).vectors(NAME)[0]
        best = np.argsort(-(vectors @ state), kind="stable").tolist()
        assert ids(ask(scorer, user, k=20, include_seen=True)) == [everything[row] for row in best[:20]]


def test_what_may_be_shown_is_what_is_found(scorer: Scorer, walkers: Walkers) -> None:
    user = "u00"
    found = ask(scorer, user, k=20)
    assert set(ids(found)) == {f"c{number:02d}" for number in range(ITEMS)} - set(walkers.met[user])
    without = ask(scorer, user, exclude_ids=(walkers.after(user),))
    assert (ids(without), without.source) == (ids(found)[1:], Source.USER_VECTOR)
    none = ask(scorer, user, filters=(Filter("language", AnyOf(("tlh",))),))
    assert (ids(none), none.source, none.embedding) == ([], Source.POPULAR, "")


def test_a_user_without_a_vector_goes_by_likes_as_soon_as_there_are_some(scorer: Scorer) -> None:
    assert ask(scorer, "new").source is Source.POPULAR
    scorer.log([Event("first", Interaction("new", "c05", EventType.LIKE, NOW))])
    told = [ask(scorer, "new", embedding) for embedding in ("", NAME)]
    assert {(one.source, one.embedding) for one in told} == {(Source.RECENT_LIKES, SPEC.name)}
    assert all("c05" not in ids(one) for one in told)


def test_an_event_counts_at_once_and_the_vector_is_that_of_the_last_run(scorer: Scorer, walkers: Walkers) -> None:
    user = "u01"
    before = ids(ask(scorer, user, k=4))
    scorer.log([Event("next", Interaction(user, before[0], EventType.VIEW, NOW + timedelta(hours=1)))])
    after = ask(scorer, user, k=3)
    assert (ids(after), after.source) == (before[1:], Source.USER_VECTOR)


def test_a_swap_brings_other_candidates_and_a_rollback_the_old_ones(
    scorer: Scorer, server: RunningServer, walkers: Walkers, personal: LoadedRelease
) -> None:
    user = "u02"
    first = ask(scorer, user, k=4)
    plain = walkers.release(personal=False)
    server.swap(plain)
    second = ask(scorer, user)
    assert (second.release, second.source) == (plain.version, Source.RECENT_LIKES)
    with pytest.raises(NotFoundError, match=f"embedding: '{NAME}' is not in this release; there are: minilm"):
        ask(scorer, user, NAME)
    walkers.learn(replace(TINY, seed=1))
    other = walkers.release()
    server.swap(other)
    third = ask(scorer, user, k=4)
    assert (third.release, third.source) == (other.version, Source.USER_VECTOR)
    assert other.manifest.users[NAME] != personal.manifest.users[NAME]
    server.swap(personal)
    assert ask(scorer, user, k=4).recommendations == first.recommendations, "its users' vectors are online still"


@dataclass(frozen=True)
class Spoilt:
    """The store, with something else in the place of users' vectors; nothing: no such column."""

    store: FeatureReader
    number: float | None

    def read(self, *asked: Any, **options: Any) -> Columns:
        found = self.store.read(*asked, **options)
        vectors = found.values.pop(NAME, None)
        if vectors is not None and self.number is not None:
            found.values[NAME] = np.full_like(vectors, self.number)
        return found


@pytest.mark.parametrize("number", [0.0, np.nan, np.inf, None])
def test_a_vector_that_says_nothing_is_none(personal: LoadedRelease, number: float | None) -> None:
    release = replace(personal, store=Spoilt(personal.store, number))
    found = recommend(release, RecommendQuery("u03"), 3, 3, Call("test"))
    assert (found.source, found.embedding, len(found.contents)) == (Source.RECENT_LIKES, SPEC.name, 3)


def test_describe_tells_of_the_index(scorer: Scorer, personal: LoadedRelease) -> None:
    said = {one.embedding: (one.version, one.count) for one in scorer.describe().indexes}
    assert said[NAME] == (personal.manifest.users[NAME].index, ITEMS)
    assert scorer.ready(f"index/{NAME}")
