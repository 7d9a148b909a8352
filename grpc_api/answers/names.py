"""Parts of a release by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from feature_repo.errors import NotFoundError

T = TypeVar("T")


def named(kind: str, name: str, table: Mapping[str, T]) -> T:
    """The part of that name. Raises NotFoundError that lists those there are."""
    try:
        return table[name]
    except KeyError:
        loaded = ", ".join(sorted(table)) or "none"
        raise NotFoundError(f"{kind}: {name!r} is not in this release; there are: {loaded}") from None
