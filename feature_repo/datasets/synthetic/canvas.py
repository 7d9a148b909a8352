"""Drawing in unit coordinates: x to the right and y downwards in 0..1, whatever the picture's size."""

from __future__ import annotations

import cmath
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Colour = tuple[int, int, int]
Points = Sequence[tuple[float, float]]
Floats = NDArray[np.float64]
_CIRCLE = [(math.cos(angle), math.sin(angle)) for angle in (math.tau * step / 28 for step in range(28))]
_OVERSAMPLING = 2
WHITE: Colour = (250, 250, 246)
BLACK: Colour = (26, 24, 30)


@dataclass(frozen=True, slots=True)
class Style:
    """The colours of a time of day or a mood."""

    sky: Colour
    horizon: Colour
    land: Colour
    accent: Colour
    wall: Colour


STYLES: tuple[Style, ...] = (
    Style((255, 154, 118), (255, 224, 178), (92, 74, 114), (240, 84, 84), (247, 217, 196)),  # dawn
    Style((66, 150, 222), (205, 236, 250), (58, 122, 84), (250, 200, 60), (190, 222, 228)),  # noon
    Style((86, 60, 132), (246, 132, 96), (56, 44, 92), (255, 176, 60), (206, 160, 170)),  # dusk
    Style((16, 24, 62), (62, 84, 142), (26, 40, 66), (130, 220, 230), (92, 104, 150)),  # night
    Style((246, 190, 206), (252, 240, 226), (142, 182, 166), (226, 110, 140), (250, 226, 214)),  # pastel
    Style((38, 172, 180), (252, 232, 140), (196, 88, 52), (240, 60, 110), (240, 176, 64)),  # vivid
)


def mix(a: Colour, b: Colour, share: float) -> Colour:
    """The colour `share` of the way from `a` to `b`; `share` in 0..1."""
    keep = 1.0 - share
    return (
        round(keep * a[0] + share * b[0]),
        round(keep * a[1] + share * b[1]),
        round(keep * a[2] + share * b[2]),
    )


def lighter(colour: Colour, share: float) -> Colour:
    """`colour` mixed with white, or with black where `share` is negative."""
    return mix(colour, (255, 255, 255) if share > 0 else (0, 0, 0), abs(share))


@dataclass(frozen=True, slots=True)
class Pen:
    """Draws through a frame of its own: the unit point (x, y) lies at the pixel `origin + unit * (x + iy)`.

    Multiplying by a complex number turns and scales at once, which is all that a scene needs.
    """

    draw: ImageDraw.ImageDraw
    unit: complex
    origin: complex = 0j

    def placed(self, x: float, y: float, scale: float = 1.0, turn: float = 0.0) -> Pen:
        """A pen whose own (0, 0) lies at (x, y), scaled and turned clockwise by `turn` radians."""
        return Pen(self.draw, self.unit * cmath.rect(scale, turn), self._pixel(complex(x, y)))

    def polygon(self, points: Points, colour: Colour) -> None:
        """A filled polygon through `points`."""
        self.draw.polygon(self._pixels(points), fill=colour)

    def ellipse(self, x: float, y: float, width: float, height: float, colour: Colour) -> None:
        """A filled ellipse by its centre and half axes."""
        self.polygon([(x + width * cosine, y + height * sine) for cosine, sine in _CIRCLE], colour)

    def disc(self, x: float, y: float, radius: float, colour: Colour) -> None:
        """A filled circle."""
        centre, half = self._pixel(complex(x, y)), abs(self.unit) * radius
        box = (centre.real - half, centre.imag - half, centre.real + half, centre.imag + half)
        self.draw.ellipse(box, fill=colour)

    def rectangle(self, left: float, top: float, right: float, bottom: float, colour: Colour) -> None:
        """A filled rectangle."""
        self.polygon([(left, top), (right, top), (right, bottom), (left, bottom)], colour)

    def line(self, points: Points, colour: Colour, width: float) -> None:
        """A line through `points`; `width` is in units."""
        pixels = max(1, round(width * abs(self.unit)))
        self.draw.line(self._pixels(points), fill=colour, width=pixels, joint="curve" if len(points) > 2 else None)

    def below(self, heights: Floats, colour: Colour) -> None:
        """Everything under a skyline of `heights` (n,), evenly spaced from the left edge to the right."""
        skyline = zip(np.linspace(0.0, 1.0, len(heights)).tolist(), heights.tolist(), strict=True)
        self.polygon([(0.0, 1.01), *skyline, (1.0, 1.01)], colour)

    def _pixel(self, point: complex) -> complex:
        return self.origin + self.unit * point

    def _pixels(self, points: Points) -> list[tuple[float, float]]:
        unit, origin = self.unit, self.origin
        mapped = [origin + unit * complex(x, y) for x, y in points]
        return [(pixel.real, pixel.imag) for pixel in mapped]


class Canvas:
    """A square RGB picture, drawn at twice its size and shrunk, so that edges are smooth."""

    def __init__(self, size: int, top: Colour, bottom: Colour) -> None:
        side = size * _OVERSAMPLING
        share = np.linspace(0.0, 1.0, side)[:, None, None]
        column = (np.array(top) * (1.0 - share) + np.array(bottom) * share).round().astype(np.uint8)
        self._picture = Image.fromarray(column).resize((side, side), Image.Resampling.NEAREST)
        self.pen = Pen(ImageDraw.Draw(self._picture), complex(side))

    def finish(self) -> Image.Image:
        """The picture at its size."""
        return self._picture.reduce(_OVERSAMPLING)
