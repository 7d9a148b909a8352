"""What enters the fitted part of a tower, taken of every content once and kept in a file while the fit goes on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from embedders.base import Decoded
from embedders.tuned import States, Tower
from feature_repo.catalog_rows import CatalogItem
from feature_repo.contracts import Modality, digest
from feature_repo.errors import MediaError
from feature_repo.files import replacing
from predictors.tracking import Run

_BATCH = 16  # contents a pass, at most: an embedder of texts would cut its window by length

Counts = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class StateFile:
    """States of n contents, each in `views` views, one after the other in `numbers`, (m, …) float16 on disk.

    A view of content i has `lengths[i]` rows, 0 where there is no such medium. `words` are the texts' token ids.
    """

    numbers: States
    lengths: Counts
    starts: Counts
    words: Counts
    views: int

    @classmethod
    def open(cls, folder: Path) -> StateFile:
        """Read what `_write` wrote."""
        lengths, words, shape = (np.load(folder / f"{part}.npy") for part in ("lengths", "words", "shape"))
        views, *each = shape.tolist()
        size = (views * int(lengths.sum()), *each)
        numbers = np.memmap(folder / "numbers", np.float16, "r", shape=size) if size[0] else np.empty(size, np.float16)
        return cls(numbers, lengths, np.cumsum(lengths) - lengths, words, views)

    @property
    def present(self) -> npt.NDArray[np.bool_]:
        """Which contents have the medium, (n,)."""
        return self.lengths > 0

    def states(self, row: int, view: int) -> States:
        """Of one content, as `Tower.above` takes them."""
        first, length = self.views * self.starts[row] + view * self.lengths[row], self.lengths[row]
        return np.asarray(self.numbers[first : first + length])

    def words_of(self, row: int) -> Decoded:
        """Token ids of a content's text; nothing of a picture."""
        return self.words[self.starts[row] : self.starts[row] + self.lengths[row]]


def take_states(
    tower: Tower, items: Sequence[CatalogItem], mirror: bool, folder: Path, workers: int, run: Run
) -> StateFile:
    """The states of all contents; they are in `folder` already where the same part of a net read the same media before.

    With `mirror` a picture's second view is mirrored.
    """
    spec = tower.embedder.spec
    mirror = mirror and spec.modality is Modality.IMAGE
    media = [item.media.get(spec.modality) for item in items]
    seen = [f"{item.content.row_digest} {medium and medium.digest}" for item, medium in zip(items, media, strict=True)]
    path = folder / f"{spec.name}-{digest(spec.digest, str(tower.frozen), str(mirror), *seen, size=8)}"
    if not path.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        with replacing(path, durable=False) as beside:
            beside.mkdir()
            _write(beside, tower, items, mirror, workers, run)
    return StateFile.open(path)


def _write(folder: Path, tower: Tower, items: Sequence[CatalogItem], mirror: bool, workers: int, run: Run) -> None:
    spec = tower.embedder.spec
    views = 2 if mirror else 1
    lengths = np.zeros(len(items), np.int64)
    words: list[Decoded] = [np.empty(0, np.int64)]
    shape: tuple[int, ...] = ()
    with (folder / "numbers").open("wb") as file:
        for rows, decoded in _decoded(tower, items, max(1, min(tower.embedder.window, _BATCH) // views), workers):
            both = [shown for one in decoded for shown in ((one, one[:, ::-1]) if mirror else (one,))]
            states = tower.below(both) if both else []
            for number, row in enumerate(rows):
                for made in states[number * views : (number + 1) * views]:
                    lengths[row], shape = len(made), made.shape[1:]
                    file.write(made.tobytes())
            words += decoded if spec.modality is Modality.TEXT else []
            run.stage(f"read {spec.modality}s", min(rows[-1] + 1 if rows else 0, len(items)), len(items))
    for part, value in (("lengths", lengths), ("words", np.concatenate(words)), ("shape", np.array([views, *shape]))):
        np.save(folder / f"{part}.npy", value)


def _decoded(
    tower: Tower, items: Sequence[CatalogItem], size: int, workers: int
) -> Iterator[tuple[list[int], list[Decoded]]]:
    """Of `size` contents at a time, the rows that can be read and what they are."""

    def read(item: CatalogItem) -> Decoded | None:
        try:
            return tower.embedder.decode(item)
        except MediaError:
            return None

    with ThreadPoolExecutor(workers) as pool:
        for first in range(0, len(items), size):
            found = enumerate(pool.map(read, items[first : first + size]), first)
            batch = [(row, decoded) for row, decoded in found if decoded is not None]
            yield [row for row, _ in batch], [decoded for _, decoded in batch]
