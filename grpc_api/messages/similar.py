"""Similar: queries for neighbours, and neighbours."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from grpc_api.messages.filters import Filter

DEFAULT_K = 10


@dataclass(frozen=True, slots=True)
class ByContent:
    """Neighbours of a content that the index holds."""

    content_id: str
    include_self: bool = False


@dataclass(frozen=True, slots=True)
class ByText:
    """Neighbours of a text."""

    text: str


@dataclass(frozen=True, slots=True)
class ByImage:
    """Neighbours of a picture file's bytes."""

    image: bytes


@dataclass(frozen=True, slots=True)
class ByVector:
    """Neighbours of a vector, (dim,) float32, of the one embedding that the query names."""

    vector: npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class ByContents:
    """What is near to all of several contents that the index holds."""

    content_ids: tuple[str, ...]
    include_self: bool = False


Query = ByContent | ByText | ByImage | ByVector | ByContents


@dataclass(frozen=True, slots=True)
class SimilarQuery:
    """What to find neighbours of, under which embeddings by weight (none: the release's default), and how many."""

    query: Query | None
    embeddings: tuple[tuple[str, float], ...] = ()
    k: int = 0
    filters: tuple[Filter, ...] = ()


@dataclass(frozen=True, slots=True)
class TitledNeighbour:
    """One content near the query; a greater score is nearer."""

    content_id: str
    score: float
    title: str


@dataclass(frozen=True, slots=True)
class SearchedIndex:
    """An index that was searched; the weights of an answer sum to 1."""

    embedding: str
    version: str
    weight: float


@dataclass(frozen=True, slots=True)
class Similarities:
    """Neighbours, nearest first, and what they were found with."""

    release: str
    request_id: str
    indexes: tuple[SearchedIndex, ...]
    neighbours: list[TitledNeighbour]
