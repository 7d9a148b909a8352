"""Titles, descriptions and hashtags from a small grammar; how vivid the words are tells the title's appeal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from feature_repo.datasets.synthetic.lexicon import TIERS, TOPICS, Tier, Topic
from feature_repo.datasets.synthetic.world import Subject, percentile

T = TypeVar("T")

_TITLES = (
    "{opening}: {adjective} {subject} {setting}",
    "{opening}: {doing} {setting}",
    "{adjective} {subject} {setting}",
    "{adjective} {subject}: {doing}",
    "{subject} {setting}, {adjective} and {adjective2}",
    "{doing}: {adjective} {subject}",
    "my {adjective} {subject}",
    "{opening}: {adjective} {subject}",
)
_DESCRIPTIONS = (
    "{doing} {setting}. {verdict}",
    "{verdict} {adjective} {subject}, {doing}.",
    "This {adjective} {subject} was made {setting}. {verdict}",
    "{doing}, then {doing2}. {verdict}",
    "{verdict}",
    "My {adjective} {subject} {setting}. {verdict}",
)
_BLUR = 0.3  # tiers by which one phrase may miss the appeal
_WRONG_TAG = 0.1
_SECOND_TAG = 0.5


def write(subject: Subject, appeal: float, rng: np.random.Generator) -> tuple[str, str]:
    """Title and description of a content; `appeal` is a standard normal value."""
    topic = TOPICS[subject.first]
    title = _fill(_pick(_TITLES, rng), topic, appeal, rng)
    description = _fill(_pick(_DESCRIPTIONS, rng), topic, appeal, rng)
    if rng.random() < 2.0 * subject.second_share:
        description += f" Also here: {_pick(TOPICS[subject.second].subjects, rng)}."
    return _capital(title), ". ".join(map(_capital, description.split(". ")))


def tags(subject: Subject, rng: np.random.Generator) -> tuple[str, ...]:
    """One or two hashtags without the hash, the second of either topic; one in ten is about something else."""
    about = [subject.first]
    if rng.random() < _SECOND_TAG:
        about.append((subject.first, subject.second)[int(rng.integers(2))])
    said = [int(rng.integers(len(TOPICS))) if rng.random() < _WRONG_TAG else topic for topic in about]
    return tuple(dict.fromkeys(TOPICS[topic].tags[place] for place, topic in enumerate(said)))


def _fill(template: str, topic: Topic, appeal: float, rng: np.random.Generator) -> str:
    adjective, adjective2 = _pick(_tier(appeal, rng).adjectives, rng), _pick(_tier(appeal, rng).adjectives, rng)
    doing, doing2 = rng.permutation(len(topic.doings))[:2]
    return template.format(
        opening=_pick(_tier(appeal, rng).openings, rng),
        verdict=_pick(_tier(appeal, rng).verdicts, rng),
        adjective=adjective,
        adjective2=adjective2,
        subject=_pick(topic.subjects, rng),
        setting=_pick(topic.settings, rng),
        doing=topic.doings[doing],
        doing2=topic.doings[doing2],
    )


def _tier(appeal: float, rng: np.random.Generator) -> Tier:
    level = len(TIERS) * float(percentile(appeal)) + _BLUR * rng.standard_normal()
    return TIERS[int(np.clip(level, 0, len(TIERS) - 1))]


def _pick(choices: Sequence[T], rng: np.random.Generator) -> T:
    return choices[int(rng.integers(len(choices)))]


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
