"""What the rooms hand each other: contents, users, interactions and embedding specs.

Standard library only, so that every room can import it at no cost. All times are aware and in UTC.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from functools import cached_property
from pathlib import Path


class Modality(StrEnum):
    """What a medium is; also the key of `Content.media`. Captions are a subtitle file, VTT or SRT."""

    IMAGE = "image"
    TEXT = "text"
    AUDIO = "audio"
    VIDEO = "video"
    CAPTIONS = "captions"


class EventType(StrEnum):
    """What a user did. `rating` and `view` carry a value (stars, seconds watched); the others count as 1."""

    IMPRESSION = "impression"
    VIEW = "view"
    LIKE = "like"
    SHARE = "share"
    COMMENT = "comment"
    RATING = "rating"


# What one count of each counter adds to a content's engagement. The dearer an act is to the user, the more it says: a
# comment over a like over a view. An impression is the platform's own doing and says nothing.
ENGAGEMENT_WEIGHTS: Mapping[str, float] = {
    "impressions": 0.0,
    "views": 1.0,
    "likes": 2.0,
    "comments": 3.0,
    "shares": 4.0,
    "favorites": 3.0,
    "coins": 3.0,
    "barrages": 1.0,
    "ratings": 1.0,
    "votes": 1.0,
}

# Embeddings whose encoders were fitted on engagement itself: their vectors know the labels of the contents they were
# fitted on, so only the predictor that fitted them may read them.
ENGAGEMENT_FITTED = ("tuned_image", "tuned_text")


def digest(*parts: str | bytes, size: int = 16) -> str:
    """Hex BLAKE2b of the parts, each framed by its length so that no two lists of parts collide."""
    state = hashlib.blake2b(digest_size=size)
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        state.update(len(data).to_bytes(8, "little"))
        state.update(data)
    return state.hexdigest()


def require_utc(name: str, value: datetime) -> None:
    """Raise ValueError unless `value` is aware and in UTC."""
    if value.tzinfo is None or value.utcoffset() != UTC.utcoffset(None):
        raise ValueError(f"{name} must be in UTC, not {value!r}")


@dataclass(frozen=True, slots=True)
class Content:
    """One item of a catalog.

    `counters` are totals as the source reports them (views, likes, votes…): they are labels and are
    never a feature. `attributes` are facts known at publication; `year`, `duration_s` and `language`
    become features. `media` maps a modality to a file, which may not exist.
    """

    content_id: str
    title: str
    published_at: datetime
    description: str = ""
    creator_id: str | None = None
    tags: tuple[str, ...] = ()
    attributes: Mapping[str, float | str] = field(default_factory=dict)
    counters: Mapping[str, float] = field(default_factory=dict)
    media: Mapping[Modality, Path] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.content_id:
            raise ValueError("content_id is empty")
        require_utc("published_at", self.published_at)

    @property
    def text(self) -> str:
        """Title and description as a text encoder reads them; empty where there is neither."""
        return ". ".join(part for part in (self.title.strip(), self.description.strip()) if part)

    @property
    def row_digest(self) -> str:
        """Changes whenever anything but the media files' bytes changes."""
        row = asdict(self)
        row["media"] = {str(k): str(v) for k, v in sorted(self.media.items())}
        return digest(json.dumps(row, sort_keys=True, default=str))


@dataclass(frozen=True, slots=True)
class User:
    """A user and the facts known about them (age, occupation…)."""

    user_id: str
    attributes: Mapping[str, float | str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.user_id:
            raise ValueError("user_id is empty")


@dataclass(frozen=True, slots=True)
class Interaction:
    """One event of the log. `value` is the stars of a rating or the seconds of a view, else 1.0."""

    user_id: str
    content_id: str
    event: EventType
    timestamp: datetime
    value: float = 1.0

    def __post_init__(self) -> None:
        if not self.user_id or not self.content_id:
            raise ValueError("user_id and content_id must not be empty")
        require_utc("timestamp", self.timestamp)

    @property
    def event_id(self) -> str:
        """Names the event by what it says, so that the same event ingested twice counts once."""
        return digest(self.user_id, self.content_id, self.event, self.timestamp.isoformat(), repr(self.value))


@dataclass(frozen=True, slots=True)
class Event:
    """An interaction under the name that its sender gave it; `request_id` is the call that showed the content."""

    event_id: str
    interaction: Interaction
    request_id: str | None = None


@dataclass(frozen=True)
class EmbeddingSpec:
    """One embedder as data: enough to list it, name its feature view and tell its vectors from others.

    `loader` is "module:Class", imported only when the embedder is used. `options` reach the loader and
    are part of the fingerprint, as is `weights`, a name that changes when the weights do.
    `query_modalities` are what a caller may search its index with (CLIP: text finds images). `tokens` is how many
    states it keeps beside each vector (patches, words), each `token_dim` wide; a `token_dim` of 0: it has none to give.
    """

    name: str
    modality: Modality
    dim: int
    weights: str
    loader: str
    normalised: bool = True
    query_modalities: tuple[Modality, ...] = ()
    options: Mapping[str, str | int | float] = field(default_factory=dict)
    profile: str = "bundled"
    licence: str = ""
    version: int = 1
    tokens: int = 0
    token_dim: int = 0

    @cached_property
    def digest(self) -> str:
        """Fingerprint of everything that decides what the vectors are; 16 hex digits."""
        silent = {"loader", "query_modalities", "profile", "licence"}
        if not self.tokens:  # a spec that keeps none is what it was before there were any
            silent |= {"tokens", "token_dim"}
        said = {k: v for k, v in asdict(self).items() if k not in silent}
        return digest(json.dumps(said, sort_keys=True), size=8)
