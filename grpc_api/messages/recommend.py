"""Recommend: for whom, and what to show."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from grpc_api.messages.filters import Filter

DEFAULT_DIVERSITY = 0.2


class Source(IntEnum):
    """What a user's candidates were found by; the numbers are those of `larder.v1.Source`."""

    USER_VECTOR = 1
    RECENT_LIKES = 2
    POPULAR = 3


@dataclass(frozen=True, slots=True)
class RecommendQuery:
    """Whom to recommend to, and what: see `larder.v1.RecommendRequest`. 0 and "" are the defaults there."""

    user_id: str
    predictor: str = ""
    embedding: str = ""
    k: int = 0
    pool: int = 0
    filters: tuple[Filter, ...] = ()
    exclude_ids: tuple[str, ...] = ()
    include_seen: bool = False
    diversity: float = DEFAULT_DIVERSITY


@dataclass(frozen=True, slots=True)
class Recommendation:
    """One content to show; `score` is the predictor's."""

    content_id: str
    score: float
    title: str


@dataclass(frozen=True, slots=True)
class Recommendations:
    """Contents, best first, and what they were found and scored with."""

    release: str
    variant: str
    request_id: str
    predictor: str
    predictor_version: str
    embedding: str
    recommendations: list[Recommendation]
    source: Source
