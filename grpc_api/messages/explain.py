"""Explain: why a content has its score."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

DEFAULT_TOP = 10


@dataclass(frozen=True, slots=True)
class ExplainQuery:
    """Which score to explain, and by how many contributions (0: 10)."""

    predictor: str
    content_id: str
    user_id: str | None = None
    top: int = 0


@dataclass(frozen=True, slots=True)
class Explanation:
    """What moved one score: contributions by name, the most first, and the share of each modality.

    `base` and all contributions sum to the score on the method's scale.
    """

    release: str
    request_id: str
    predictor: str
    predictor_version: str
    score: float
    method: str
    base: float
    contributions: tuple[tuple[str, float], ...]
    modalities: Mapping[str, float]
