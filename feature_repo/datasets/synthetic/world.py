"""The hidden causes behind the made data: what each content is like, who made it, what users are fond of.

Every cause has its own random stream, drawn content by content: the first n contents of a larger world look, sound
and read like the n contents of a smaller one. Only creators are dealt anew, as their number grows with the contents.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from feature_repo.contracts import digest
from feature_repo.datasets.synthetic.lexicon import TOPICS

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def stream(seed: int, purpose: str, *index: int) -> np.random.Generator:
    """A generator of its own for one purpose (and one content or day): streams never share numbers."""
    key = (int(digest(purpose, size=4), 16), *index)
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))


def sigmoid(x: ArrayLike) -> Floats:
    """Logistic function, elementwise."""
    return np.asarray(1.0 / (1.0 + np.exp(-np.asarray(x, dtype=np.float64))))


def percentile(z: ArrayLike) -> Floats:
    """Where a standard normal value lies among its kind, in (0, 1); within 0.01 of the normal CDF."""
    return sigmoid(1.702 * np.asarray(z))


@dataclass(frozen=True, slots=True)
class Coefficients:
    """What the world obeys. `appeal` = the sum of the first six times their standard normal causes."""

    image_quality: float = 0.60
    title_appeal: float = 0.50
    sound_energy: float = 0.40
    creator_skill: float = 0.70
    topic_popularity: float = 0.40
    noise: float = 0.50
    random_exposure: float = 0.10
    """Share of impressions dealt evenly; the others go by exp(appeal), a log-normal tail."""
    half_life_days: float = 3.0
    """Days until a content is shown half as often."""
    impressions_per_user: float = 150.0
    taste_spread: float = 1.2
    """Standard deviation of a taste logit, on every day."""
    taste_half_life_days: float = 60.0
    """Days until half of what a user was fond of is something else."""


@dataclass(frozen=True, slots=True)
class Response:
    """log-odds that a user does something = bias + affinity * (taste . topics) + appeal * (content's appeal)."""

    bias: float
    affinity: float
    appeal: float


VIEW = Response(-0.8, 0.9, 0.5)
LIKE = Response(-1.6, 1.0, 0.4)
SHARE = Response(-3.2, 0.7, 0.4)
COMMENT = Response(-3.0, 0.7, 0.3)
WATCHED = Response(0.0, 0.6, 0.4)
"""Of a view, the share that is watched: its log-odds have a deviation of 1 around this."""


@dataclass(frozen=True, slots=True)
class Truth:
    """The causes, for judging what a model found; n contents, m users, K topics. Never reachable through `Content`.

    `topic_mixture` (n, K) sums to 1 along K. All of `image_quality`, `title_appeal`, `sound_energy`, `creator_skill`,
    `topic_popularity`, `noise` and `appeal` are (n,) float64. `tastes_start` and `tastes_end` (m, K) are logits on the
    first and last day.
    """

    topic_mixture: Floats
    image_quality: Floats
    title_appeal: Floats
    sound_energy: Floats
    creator_skill: Floats
    topic_popularity: Floats
    noise: Floats
    appeal: Floats
    tastes_start: Floats
    tastes_end: Floats


@dataclass(frozen=True, slots=True)
class Subject:
    """What a content is about: indices of its dominant and secondary topic, and the share of the latter."""

    first: int
    second: int
    second_share: float


@dataclass(frozen=True)
class World:
    """Latent state of `contents` contents and `users` users over `days` days; every array is made on first use."""

    contents: int
    users: int
    seed: int
    days: int
    coefficients: Coefficients = Coefficients()

    @property
    def creators(self) -> int:
        """How many creators there are: one for 20 contents, at least 3."""
        return max(3, self.contents // 20)

    def _normal(self, purpose: str) -> Floats:
        return stream(self.seed, purpose).standard_normal(self.contents)

    @cached_property
    def topics(self) -> Ints:
        """Dominant and secondary topic of each content, (n, 2), never the same."""
        uniform = stream(self.seed, "topics").random((self.contents, 2))
        first = (uniform[:, 0] * len(TOPICS)).astype(np.int64)
        step = 1 + (uniform[:, 1] * (len(TOPICS) - 1)).astype(np.int64)
        return np.stack([first, (first + step) % len(TOPICS)], axis=1)

    @cached_property
    def secondary_weight(self) -> Floats:
        """Share of the secondary topic in each content, (n,), in 0.05..0.45."""
        return 0.05 + 0.4 * stream(self.seed, "mixture").random(self.contents)

    def subject(self, index: int) -> Subject:
        """What one content is about."""
        first, second = self.topics[index].tolist()
        return Subject(first, second, float(self.secondary_weight[index]))

    @cached_property
    def creator(self) -> Ints:
        """Index of each content's creator, (n,); how much a creator posts follows Zipf's law."""
        weight = np.cumsum(1.0 / np.arange(1, self.creators + 1) ** 0.8)
        uniform = stream(self.seed, "creator").random(self.contents)
        return np.asarray(np.searchsorted(weight, uniform * weight[-1], side="right"), dtype=np.int64)

    @cached_property
    def published(self) -> Floats:
        """Day of publication, (n,), within the first 75 % of the days; most often towards the evening."""
        generator = stream(self.seed, "published")
        uniform = generator.random((self.contents, 3))
        day = np.floor(uniform[:, 0] * max(1, int(0.75 * self.days)))
        hour = 24.0 * (0.25 + 0.75 * uniform[:, 1:].max(axis=1))
        return np.asarray(day + hour * 0.999 / 24.0)

    @cached_property
    def duration(self) -> Floats:
        """Length of each content in seconds, (n,), 5 to 180."""
        return np.asarray(np.exp(3.2 + 0.6 * self._normal("duration")).clip(5.0, 180.0).round(1))

    @cached_property
    def activity(self) -> Floats:
        """How much each user does compared with others, (m,); log-normal."""
        return np.exp(stream(self.seed, "activity").standard_normal(self.users))

    def tastes(self) -> Iterator[Floats]:
        """Taste logits of all users, (m, K), day by day: an Ornstein-Uhlenbeck process. Each array is a fresh one."""
        generator, rules = stream(self.seed, "tastes"), self.coefficients
        kept = 2.0 ** (-1.0 / rules.taste_half_life_days)
        step = rules.taste_spread * np.sqrt(1.0 - kept**2)
        logits = rules.taste_spread * generator.standard_normal((self.users, len(TOPICS)))
        for _ in range(self.days):
            yield logits
            logits = kept * logits + step * generator.standard_normal(logits.shape)

    @cached_property
    def truth(self) -> Truth:
        """All causes at once."""
        rules = self.coefficients
        mixture = np.zeros((self.contents, len(TOPICS)))
        rows = np.arange(self.contents)
        mixture[rows, self.topics[:, 0]] = 1.0 - self.secondary_weight
        mixture[rows, self.topics[:, 1]] = self.secondary_weight
        fame = stream(self.seed, "topic popularity").standard_normal(len(TOPICS))
        causes = {name: self._normal(name) for name in ("image_quality", "title_appeal", "sound_energy", "noise")}
        causes["creator_skill"] = stream(self.seed, "creator_skill").standard_normal(self.creators)[self.creator]
        causes["topic_popularity"] = mixture @ ((fame - fame.mean()) / fame.std())
        appeal = np.sum([getattr(rules, name) * values for name, values in causes.items()], axis=0)
        start = end = np.empty(0)
        for day, logits in enumerate(self.tastes()):
            start, end = (logits if day == 0 else start), logits
        return Truth(topic_mixture=mixture, appeal=appeal, tastes_start=start, tastes_end=end, **causes)
