"""What the embedding benchmarks embed: made pictures, photos and texts, and a CLIP with random weights."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import open_clip
import torch
from PIL import Image
from sklearn.datasets import load_sample_images

from feature_repo.contracts import Content, Modality

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
PHOTO = (1152, 864)
WORDS = ("film", "about", "two", "friends", "who", "travel", "by", "night", "train", "and", "find", "their", "house")


def pictures(folder: Path, count: int) -> list[Content]:
    """Contents with a 224 x 224 JPEG each, of about the bytes of a photo."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(0)
    contents = []
    for n in range(count):
        coarse = Image.fromarray(generator.integers(0, 256, (28, 28, 3), np.uint8))
        contents.append(_saved(folder, n, coarse.resize((224, 224), Image.Resampling.BICUBIC)))
    return contents


def photos(folder: Path, count: int) -> list[Content]:
    """Contents with a JPEG of a megapixel each: parts of the two photos that come with scikit-learn, enlarged."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(0)
    sources = [Image.fromarray(pixels) for pixels in load_sample_images().images]
    contents = []
    for n in range(count):
        source = sources[n % len(sources)]
        width = int(generator.integers(480, 570))
        height = width * PHOTO[1] // PHOTO[0]
        left, top = (int(generator.integers(0, room)) for room in (source.width - width, source.height - height + 1))
        part = source.resize(PHOTO, Image.Resampling.BICUBIC, (left, top, left + width, top + height))
        contents.append(_saved(folder, n, part))
    return contents


def texts(count: int) -> list[Content]:
    """Contents with titles of 4 to 12 words and descriptions of up to 40."""
    generator = np.random.default_rng(0)

    def words(low: int, high: int) -> str:
        return " ".join(generator.choice(WORDS, generator.integers(low, high)))

    return [Content(f"{n:05}", words(4, 13), NOON, description=words(0, 41)) for n in range(count)]


def save_vit(folder: Path) -> Path:
    """A CLIP with a ViT-B/32 and random weights, as a folder that open_clip reads."""
    folder.mkdir(parents=True)
    torch.manual_seed(0)
    model = open_clip.create_model("ViT-B-32")
    config = open_clip.get_model_config("ViT-B-32")
    preprocess = {name: model.visual.preprocess_cfg[name] for name in ("mean", "std", "interpolation", "resize_mode")}
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": preprocess}))
    torch.save(model.state_dict(), folder / "open_clip_pytorch_model.bin")
    return folder


def _saved(folder: Path, number: int, picture: Image.Image) -> Content:
    path = folder / f"{number:05}.jpg"
    picture.save(path, quality=90)
    return Content(path.stem, "", NOON, media={Modality.IMAGE: path})
