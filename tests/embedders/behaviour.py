"""What the behaviour suite is run over: an embedder with contents that it reads and, for a hub model, a tiny one.

Each room of models keeps its cases in a module of its own; `test_behaviour.py` puts the tables together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from PIL import Image

from feature_repo.catalog_rows import CatalogItem, MediaRow
from feature_repo.contracts import Content, Modality

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)

# Of different lengths and in no order of it, so that batches by length have to be undone.
TITLES = (
    "a cat",
    "two dogs in the rain, which fell all day on the old town and its people",
    "tea",
    "a red train",
    "a cup",
)

MakeItems = Callable[[Path], Sequence[CatalogItem]]


@dataclass(frozen=True)
class Case:
    """`spec` is the embedder's name, `items` writes five contents into a folder, `model` a tiny model into one.

    `model` returns what `LARDER_MODELS` says for its family, as {family: source}. `tokens` is how many the suite asks
    for; 0: the embedder has none. `broken` are contents that cannot be read, by the reason that `decode` gives.
    """

    spec: str
    items: MakeItems
    model: Callable[[Path], Mapping[str, str]] = field(default=lambda folder: {})
    tokens: int = 0
    broken: Callable[[Path], Mapping[str, CatalogItem]] = field(default=lambda folder: {})


def item(content_id: str, title: str = "", **media: Path) -> CatalogItem:
    """A content of the catalog with files by modality."""
    paths = {Modality(name): path for name, path in media.items()}
    rows = {modality: MediaRow(path, "digest", NOON) for modality, path in paths.items()}
    return CatalogItem(Content(content_id, title, NOON, media=paths), NOON, rows)


def painted(seed: int, width: int = 64, height: int = 48) -> Image.Image:
    """A smooth coloured picture of the seed's own."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def texts(folder: Path) -> list[CatalogItem]:
    """Five titles."""
    return [item(f"c{n}", title) for n, title in enumerate(TITLES)]


def pictures(folder: Path) -> list[CatalogItem]:
    """Five pictures."""
    paths = [folder / f"{n}.png" for n in range(len(TITLES))]
    for n, path in enumerate(paths):
        painted(n).save(path)
    return [item(f"c{n}", image=path) for n, path in enumerate(paths)]


def textless(folder: Path) -> dict[str, CatalogItem]:
    """Contents without a text."""
    return {r"^no text$": item("a", "  ")}


def pictureless(folder: Path) -> dict[str, CatalogItem]:
    """Contents without a picture that can be read."""
    text, empty = folder / "text.jpg", folder / "empty.jpg"
    text.write_text("text")
    empty.write_bytes(b"")
    return {
        r"^no image$": item("a", "a title"),
        r"^file missing: .*gone\.jpg$": item("b", image=folder / "gone.jpg"),
        r"^file unreadable: ": item("c", image=folder),
        r"^not a picture": item("d", image=text),
        r"^empty file$": item("e", image=empty),
    }
