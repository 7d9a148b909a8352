"""What callers may do."""

from __future__ import annotations

from enum import StrEnum


class Role(StrEnum):
    """What a caller may do: ask, tell what users did, or everything."""

    SCORE = "score"
    LOG = "log"
    ADMIN = "admin"
