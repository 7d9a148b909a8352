"""What every command starts from: the workspace it works on, and its arguments as the rooms want them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from feature_repo.errors import InputError

if TYPE_CHECKING:
    from larder.steps import Workspace

Json = Annotated[bool, typer.Option("--json", help="Print the result as one JSON document.")]


@contextmanager
def workspace(sub: str = "", **overrides: object) -> Iterator[Workspace]:
    """The workspace of the environment, or the one at `sub` below it, with settings overridden where not None."""
    from feature_repo.catalog import Catalog
    from feature_repo.settings import load_settings
    from larder.display import Display
    from larder.steps import Workspace

    settings = load_settings(**overrides)
    if sub:
        settings = load_settings(**overrides | {"home": settings.home / sub})
    with Catalog(settings.catalog) as catalog:
        yield Workspace(settings, catalog, Display())


def utc(moment: datetime | None) -> datetime | None:
    """A time as typed, which has no zone, as the UTC that it means."""
    return None if moment is None else moment.replace(tzinfo=UTC)


def read_file(path: Path) -> bytes:
    """The bytes of a file that the caller named. Raises InputError."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
