"""The scenes drawn from afar: football, mountains, ocean, city. Composition and colours vary with `rng`."""

from __future__ import annotations

import itertools
import math

import numpy as np
from PIL import Image

from feature_repo.datasets.synthetic.canvas import BLACK, WHITE, Canvas, Colour, Pen, Style, lighter, mix

Random = np.random.Generator
_FIFTHS = [math.tau * step / 5 for step in range(5)]


def football(size: int, style: Style, rng: Random) -> Image.Image:
    """A striped pitch with a full stand, a goal and a ball."""
    canvas = Canvas(size, style.sky, style.horizon)
    pen = canvas.pen
    stand = rng.uniform(0.16, 0.24)
    pen.rectangle(0, stand, 1, 0.42, lighter(style.land, -0.3))
    for _ in range(60):
        x, y = rng.uniform(0, 1), rng.uniform(stand + 0.01, 0.4)
        pen.disc(x, y, 0.011, lighter(style.accent, rng.uniform(-0.3, 0.7)))
    grass: Colour = mix((64, 150, 62), style.land, 0.15)
    vanish = rng.uniform(0.35, 0.65)
    edges = np.linspace(-1.2, 2.2, 13).tolist()
    for place, (left, right) in enumerate(itertools.pairwise(edges)):
        top = [vanish + (x - vanish) * 0.45 for x in (left, right)]
        pen.polygon([(top[0], 0.4), (top[1], 0.4), (right, 1), (left, 1)], lighter(grass, 0.12 * (place % 2)))
    goal = pen.placed(vanish, 0.5, rng.uniform(0.85, 1.15))
    for step in np.linspace(-0.24, 0.24, 13).tolist():
        goal.line([(step, -0.17), (step * 0.9, 0.0)], mix(grass, WHITE, 0.55), 0.003)
    for height in np.linspace(-0.15, -0.02, 5):
        goal.line([(-0.24, height), (0.24, height)], mix(grass, WHITE, 0.55), 0.003)
    goal.line([(-0.25, 0.01), (-0.25, -0.18), (0.25, -0.18), (0.25, 0.01)], WHITE, 0.02)
    pen.line([(-0.1, 0.51), (1.1, 0.51)], WHITE, 0.008)
    pen.line([(vanish - 0.4, 0.51), (vanish - 0.55, 0.7), (vanish + 0.55, 0.7), (vanish + 0.4, 0.51)], WHITE, 0.01)
    _ball(pen.placed(rng.uniform(0.25, 0.75), rng.uniform(0.72, 0.82), rng.uniform(0.11, 0.16), rng.uniform(0, 6)))
    return canvas.finish()


def _ball(pen: Pen) -> None:
    pen.disc(0, 0, 1.06, BLACK)
    pen.disc(0, 0, 1.0, WHITE)
    pen.polygon([(0.36 * math.cos(angle), 0.36 * math.sin(angle)) for angle in _FIFTHS], BLACK)
    for angle in _FIFTHS:
        seam = pen.placed(0, 0, 1.0, angle)
        seam.line([(0.36, 0), (0.7, 0)], BLACK, 0.06)
        seam.polygon([(0.68, 0), (0.9, 0.28), (0.97, 0), (0.9, -0.28)], BLACK)


def mountains(size: int, style: Style, rng: Random) -> Image.Image:
    """Snow-capped peaks under the sun, with firs in front."""
    canvas = Canvas(size, style.sky, style.horizon)
    pen = canvas.pen
    sun = (rng.uniform(0.15, 0.85), rng.uniform(0.14, 0.26))
    for radius, share in ((0.13, 0.25), (0.1, 0.55), (0.075, 1.0)):
        pen.disc(*sun, radius, mix(style.sky, lighter(style.accent, 0.45), share))
    far = mix(style.land, style.horizon, 0.45)
    pen.below(0.52 + 0.12 * _rough(rng, 9), far)
    for _ in range(int(rng.integers(2, 4))):
        x, top, half = rng.uniform(0.1, 0.9), rng.uniform(0.22, 0.4), rng.uniform(0.32, 0.45)
        rock = mix(style.land, style.horizon, rng.uniform(0.1, 0.3))
        slope = (0.95 - top) / half
        pen.polygon([(x, top), (x - half, 0.95), (x + half, 0.95)], rock)
        pen.polygon([(x, top), (x + half, 0.95), (x + 0.1, 0.95), (x + 0.03, top + 0.3)], lighter(rock, -0.25))
        cap = rng.uniform(0.12, 0.2)
        ragged = [(x + f * cap / slope, top + cap * h) for f, h in ((1, 1), (0.5, 0.75), (0.15, 1.15), (-0.4, 0.8))]
        pen.polygon([(x, top), *ragged, (x - cap / slope, top + cap)], WHITE)
    pen.below(0.8 + 0.06 * _rough(rng, 7), lighter(style.land, -0.15))
    for x in rng.uniform(0, 1, 9):
        tree = pen.placed(x, rng.uniform(0.84, 1.0), rng.uniform(0.1, 0.2))
        for step in range(3):
            y = -0.3 * step
            tree.polygon([(-0.36 + 0.08 * step, y), (0.36 - 0.08 * step, y), (0, y - 0.6)], lighter(style.land, -0.5))
    return canvas.finish()


def _rough(rng: Random, count: int) -> np.ndarray:
    return rng.uniform(-1.0, 1.0, count)


def ocean(size: int, style: Style, rng: Random) -> Image.Image:
    """A sailing boat on the waves before a low sun."""
    canvas = Canvas(size, style.sky, style.horizon)
    pen = canvas.pen
    level, sun = rng.uniform(0.42, 0.52), rng.uniform(0.2, 0.8)
    glow = lighter(style.accent, 0.4)
    pen.disc(sun, level - 0.06, 0.13, mix(style.horizon, glow, 0.5))
    pen.disc(sun, level - 0.06, 0.1, glow)
    water = mix((24, 104, 160), style.sky, 0.25)
    x = np.linspace(0, 1, 40)
    for place, top in enumerate(np.linspace(level, 0.94, 6)):
        height = 0.006 + 0.006 * place
        wave = top + height * np.sin(2 * np.pi * (x * rng.uniform(4, 6) / (1 + 0.35 * place) + rng.uniform()))
        if place:
            pen.below(wave - 0.012, mix(water, WHITE, 0.55))
        pen.below(wave, lighter(water, 0.3 - 0.11 * place))
        if place < 4:
            for shift in rng.uniform(-0.06, 0.06, 3):
                pen.line([(sun + shift - 0.03, top + 0.04), (sun + shift + 0.03, top + 0.04)], glow, 0.008)
    boat = pen.placed(rng.uniform(0.2, 0.8), rng.uniform(0.6, 0.72), rng.uniform(0.8, 1.25), rng.uniform(-0.12, 0.12))
    boat.line([(0, 0), (0, -0.34)], (92, 62, 44), 0.014)
    boat.polygon([(0.015, -0.34), (0.015, -0.05), (0.19, -0.05)], WHITE)
    boat.polygon([(-0.015, -0.3), (-0.015, -0.05), (-0.13, -0.05)], lighter(style.accent, 0.1))
    boat.polygon([(-0.18, -0.03), (0.2, -0.03), (0.13, 0.06), (-0.12, 0.06)], (150, 62, 46))
    for _ in range(int(rng.integers(0, 4))):
        gull = pen.placed(rng.uniform(0.05, 0.95), rng.uniform(0.08, 0.3), rng.uniform(0.5, 1.0))
        gull.line([(-0.06, -0.02), (-0.03, -0.03), (0, 0), (0.03, -0.03), (0.06, -0.02)], BLACK, 0.01)
    return canvas.finish()


def city(size: int, style: Style, rng: Random) -> Image.Image:
    """A skyline at night with lit windows and a moon."""
    canvas = Canvas(size, mix(style.sky, (8, 10, 34), 0.8), mix(style.horizon, (52, 34, 92), 0.6))
    pen = canvas.pen
    for x, y in rng.uniform((0, 0), (1, 0.5), (30, 2)):
        pen.disc(x, y, 0.004, WHITE)
    moon, sky = (rng.uniform(0.12, 0.88), rng.uniform(0.1, 0.2)), mix(style.sky, (8, 10, 34), 0.75)
    pen.disc(*moon, 0.07, (248, 240, 208))
    pen.disc(moon[0] + 0.03, moon[1] - 0.015, 0.06, sky)
    for depth, (low, high) in enumerate(((0.3, 0.5), (0.42, 0.68))):
        left = -rng.uniform(0, 0.08)
        while left < 1.0:
            width, top = rng.uniform(0.1, 0.17), rng.uniform(low, high)
            body = mix((34, 36, 74), style.land, 0.3) if depth == 0 else (14, 14, 32)
            pen.rectangle(left, top, left + width, 0.9, body)
            if rng.random() < 0.4:
                pen.line([(left + width / 2, top), (left + width / 2, top - 0.07)], body, 0.012)
            _windows(pen.placed(left, top), width, 0.86 - top, style, rng)
            left += width + rng.uniform(0.0, 0.03)
    pen.rectangle(0, 0.88, 1, 1, (22, 20, 38))
    for x in rng.uniform(0, 1, 9):
        glow = (255, 226, 150) if rng.random() < 0.5 else (236, 60, 60)
        pen.line([(x, 0.92 + 0.05 * rng.random()), (x + 0.06, 0.94)], glow, 0.012)
    return canvas.finish()


def _windows(pen: Pen, width: float, height: float, style: Style, rng: Random) -> None:
    columns, rows = max(2, int(width / 0.036)), int(height / 0.05)
    lit = np.argwhere(rng.random((rows, columns)) < 0.5)
    glow: tuple[Colour, ...] = ((255, 216, 120), (255, 240, 196), lighter(style.accent, 0.2))
    for row, column in lit.tolist():
        x, y = (column + 0.25) * width / columns, 0.02 + 0.05 * row
        pen.rectangle(x, y, x + 0.018, y + 0.026, glow[(row * 5 + column * 3) % 7 % 3])
