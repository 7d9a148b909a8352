"""A medium's file, and what is said where it cannot be opened."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from feature_repo.errors import MediaError


@contextmanager
def file_errors(path: Path) -> Iterator[None]:
    """Raise MediaError for an OSError within the block: the file is missing or unreadable."""
    try:
        yield
    except FileNotFoundError as error:
        raise MediaError(f"file missing: {path}") from error
    except OSError as error:
        raise MediaError(f"file unreadable: {path}: {error.strerror}") from error
