"""What files say, read again once they change."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

from feature_repo.errors import LarderError

log = logging.getLogger(__name__)

T = TypeVar("T")
EVERY_S = 1.0
Stamp = tuple[int, int, int] | None


class Watched(Generic[T]):
    """What `read` makes of some files; they are looked at once in `every_s` seconds, while somebody asks.

    What `read` refuses later on (a LarderError) is logged, and the value before it stays in use.
    """

    def __init__(self, paths: Sequence[Path], read: Callable[[], T], every_s: float = EVERY_S) -> None:
        self._paths = paths
        self._read = read
        self._every_s = every_s
        self._looked = time.monotonic()
        self._stamps = self._look()
        self._value = read()

    @property
    def value(self) -> T:
        """What the files say now."""
        now = time.monotonic()
        if now - self._looked >= self._every_s:
            self._looked = now
            if (stamps := self._look()) != self._stamps:
                self._stamps = stamps
                self._renew()
        return self._value

    def _renew(self) -> None:
        try:
            self._value = self._read()
        except LarderError as error:
            log.error("stays with what it read before: %s", error)
        else:
            log.info("read again: %s", ", ".join(path.name for path in self._paths))

    def _look(self) -> list[Stamp]:
        return [_stamp(path) for path in self._paths]


def _stamp(path: Path) -> Stamp:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
