"""Describe: what is loaded and what a request may ask."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PredictorInfo:
    """A loaded predictor."""

    name: str
    version: str
    service: str
    features: tuple[str, ...]
    class_count: int
    metrics: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class EmbeddingInfo:
    """An embedding of the release."""

    name: str
    dim: int
    spec_digest: str
    query_modalities: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class IndexInfo:
    """A loaded index; `recall` is recall@10 against exact search."""

    embedding: str
    version: str
    kind: str
    count: int
    recall: float


@dataclass(frozen=True, slots=True)
class VariantInfo:
    """One arm of an experiment: its share of the users, 0 to 1."""

    name: str
    release: str
    share: float


@dataclass(frozen=True, slots=True)
class Limits:
    """What a request may ask at most."""

    candidates: int = 1000
    k: int = 1000
    text_characters: int = 10_000
    payload_bytes: int = 8 * 2**20
    raw_contents: int = 16
    pool: int = 1000
    events: int = 10_000


@dataclass(frozen=True, slots=True)
class Description:
    """What is loaded."""

    release: str
    predictors: tuple[PredictorInfo, ...]
    embeddings: tuple[EmbeddingInfo, ...]
    indexes: tuple[IndexInfo, ...]
    limits: Limits
    variants: tuple[VariantInfo, ...] = ()
