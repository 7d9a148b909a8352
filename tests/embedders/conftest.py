"""Pictures, contents and models that the embedders' tests share."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from embedders.base import Embedder, load_embedder
from feature_repo.catalog import Catalog
from feature_repo.catalog_rows import CatalogItem, MediaRow
from feature_repo.contracts import Content, Modality
from feature_repo.settings import load_settings
from tests.embedders import tiny
from tests.embedders.behaviour import NOON, painted

Paint = Callable[..., Image.Image]
Encode = Callable[..., bytes]
MakeItem = Callable[..., CatalogItem]


@pytest.fixture(scope="session")
def paint() -> Paint:
    """A smooth coloured picture of the seed's own."""
    return painted


@pytest.fixture(scope="session")
def encode() -> Encode:
    """The bytes of a picture in a format."""

    def _encode(image: Image.Image, fmt: str = "PNG", **options: object) -> bytes:
        buffer = BytesIO()
        image.save(buffer, fmt, **options)
        return buffer.getvalue()

    return _encode


@pytest.fixture(scope="session")
def png() -> bytes:
    """A picture's bytes."""
    buffer = BytesIO()
    painted(0).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(scope="session")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole open_clip model with random weights."""
    return tiny.save_open_clip(tmp_path_factory.mktemp("clip"), tiny.CLIP)


@pytest.fixture(scope="session")
def small_bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What `LARDER_MODELS` says for tiny encoders of pictures and texts, 32 wide, and heads over them."""
    folder = tmp_path_factory.mktemp("bases")
    for name in ("vit", "bert"):
        (folder / name).mkdir()
    return {"aligned": "vit+bert", **tiny.vit(folder / "vit"), **tiny.bert(folder / "bert")}


@pytest.fixture(scope="session")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Embedder]:
    """Bundled embedders by name, each loaded once."""
    made: dict[str, Embedder] = {}
    settings = load_settings(home=tmp_path_factory.mktemp("home"), batch_size=4)

    def _loaded(name: str) -> Embedder:
        if name not in made:
            made[name] = load_embedder(name, settings)
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
