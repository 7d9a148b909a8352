"""Pictures, contents and a tiny CLIP that the embedders' tests share."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image

from embedders.base import Embedder, load_embedder
from feature_repo.catalog import Catalog
from feature_repo.catalog_rows import CatalogItem, MediaRow
from feature_repo.contracts import Content, Modality
from feature_repo.settings import Settings, load_settings

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
TINY_CLIP = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 32, "patch_size": 8, "head_width": 16},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2},
}

Paint = Callable[..., Image.Image]
Encode = Callable[..., bytes]
MakeItem = Callable[..., CatalogItem]


@pytest.fixture(scope="session")
def paint() -> Paint:
    """A smooth coloured picture of the seed's own."""

    def _paint(seed: int, width: int = 64, height: int = 48) -> Image.Image:
        coarse = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), np.uint8)
        return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)

    return _paint


@pytest.fixture(scope="session")
def encode() -> Encode:
    """The bytes of a picture in a format."""

    def _encode(image: Image.Image, fmt: str = "PNG", **options: object) -> bytes:
        buffer = BytesIO()
        image.save(buffer, fmt, **options)
        return buffer.getvalue()

    return _encode


@pytest.fixture(scope="session")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole open_clip model with random weights, as `local-dir:` reads it."""
    folder = tmp_path_factory.mktemp("clip")
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": TINY_CLIP, "preprocess_cfg": {}}))
    torch.manual_seed(0)
    model = open_clip.create_model(f"local-dir:{folder}", load_weights=False)
    torch.save(model.state_dict(), folder / "open_clip_pytorch_model.bin")
    return folder


@pytest.fixture(scope="session")
def clip_settings(tmp_path_factory: pytest.TempPathFactory, clip_folder: Path) -> Settings:
    """Settings under which every embedder can be loaded."""
    return load_settings(home=tmp_path_factory.mktemp("home"), clip_model=f"local-dir:{clip_folder}", batch_size=4)


@pytest.fixture(scope="session")
def loaded(clip_settings: Settings) -> Callable[[str], Embedder]:
    """Embedders by name, each loaded once."""
    made: dict[str, Embedder] = {}

    def _loaded(name: str) -> Embedder:
        if name not in made:
            made[name] = load_embedder(name, clip_settings)
        return made[name]

    return _loaded


@pytest.fixture
def item(tmp_path: Path) -> MakeItem:
    """A catalog item with the given text and picture."""

    def _item(content_id: str = "a", title: str = "", picture: bytes | Path | None = None) -> CatalogItem:
        media = {}
        if picture is not None:
            path = picture if isinstance(picture, Path) else tmp_path / f"{content_id}.img"
            if isinstance(picture, bytes):
                path.write_bytes(picture)
            media = {Modality.IMAGE: MediaRow(path, "digest", NOON)}
        content = Content(content_id, title, NOON, media={m: row.path for m, row in media.items()})
        return CatalogItem(content, NOON, media)

    return _item


@pytest.fixture
def posts(tmp_path: Path, catalog: Catalog, paint: Paint, encode: Encode) -> list[Content]:
    """Ten contents with a picture and a title each, in the catalog."""
    contents = []
    for n in range(10):
        path = tmp_path / f"{n}.jpg"
        path.write_bytes(encode(paint(n), "JPEG"))
        title = f"Post {n} about " + " ".join(["rain", "tea", "trains"][: 1 + n % 3])
        contents.append(Content(f"c{n}", title, NOON, media={Modality.IMAGE: path}))
    catalog.upsert_contents(contents, "posts")
    return contents
