"""The event log: its order in time and cause, its heavy tail, and what tastes and appeal have to do with it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from feature_repo.contracts import EventType
from feature_repo.datasets.synthetic.events import EVENTS, Events, draw_days
from feature_repo.datasets.synthetic.world import Floats, Ints, Truth, World

DAY = 86_400_000_000


@pytest.fixture(scope="module")
def world() -> World:
    return World(contents=2000, users=500, seed=0, days=60)


@pytest.fixture(scope="module")
def log(world: World) -> Events:
    return Events.join(list(draw_days(world)))


def of(log: Events, kind: EventType) -> Events:
    return log.take(log.kind == EVENTS.index(kind))


def views(world: World, log: Events) -> Ints:
    return np.bincount(of(log, EventType.VIEW).content, minlength=world.contents)


def unexplained(target: Floats, causes: list[Floats]) -> float:
    """Share of the target's variance that a linear model of the causes leaves."""
    table = np.column_stack([*causes, np.ones(len(target))])
    left = target - table @ np.linalg.lstsq(table, target)[0]
    return float(left.var() / target.var())


def test_days_follow_each_other_in_order(world: World) -> None:
    last = -1
    for day in draw_days(world):
        assert (np.diff(day.time, prepend=last) >= 0).all()
        last = int(day.time[-1]) if len(day.time) else last


def test_every_event_follows_its_content_s_publication(world: World, log: Events) -> None:
    assert (log.time > np.floor(world.published[log.content] * DAY)).all()
    assert world.published.max() < 0.75 * world.days


def test_there_are_about_as_many_events_as_promised(log: Events) -> None:
    assert 100_000 <= len(log.time) <= 150_000
    assert len(np.unique(log.time)) > 0.999 * len(log.time)
    counts = np.bincount(log.kind)
    assert counts[0] > counts[1] > counts[2] > counts[3:].max() > 0


def test_a_like_share_or_comment_follows_a_view_and_a_view_an_impression(log: Events) -> None:
    seen: set[tuple[int, int]] = set()
    viewed: set[tuple[int, int]] = set()
    for user, content, kind in _pairs(log):
        if kind is EventType.IMPRESSION:
            seen.add((user, content))
        elif kind is EventType.VIEW:
            assert (user, content) in seen
            viewed.add((user, content))
        else:
            assert (user, content) in viewed


def _pairs(log: Events) -> Iterator[tuple[int, int, EventType]]:
    for user, content, kind in zip(log.user.tolist(), log.content.tolist(), log.kind.tolist(), strict=True):
        yield user, content, EVENTS[kind]


def test_a_view_tells_the_seconds_watched_and_the_rest_count_as_one(world: World, log: Events) -> None:
    watched = of(log, EventType.VIEW)
    assert (watched.value > 0).all()
    assert (watched.value <= world.duration[watched.content]).all()
    assert (log.value[log.kind != EVENTS.index(EventType.VIEW)] == 1.0).all()


def test_few_contents_and_users_have_most_of_it(world: World, log: Events) -> None:
    popular = np.sort(views(world, log))[::-1]
    assert popular[: world.contents // 10].sum() >= 0.4 * popular.sum()
    busy = np.sort(np.bincount(log.user, minlength=world.users))[::-1]
    assert busy[: world.users // 10].sum() >= 0.25 * busy.sum()


def test_popularity_is_the_sum_of_the_planted_causes(world: World, log: Events) -> None:
    truth, popularity = world.truth, np.log1p(views(world, log))
    names = ("image_quality", "title_appeal", "sound_energy", "creator_skill", "topic_popularity")
    causes = [getattr(truth, name) for name in names]
    whole = unexplained(popularity, causes)
    assert whole < 0.5
    for left_out in range(len(causes)):
        others = causes[:left_out] + causes[left_out + 1 :]
        assert unexplained(popularity, others) > whole + 0.03


def test_a_creator_s_other_contents_tell_the_skill(world: World, log: Events) -> None:
    popularity = np.log1p(views(world, log))
    posts = np.bincount(world.creator)
    known = posts[world.creator] > 1
    total = np.bincount(world.creator, weights=popularity)
    others = (total[world.creator] - popularity)[known] / (posts[world.creator][known] - 1)
    assert np.corrcoef(others, world.truth.creator_skill[known])[0, 1] > 0.5
    assert posts.max() > 5 * np.median(posts)


def test_users_see_what_they_are_fond_of_and_fondness_drifts(world: World, log: Events) -> None:
    truth = world.truth
    watched = of(log, EventType.VIEW)
    early, late = watched.take(watched.time < 10 * DAY), watched.take(watched.time > 40 * DAY)
    assert _affinity(truth, truth.tastes_start, early) > 0.2
    assert _affinity(truth, truth.tastes_start, early) > _affinity(truth, truth.tastes_start, late) + 0.05
    assert _affinity(truth, truth.tastes_end, late) > _affinity(truth, truth.tastes_end, early) + 0.05
    assert 0.35 < np.corrcoef(truth.tastes_start.ravel(), truth.tastes_end.ravel())[0, 1] < 0.65
    assert abs(truth.tastes_end.std() / truth.tastes_start.std() - 1.0) < 0.1


def _affinity(truth: Truth, tastes: Floats, events: Events) -> float:
    return float(np.einsum("ik,ik->i", tastes[events.user], truth.topic_mixture[events.content]).mean())


def test_events_grow_with_users_and_stop_with_freshness(world: World, log: Events) -> None:
    few = Events.join(list(draw_days(World(contents=2000, users=50, seed=0, days=60))))
    assert 0.05 < len(few.time) / len(log.time) < 0.2
    age = log.time / DAY - world.published[log.content]
    young = age[world.published[log.content] < 30]
    assert 2.4 < np.median(young) < 3.6
