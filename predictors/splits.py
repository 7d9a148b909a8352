"""Which contents train, which stop the training, and which are held out for the measurement."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from feature_repo.contracts import digest
from feature_repo.errors import InputError, unknown_name

Rows = npt.NDArray[np.intp]
Times = npt.NDArray[np.datetime64]

TRAIN, VALID = 0.8, 0.1  # shares; the rest is the test split


@dataclass(frozen=True, slots=True)
class Splits:
    """Disjoint row numbers of a frame. Every row is in one of the three, unless a folder's files leave it out."""

    train: Rows
    valid: Rows
    test: Rows

    @property
    def sizes(self) -> dict[str, int]:
        """Rows in each."""
        return {"train": len(self.train), "valid": len(self.valid), "test": len(self.test)}

    def spans(self, times: Times) -> dict[str, list[str]]:
        """First and last day of each part that has rows, of the times (n,) of all rows."""
        parts = {"train": self.train, "valid": self.valid, "test": self.test}
        days = {part: times[rows].astype("datetime64[D]") for part, rows in parts.items() if len(rows)}
        return {part: [str(some.min()), str(some.max())] for part, some in days.items()}


def random_split(content_ids: Sequence[str], published_at: Sequence[datetime], seed: int) -> Splits:
    """80/10/10 by a hash of the id and the seed: a content keeps its split when others come or go."""
    del published_at
    space = float(1 << 64)
    return cut(np.array([int(digest("split", str(seed), c, size=8), 16) / space for c in content_ids]))


def time_split(content_ids: Sequence[str], published_at: Sequence[datetime], seed: int) -> Splits:
    """The earliest 80 % train, the next 10 % validate, the last 10 % test; ids break ties of time."""
    del seed
    order = sorted(range(len(content_ids)), key=lambda row: (published_at[row], content_ids[row]))
    place = np.empty(len(order))
    place[order] = np.arange(len(order)) / max(len(order), 1)
    return cut(place)


SPLITS: Mapping[str, Callable[[Sequence[str], Sequence[datetime], int], Splits]] = {
    "random": random_split,
    "global": time_split,  # as the same split of events is called
    "time": time_split,
}


def split(kind: str, content_ids: Sequence[str], published_at: Sequence[datetime], seed: int) -> Splits:
    """The split of that name, or of the folder at that path (`folder_split`).

    Raises ConfigurationError where there is neither.
    """
    require_split(kind)
    if kind in SPLITS:
        return SPLITS[kind](content_ids, published_at, seed)
    return folder_split(Path(kind), content_ids)


def require_split(kind: str) -> None:
    """Raise ConfigurationError for what is neither a name of `SPLITS` nor a folder."""
    if kind not in SPLITS and not Path(kind).is_dir():
        raise unknown_name("split", kind, [*SPLITS, "a folder with train.csv, valid.csv and test.csv"])


def folder_split(folder: Path, content_ids: Sequence[str]) -> Splits:
    """The rows whose ids `train.csv`, `valid.csv` and `test.csv` have in their column `id`; others are in no part.

    Raises InputError where a file cannot be read, names a content that is not among `content_ids`, or one that is in
    another part.
    """
    row_of = {content_id: row for row, content_id in enumerate(content_ids)}
    seen: set[str] = set()
    parts: dict[str, Rows] = {}
    for part in ("train", "valid", "test"):
        path = folder / f"{part}.csv"
        ids = _read_ids(path)
        _refuse(path, "not in the catalog, or have no label", ids, [name for name in ids if name not in row_of])
        _refuse(path, "in another part, too", ids, [name for name in ids if name in seen])
        seen.update(ids)
        parts[part] = np.array(sorted(row_of[name] for name in ids), np.intp)
    return Splits(**parts)


def _read_ids(path: Path) -> list[str]:
    try:
        return pl.read_csv(path, columns=["id"], infer_schema=False)["id"].unique(maintain_order=True).to_list()
    except (OSError, pl.exceptions.PolarsError) as error:
        raise InputError(f"{path} cannot be read as a part of a split, with a column id: {error}") from error


def _refuse(path: Path, fault: str, ids: Sequence[str], bad: Sequence[str]) -> None:
    if bad:
        named = ", ".join(bad[:5]) + (", …" if len(bad) > 5 else "")
        raise InputError(f"{path}: {len(bad)} of {len(ids)} contents are {fault}: {named}")


def cut(place: npt.NDArray[np.float64]) -> Splits:
    """Rows by their place in [0, 1)."""
    kinds = np.searchsorted([TRAIN, TRAIN + VALID], place, side="right")
    train, valid, test = (np.flatnonzero(kinds == kind) for kind in range(3))
    return Splits(train, valid, test)
