"""One behaviour suite over every embedder."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from embedders.base import Decoded, Embedder, load_embedder, require_weights
from embedders.specs import SPECS, resolve_spec
from feature_repo.catalog_rows import CatalogItem
from feature_repo.contracts import Modality
from feature_repo.errors import ConfigurationError, MediaError, WeightsError
from feature_repo.settings import Settings

Loaded = Callable[[str], Embedder]
MakeItem = Callable[..., CatalogItem]
Paint = Callable[..., Image.Image]
Encode = Callable[..., bytes]

TITLES = [
    "a cat",
    "two dogs in the rain, which fell all day on the old town and its people",
    "tea",
    "a red train",
    "a cup",
]
every = pytest.mark.parametrize("name", sorted(SPECS))
of_images = pytest.mark.parametrize("name", ["efficientnet_lite0", "clip_image"])
of_texts = pytest.mark.parametrize("name", ["minilm", "clip_text"])


@pytest.fixture
def decoded(loaded: Loaded, item: MakeItem, paint: Paint, encode: Encode) -> Callable[[str], list[Decoded]]:
    def _decoded(name: str) -> list[Decoded]:
        items = [item(f"c{n}", title, encode(paint(n))) for n, title in enumerate(TITLES)]
        return [loaded(name).decode(it) for it in items]

    return _decoded


@every
def test_vectors_have_the_specs_shape_and_unit_length(
    name: str, loaded: Loaded, decoded: Callable[[str], list[Decoded]], clip_settings: Settings
) -> None:
    embedder = loaded(name)
    vectors = embedder.encode(decoded(name))
    assert embedder.spec == resolve_spec(name, clip_settings)
    assert vectors.shape == (len(TITLES), embedder.spec.dim)
    assert vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


@every
def test_the_same_input_gives_the_same_bytes(
    name: str, loaded: Loaded, decoded: Callable[[str], list[Decoded]]
) -> None:
    assert loaded(name).encode(decoded(name)).tobytes() == loaded(name).encode(decoded(name)).tobytes()


@every
def test_a_batch_equals_its_items_in_order(name: str, loaded: Loaded, decoded: Callable[[str], list[Decoded]]) -> None:
    inputs = decoded(name)
    together = loaded(name).encode(inputs)
    alone = np.concatenate([loaded(name).encode([one]) for one in inputs])
    assert np.allclose(together, alone, atol=1e-4)
    assert np.abs(together[0] - together[1]).max() > 1e-3


@every
def test_a_query_is_embedded_as_a_content_is(
    name: str, loaded: Loaded, decoded: Callable[[str], list[Decoded]], paint: Paint, encode: Encode
) -> None:
    embedder = loaded(name)
    image = embedder.spec.modality is Modality.IMAGE
    query = embedder.embed_image(encode(paint(0))) if image else embedder.embed_text(TITLES[0])
    assert np.allclose(query, embedder.encode(decoded(name))[0], atol=1e-4)


@every
def test_queries_of_other_kinds_are_refused(name: str, loaded: Loaded, paint: Paint, encode: Encode) -> None:
    embedder = loaded(name)
    asks: dict[Modality, Callable[[], object]] = {
        Modality.TEXT: lambda: embedder.embed_text("tea"),
        Modality.IMAGE: lambda: embedder.embed_image(encode(paint(0))),
    }
    for modality, ask in asks.items():
        if modality in embedder.spec.query_modalities:
            ask()
        else:
            with pytest.raises(ConfigurationError, match=f"{name} cannot be searched by {modality}: it takes"):
                ask()


@of_images
def test_a_content_without_a_picture_says_so(name: str, loaded: Loaded, item: MakeItem, tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=r"^no image$"):
        loaded(name).decode(item())
    with pytest.raises(MediaError, match=r"^file missing: .*gone\.jpg$"):
        loaded(name).decode(item(picture=tmp_path / "gone.jpg"))
    with pytest.raises(MediaError, match=r"^file unreadable: "):
        loaded(name).decode(item(picture=tmp_path))
    with pytest.raises(MediaError, match=r"^not a picture"):
        loaded(name).embed_image(b"text")


@of_texts
def test_a_content_without_text_says_so(name: str, loaded: Loaded, item: MakeItem) -> None:
    with pytest.raises(MediaError, match=r"^no text$"):
        loaded(name).decode(item(title="  "))
    with pytest.raises(MediaError, match=r"^no text$"):
        loaded(name).embed_text(" ")


@of_texts
def test_a_long_text_is_cut(name: str, loaded: Loaded) -> None:
    cat, dog = (loaded(name).embed_text("word " * 600 + end) for end in ("cat", "dog"))
    assert np.array_equal(cat, dog)


def test_minilm_knows_a_paraphrase(loaded: Loaded) -> None:
    texts = ["A man is eating food.", "Someone eats a meal.", "The stock market fell sharply today."]
    man, meal, market = (loaded("minilm").embed_text(text) for text in texts)
    assert man @ meal > 0.6 > 0.2 > man @ market


def test_minilm_gives_the_published_vector(loaded: Loaded) -> None:
    """First values for "This is an example sentence" as sentence-transformers computes them."""
    vector = loaded("minilm").embed_text("This is an example sentence")
    assert np.allclose(vector[:4], [0.067657, 0.063496, 0.048713, 0.079305], atol=1e-4)


def test_efficientnet_sees_the_same_scene_in_two_crops(loaded: Loaded, encode: Encode) -> None:
    y, x = np.mgrid[0:256, 0:256]
    dunes = np.stack([128 + 100 * np.sin(x / 9 + 4 * np.sin(y / 40)), 90 + y / 3, 60 + x / 5], -1)
    tiles = np.where(((x // 32 + y // 32) % 2 == 0)[..., None], (250, 250, 250), (20, 30, 160))
    scenes = [Image.fromarray(scene.clip(0, 255).astype(np.uint8)) for scene in (dunes, tiles)]
    left, right, other = (
        loaded("efficientnet_lite0").embed_image(encode(scene.crop(box)))
        for scene, box in (
            (scenes[0], (0, 0, 224, 224)),
            (scenes[0], (32, 32, 256, 256)),
            (scenes[1], (0, 0, 224, 224)),
        )
    )
    assert left @ right > 0.2 + left @ other


def test_a_clip_that_cannot_be_loaded_says_what_to_do(clip_folder: Path, tmp_path: Path, settings: Settings) -> None:
    broken = shutil.copytree(clip_folder, tmp_path / "broken")
    (broken / "open_clip_pytorch_model.bin").write_bytes(b"no weights")
    choices = [{"clip_model": f"local-dir:{broken}"}, {"clip_weights": "no_such_tag"}]
    for choice in choices:
        with pytest.raises(WeightsError, match=r"LARDER_CLIP_WEIGHTS=/path/to/checkpoint.*efficientnet_lite0"):
            load_embedder("clip_image", settings.model_copy(update=choice))


def test_a_tag_without_a_network_says_what_to_do(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    chosen = settings.model_copy(update={"clip_weights": "laion2b_s34b_b79k"})
    with pytest.raises(WeightsError, match=r"laion2b_s34b_b79k.*LARDER_CLIP_WEIGHTS=/path/to/checkpoint"):
        load_embedder("clip_text", chosen)


def test_weights_other_than_the_specs_are_refused(tmp_path: Path) -> None:
    (tmp_path / "weights").write_bytes(b"other")
    for path in (tmp_path / "weights", tmp_path / "none"):
        with pytest.raises(WeightsError, match=r"does not hold the weights .* install some-package==0.1.0"):
            require_weights(path, SPECS["minilm"], "some-package")


def test_a_gpu_that_is_not_there_is_a_configuration_error(settings: Settings) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(ConfigurationError, match="LARDER_DEVICE"):
        load_embedder("efficientnet_lite0", settings.model_copy(update={"device": "cuda"}))
