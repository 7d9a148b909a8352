"""Which contents train, which stop the training, and which are held out for the measurement."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import numpy.typing as npt

from feature_repo.contracts import digest
from feature_repo.errors import unknown_name

Rows = npt.NDArray[np.intp]

TRAIN, VALID = 0.8, 0.1  # shares; the rest is the test split


@dataclass(frozen=True, slots=True)
class Splits:
    """Disjoint row numbers of a frame: every row is in one of the three."""

    train: Rows
    valid: Rows
    test: Rows

    @property
    def sizes(self) -> dict[str, int]:
        """Rows in each."""
        return {"train": len(self.train), "valid": len(self.valid), "test": len(self.test)}


def random_split(content_ids: Sequence[str], published_at: Sequence[datetime], seed: int) -> Splits:
    """80/10/10 by a hash of the id and the seed: a content keeps its split when others come or go."""
    del published_at
    space = float(1 << 64)
    return _cut(np.array([int(digest("split", str(seed), c, size=8), 16) / space for c in content_ids]))


def time_split(content_ids: Sequence[str], published_at: Sequence[datetime], seed: int) -> Splits:
    """The earliest 80 % train, the next 10 % validate, the last 10 % test; ids break ties of time."""
    del seed
    order = sorted(range(len(content_ids)), key=lambda row: (published_at[row], content_ids[row]))
    place = np.empty(len(order))
    place[order] = np.arange(len(order)) / max(len(order), 1)
    return _cut(place)


SPLITS: Mapping[str, Callable[[Sequence[str], Sequence[datetime], int], Splits]] = {
    "random": random_split,
    "time": time_split,
}


def split(kind: str, content_ids: Sequence[str], published_at: Sequence[datetime], seed: int) -> Splits:
    """The split of that name. Raises ConfigurationError for a name outside `SPLITS`."""
    if kind not in SPLITS:
        raise unknown_name("split", kind, SPLITS)
    return SPLITS[kind](content_ids, published_at, seed)


def _cut(place: npt.NDArray[np.float64]) -> Splits:
    """Rows by their place in [0, 1)."""
    kinds = np.searchsorted([TRAIN, TRAIN + VALID], place, side="right")
    train, valid, test = (np.flatnonzero(kinds == kind) for kind in range(3))
    return Splits(train, valid, test)
