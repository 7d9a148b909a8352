"""From a content's causes to its picture: the scene, a badge of the secondary topic, and how well it was taken."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter

from feature_repo.datasets.synthetic import indoors, outdoors
from feature_repo.datasets.synthetic.canvas import STYLES, Style
from feature_repo.datasets.synthetic.lexicon import TOPICS
from feature_repo.datasets.synthetic.world import percentile
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
_BADGE_FROM = 0.15  # least weight of a secondary topic that is shown
_BLUR = 0.02  # of the side: box radius of the worst picture
_HAZE = (168, 166, 162)


@dataclass(frozen=True, slots=True)
class Look:
    """What decides a picture: topics (dominant, secondary), the secondary's weight, a standard normal quality."""

    topics: Sequence[int]
    secondary_weight: float
    quality: float


def picture(look: Look, size: int, rng: np.random.Generator) -> Image.Image:
    """An RGB picture of `size` x `size` pixels."""
    style = STYLES[int(rng.integers(len(STYLES)))]
    scene = SCENES[TOPICS[look.topics[0]].name](size, style, rng)
    if look.secondary_weight > _BADGE_FROM:
        side = max(8, round(size * (0.2 + 0.3 * look.secondary_weight)))
        badge = SCENES[TOPICS[look.topics[1]].name](side, style, rng)
        margin = size // 28
        left = margin if rng.random() < 0.5 else size - side - margin
        scene.paste(badge, (left, size - side - margin), _disc(side))
    return degrade(scene, float(percentile(look.quality)))


def degrade(image: Image.Image, quality: float) -> Image.Image:
    """Blur, haze and pale colours for a low `quality` in 0..1; at 1 the picture is crisp and saturated."""
    lack = 1.0 - quality
    blurred = image.filter(ImageFilter.BoxBlur(_BLUR * lack * image.width))
    pale = ImageEnhance.Color(blurred).enhance(1.35 - 1.1 * lack)
    return Image.blend(pale, Image.new("RGB", image.size, _HAZE), 0.62 * lack)


def save_jpeg(path: Path, image: Image.Image) -> None:
    """Write a JPEG of quality 85, whole or not at all."""
    with replacing(path, durable=False) as beside:
        image.save(beside, format="JPEG", quality=85)


def _disc(side: int) -> Image.Image:
    mask = Image.new("L", (side * 2, side * 2))
    ImageDraw.Draw(mask).ellipse((0, 0, side * 2 - 1, side * 2 - 1), fill=255)
    return mask.reduce(2)
