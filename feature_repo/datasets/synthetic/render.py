"""From a content's causes to its picture: the scene, a badge of the secondary topic, and how well it was taken."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from feature_repo.datasets.synthetic import indoors, outdoors
from feature_repo.datasets.synthetic.canvas import STYLES, Style
from feature_repo.datasets.synthetic.lexicon import TOPICS
from feature_repo.datasets.synthetic.world import Subject, percentile
from feature_repo.files import replacing

SCENES: Mapping[str, Callable[[int, Style, np.random.Generator], Image.Image]] = {
    "cooking": indoors.cooking,
    "football": outdoors.football,
    "cats": indoors.cats,
    "mountains": outdoors.mountains,
    "ocean": outdoors.ocean,
    "city night": outdoors.city,
    "guitar": indoors.guitar,
    "chess": indoors.chess,
}
_BADGE_FROM = 0.25  # least weight of a secondary topic that is shown
_BLUR = 0.02  # of the side: box radius of the worst picture
_HAZE = np.array([168.0, 166.0, 162.0])
_LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601


def picture(subject: Subject, quality: float, size: int, rng: np.random.Generator) -> Image.Image:
    """An RGB picture of `size` x `size` pixels; `quality` is a standard normal value."""
    style = STYLES[int(rng.integers(len(STYLES)))]
    scene = SCENES[TOPICS[subject.first].name](size, style, rng)
    if subject.second_share > _BADGE_FROM:
        side = max(8, round(size * (0.2 + 0.3 * subject.second_share)))
        badge = SCENES[TOPICS[subject.second].name](side, style, rng)
        margin = size // 28
        left = margin if rng.random() < 0.5 else size - side - margin
        scene.paste(badge, (left, size - side - margin), _disc(side))
    return degrade(scene, float(percentile(quality)))


def degrade(image: Image.Image, quality: float) -> Image.Image:
    """Blur, haze and pale colours for a low `quality` in 0..1; at 1 the picture is crisp and saturated."""
    lack = 1.0 - quality
    blurred = image.filter(ImageFilter.BoxBlur(_BLUR * lack * image.width))
    saturation, clear = 1.35 - 1.1 * lack, 1.0 - 0.62 * lack
    colours = clear * (saturation * np.eye(3) + (1.0 - saturation) * _LUMA)
    matrix = np.column_stack([colours, (1.0 - clear) * _HAZE])
    return blurred.convert("RGB", tuple(matrix.ravel().tolist()))


def save_jpeg(path: Path, image: Image.Image) -> None:
    """Write a JPEG of quality 85, whole or not at all."""
    with replacing(path, durable=False) as beside:
        image.save(beside, format="JPEG", quality=85)


def _disc(side: int) -> Image.Image:
    mask = Image.new("L", (side * 2, side * 2))
    ImageDraw.Draw(mask).ellipse((0, 0, side * 2 - 1, side * 2 - 1), fill=255)
    return mask.reduce(2)
