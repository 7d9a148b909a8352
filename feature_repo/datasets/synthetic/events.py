"""The event log of a world, drawn a day at a time so that any number of users fits in memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from feature_repo.contracts import EventType
from feature_repo.datasets.synthetic.world import (
    COMMENT,
    LIKE,
    SHARE,
    VIEW,
    WATCHED,
    Floats,
    Ints,
    Response,
    World,
    sigmoid,
    stream,
)

EVENTS = (EventType.IMPRESSION, EventType.VIEW, EventType.LIKE, EventType.SHARE, EventType.COMMENT)
Mask = NDArray[np.bool_]
_DAY = 86_400_000_000  # microseconds
_SECOND = 1_000_000


@dataclass(frozen=True, slots=True)
class Events:
    """Columns of one length: microseconds since the start, user, content, index in `EVENTS`, value."""

    time: Ints
    user: Ints
    content: Ints
    kind: Ints
    value: Floats

    def take(self, rows: Ints | Mask | slice) -> Events:
        """The events at some rows."""
        return Events(*(getattr(self, name)[rows] for name in Events.__slots__))

    @staticmethod
    def join(parts: list[Events]) -> Events:
        """All events of the parts in time order; ties keep the order in which they happened."""
        whole = Events(*(np.concatenate([getattr(p, name) for p in parts]) for name in Events.__slots__))
        return whole.take(np.argsort(whole.time, kind="stable"))


def draw_days(world: World) -> Iterator[Events]:
    """Each day's events, sorted; the sequence of days is sorted too. The same world gives the same events.

    What follows an impression may fall past midnight: it waits and comes out with the next day.
    """
    shown = _exposure(world)
    mass = np.array([_mass(world, shown, day).sum() for day in range(world.days)])
    total = world.users * world.coefficients.impressions_per_user
    waiting: list[Events] = []
    for day, tastes in enumerate(world.tastes()):
        generator = stream(world.seed, "events", day)
        count = int(generator.poisson(total * mass[day] / mass.sum()))
        events = Events.join([*waiting, _day(world, day, count, shown, tastes, generator)])
        late = events.time >= (day + 1) * _DAY
        waiting = [events.take(late)]
        yield events.take(~late)
    yield from waiting


def _exposure(world: World) -> Floats:
    """How often each content is shown compared with others of its age, (n,), mean 1."""
    popular = np.exp(world.truth.appeal)
    even = world.coefficients.random_exposure
    return np.asarray(even + (1.0 - even) * popular / popular.mean())


def _mass(world: World, shown: Floats, day: int) -> Floats:
    """Exposure of each content on one day, (n,): its weight times the freshness it spends on that day.

    Summed over contents it says how busy the day is, so that a content's total does not depend on
    how many others came out with it.
    """
    born, dies = _ages(world, day)
    decay = np.log(2.0) / world.coefficients.half_life_days
    spent = np.exp(-decay * born) - np.exp(-decay * np.maximum(dies, 0.0))
    return np.asarray(np.where(dies > 0.0, shown * spent, 0.0))


def _ages(world: World, day: int) -> tuple[Floats, Floats]:
    """Age of each content in days when it is first and last shown on a day; the second is <= 0 before it is out."""
    return np.maximum(day - world.published, 0.0), day + 1.0 - world.published


def _day(world: World, day: int, count: int, shown: Floats, tastes: Floats, generator: np.random.Generator) -> Events:
    """`count` impressions of one day and what came of them; a user is shown a content at most once a day."""
    reach = np.cumsum(_mass(world, shown, day))
    content = np.searchsorted(reach, generator.random(count) * reach[-1], side="right").clip(max=world.contents - 1)
    active = np.cumsum(world.activity)
    user = np.searchsorted(active, generator.random(count) * active[-1], side="right").clip(max=world.users - 1)
    _, first = np.unique(user * world.contents + content, return_index=True)
    user, content = user[first], content[first]
    time = _times(world, day, content, generator)
    affinity = np.einsum("ik,ik->i", tastes[user], world.truth.topic_mixture[content])
    return _responses(world, Events(time, user, content, np.zeros_like(time), np.ones(len(time))), affinity, generator)


def _times(world: World, day: int, content: Ints, generator: np.random.Generator) -> Ints:
    """When on the day each impression happens, in microseconds: exponential in the content's age, cut to the day."""
    born, dies = (ages[content] for ages in _ages(world, day))
    decay = np.log(2.0) / world.coefficients.half_life_days
    fresh, stale = np.exp(-decay * born), np.exp(-decay * dies)
    age = -np.log(fresh - generator.random(len(content)) * (fresh - stale)) / decay
    exact = ((world.published[content] + age) * _DAY).astype(np.int64)
    floor = np.maximum((world.published[content] * _DAY).astype(np.int64) + 1, day * _DAY)
    return np.asarray(np.clip(exact, floor, np.maximum(floor, (day + 1) * _DAY - 1)))


def _responses(world: World, shown: Events, affinity: Floats, generator: np.random.Generator) -> Events:
    """Impressions with the views, likes, shares and comments that follow them."""
    appeal = world.truth.appeal[shown.content]

    def happens(response: Response, rows: Ints) -> Ints:
        odds = response.bias + response.affinity * affinity[rows] + response.appeal * appeal[rows]
        happened: Mask = generator.random(len(rows)) < sigmoid(odds)
        return rows[happened]

    def after(rows: np.ndarray, kind: EventType, seconds: Floats, value: Floats) -> Events:
        time = shown.time[rows] + (seconds * _SECOND).astype(np.int64)
        return Events(time, shown.user[rows], shown.content[rows], np.full(len(rows), EVENTS.index(kind)), value)

    viewed = happens(VIEW, np.arange(len(affinity)))
    keen = WATCHED.affinity * affinity[viewed] + WATCHED.appeal * appeal[viewed]
    keen += generator.standard_normal(len(viewed))
    watched = np.zeros(len(affinity))
    watched[viewed] = np.maximum(0.1, (world.duration[shown.content[viewed]] * sigmoid(keen)).round(1))
    wait = 0.3 + 1.7 * generator.random(len(affinity))
    parts = [shown, after(viewed, EventType.VIEW, wait[viewed], watched[viewed])]
    for kind, response, pause in (
        (EventType.LIKE, LIKE, 2.0),
        (EventType.SHARE, SHARE, 6.0),
        (EventType.COMMENT, COMMENT, 30.0),
    ):
        rows = happens(response, viewed)
        seconds = wait[rows] + watched[rows] + pause * (0.1 + generator.random(len(rows)))
        parts.append(after(rows, kind, seconds, np.ones(len(rows))))
    return Events.join(parts)
