"""Maps over pictures light where what counts was drawn."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_images
from torch import nn

from embedders.base import load_embedder
from embedders.media.image import Pixels
from embedders.specs import SPECS
from embedders.tokens import pool_grid
from feature_repo.settings import load_settings
from predictors.explanation.pictures import PictureMap, attention_rollout, grad_cam, overlay, write_pictures
from tests.embedders import tiny

SIDE = 32


class RedAndGreen:
    """A convolutional net whose vector says how much of a picture is red, and how much of it is green."""

    spec = SPECS["efficientnet_lite0"]
    window = 1

    def __init__(self) -> None:
        colours = nn.Conv2d(3, 2, 1)
        with torch.no_grad():
            colours.weight.copy_(torch.tensor([[1.0, -1.0, -1.0], [-1.0, 1.0, -1.0]])[:, :, None, None])
            colours.bias = nn.Parameter(torch.zeros(2))
        relu = nn.ReLU()  # one for both places, as EfficientNet has it
        self.net: nn.Module = nn.Sequential(nn.AvgPool2d(2), relu, nn.Sequential(colours, relu, nn.AvgPool2d(2)))

    def features(self, decoded: list[Pixels], tokens: int) -> tuple[torch.Tensor, torch.Tensor]:
        pixels = torch.from_numpy(np.stack(decoded)).permute(0, 3, 1, 2).float() / 255
        places = self.net(pixels)
        return places.mean((2, 3)), pool_grid(places, tokens)


def two_squares() -> Pixels:
    """A red square at the upper left, a green one at the lower right."""
    pixels = np.zeros((SIDE, SIDE, 3), np.uint8)
    pixels[4:12, 4:12, 0] = 255
    pixels[20:28, 20:28, 1] = 255
    return pixels


def share(heat: Any, rows: slice, columns: slice) -> float:
    return float(heat[rows, columns].sum() / heat.sum())


@pytest.mark.parametrize(("direction", "place"), [((1, 0), slice(2, 14)), ((0, 1), slice(18, 30))])
def test_grad_cam_lights_the_object_that_the_direction_is_of(direction: tuple[int, int], place: slice) -> None:
    heat = grad_cam(RedAndGreen(), two_squares(), np.array(direction, np.float32))  # type: ignore[arg-type]
    assert heat.shape == (SIDE, SIDE)
    assert heat.dtype == np.float32
    assert heat.max() == pytest.approx(1, abs=1e-3)
    assert heat.min() >= 0
    assert share(heat, place, place) > 0.9


def test_nothing_lights_where_nothing_speaks_for_the_score() -> None:
    red = two_squares()
    red[:, :, 1] = 0
    heat = grad_cam(RedAndGreen(), red, np.array([0, -1], np.float32))  # type: ignore[arg-type]
    np.testing.assert_array_equal(heat, 0)


def test_the_bundled_embedder_finds_each_of_two_photos(tmp_path: Path) -> None:
    embedder: Any = load_embedder("efficientnet_lite0", load_settings(home=tmp_path, device="cpu"))
    photos = [Image.fromarray(photo) for photo in load_sample_images().images]  # a temple, a flower
    temple, flower = embedder.encode([np.asarray(photo.resize((224, 224))) for photo in photos])
    pixels = np.full((224, 224, 3), 127, np.uint8)
    pixels[112:, 112:], pixels[:112, :112] = (np.asarray(photo.resize((112, 112))) for photo in photos)
    for direction, corner in ((flower - temple, slice(0, 112)), (temple - flower, slice(112, 224))):
        heat = grad_cam(embedder, pixels, direction)
        assert share(heat, corner, corner) > 0.7
        np.testing.assert_array_equal(grad_cam(embedder, pixels, direction), heat)
    assert attention_rollout(embedder, pixels) is None
    assert all(parameter.grad is None for parameter in embedder.net.parameters())


TRANSFORMERS: dict[str, Callable[[Path], dict[str, str]]] = {
    "vit": tiny.vit,
    "dinov2": tiny.dinov2,
    "timm": lambda folder: tiny.save_timm(folder, "test_vit"),
}


@pytest.mark.parametrize("kind", TRANSFORMERS)
def test_a_transformer_has_both_maps(kind: str, tmp_path: Path) -> None:
    models = TRANSFORMERS[kind](tmp_path)
    embedder: Any = load_embedder("vit", load_settings(home=tmp_path / "home", models=models, device="cpu"))
    pixels = np.random.default_rng(0).integers(0, 256, (embedder.fit.height, embedder.fit.width, 3)).astype(np.uint8)
    before = embedder.encode([pixels])
    rolled = attention_rollout(embedder, pixels)
    assert rolled is not None
    direction = np.random.default_rng(1).normal(size=embedder.spec.dim).astype(np.float32)
    for heat in (rolled, grad_cam(embedder, pixels, direction)):
        assert heat.shape == pixels.shape[:2]
        assert heat.min() >= 0
        assert heat.max() == pytest.approx(1, abs=1e-3)
    np.testing.assert_array_equal(embedder.encode([pixels]), before)


def test_a_convolutional_net_of_timm_has_the_one(tmp_path: Path) -> None:
    models = tiny.save_timm(tmp_path, "test_convnext")
    embedder: Any = load_embedder("vit", load_settings(home=tmp_path / "home", models=models, device="cpu"))
    pixels = np.random.default_rng(0).integers(0, 256, (embedder.fit.height, embedder.fit.width, 3)).astype(np.uint8)
    heat = grad_cam(embedder, pixels, np.random.default_rng(1).normal(size=embedder.spec.dim).astype(np.float32))
    assert heat.shape == pixels.shape[:2]
    assert heat.max() == pytest.approx(1, abs=1e-3)
    assert attention_rollout(embedder, pixels) is None


def test_a_map_is_drawn_beside_the_picture_with_its_scale(tmp_path: Path) -> None:
    heat = np.linspace(0, 1, SIDE * SIDE, dtype=np.float32).reshape(SIDE, SIDE)
    made = PictureMap("efficientnet_lite0", "grad-cam", two_squares(), heat)
    (path,) = write_pictures([made], tmp_path / "out", "a/b")
    assert path.read_bytes() == overlay(made)
    assert path.name == "a_b-efficientnet_lite0-grad_cam.png"
    with Image.open(path) as image:
        assert image.width > image.height > 200
        colours = np.asarray(image.convert("RGB")).reshape(-1, 3)
    assert len(np.unique(colours, axis=0)) > 100  # the colour bar
    np.testing.assert_array_equal(np.load(path.with_suffix(".npy")), heat)
