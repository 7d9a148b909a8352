"""Pictures with texts as matrices: how they are kept while something is fitted on them, and how they are split."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import numpy.typing as npt

from embedders.fitted import encoder_dir
from feature_repo.catalog_rows import CatalogItem
from feature_repo.contracts import Modality, digest
from feature_repo.errors import InputError
from feature_repo.settings import Settings

Rows = npt.NDArray[np.int64]
Matrix = npt.NDArray[np.float32]

LEAST = (8, 2)  # pictures to train on and to check with
VALIDATION = 0.1  # share of the pictures that is held out where nobody says which


@dataclass(frozen=True, slots=True)
class Pairs:
    """(n, d) float32 of pictures, (m, e) float32 of texts, and the picture of each text, (m,) int64 in order."""

    images: Matrix
    texts: Matrix
    image_of: Rows

    def __post_init__(self) -> None:
        if len(self.image_of) != len(self.texts) or (np.diff(self.image_of) < 0).any():
            raise InputError("each text needs the row of its picture, and texts lie in the order of those rows")
        if not np.array_equal(np.unique(self.image_of), np.arange(len(self.images))):
            raise InputError("each picture needs a text, and each text a picture")

    def texts_of(self, images: Rows) -> Rows:
        """Rows of the texts of those pictures, one picture after the other."""
        starts, ends = (np.searchsorted(self.image_of, images, side) for side in ("left", "right"))
        return np.concatenate([np.arange(start, end) for start, end in zip(starts, ends, strict=True)])


def check_split(train: Rows, validation: Rows) -> None:
    """Raise InputError where there are too few pictures, or some are on both sides."""
    if len(train) < LEAST[0] or len(validation) < LEAST[1]:
        raise InputError(
            f"{len(train)} pictures with texts to train on and {len(validation)} to check with: "
            f"{LEAST[0]} and {LEAST[1]} are the least"
        )
    if np.isin(validation, train).any():
        raise InputError("a picture is in training and in validation at once")


def split_key(item: CatalogItem) -> int:
    """What decides on which side of a split a content falls: contents with the same picture fall together."""
    medium = item.media.get(Modality.IMAGE)
    picture = medium.digest if medium else None
    return int(digest(picture or item.content.content_id, size=8), 16)


def held_out(keys: npt.NDArray[np.uint64]) -> npt.NDArray[np.bool_]:
    """Which rows validate: about a tenth, those of the smallest keys; rows of one key are never parted."""
    if not len(keys):
        return np.zeros(0, bool)
    count = max(1, round(VALIDATION * len(keys)))
    return np.asarray(keys <= np.partition(keys, count - 1)[count - 1])


def open_matrix(path: Path, rows: int, width: int) -> Matrix:
    """A (rows, width) float32 matrix that lies in a file and takes memory only where it is used."""
    matrix: Matrix = np.lib.format.open_memmap(path, "w+", np.float32, (max(rows, 1), width))
    return matrix


@contextmanager
def scratch(settings: Settings, encoder: str) -> Iterator[Path]:
    """A folder of the workspace that goes with the fit of an encoder."""
    parent = encoder_dir(settings, encoder)
    parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=parent, prefix=".fitting-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)
