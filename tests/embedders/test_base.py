"""What the bundled embedders know, and what loading one refuses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from embedders.base import Embedder, load_embedder, require_weights
from embedders.specs import SPECS
from feature_repo.catalog_rows import CatalogItem
from feature_repo.errors import ConfigurationError, WeightsError
from feature_repo.settings import Settings

Loaded = Callable[[str], Embedder]
MakeItem = Callable[..., CatalogItem]
Paint = Callable[..., Image.Image]
Encode = Callable[..., bytes]


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


def test_tokens_of_an_embedder_that_gives_none_are_refused(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("embedders.text.TextEmbedder.encode_tokens", Embedder.encode_tokens)
    with pytest.raises(ConfigurationError, match=r"LARDER_TOKENS\): minilm has none to give"):
        load_embedder("minilm", settings.model_copy(update={"tokens": {"minilm": 4}}))
