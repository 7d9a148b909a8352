"""The scenes drawn from near: a plate, a cat, a guitar, a chess board. Composition and colours vary with `rng`."""

from __future__ import annotations

import numpy as np
from PIL import Image

from feature_repo.datasets.synthetic.canvas import BLACK, WHITE, Canvas, Colour, Pen, Style, lighter, mix

Random = np.random.Generator


def cooking(size: int, style: Style, rng: Random) -> Image.Image:
    """A plate of food on a wooden table, with fork and knife."""
    wood = mix(style.wall, (150, 98, 58), 0.55)
    canvas = Canvas(size, lighter(wood, 0.08), lighter(wood, -0.15))
    pen = canvas.pen
    for y in np.arange(0.1, 1.0, 0.18):
        pen.line([(0, y), (1, y)], lighter(wood, -0.25), 0.008)
    cutlery = pen.placed(0.5 + rng.uniform(-0.03, 0.03), 0.5 + rng.uniform(-0.04, 0.04), rng.uniform(0.85, 1.0))
    for x in (-0.46, -0.43, -0.40):
        cutlery.line([(x, -0.28), (x, -0.12)], (216, 220, 224), 0.012)
    cutlery.line([(-0.46, -0.12), (-0.40, -0.12)], (216, 220, 224), 0.02)
    cutlery.line([(-0.43, -0.12), (-0.43, 0.3)], (216, 220, 224), 0.024)
    cutlery.polygon([(0.41, -0.3), (0.46, -0.2), (0.46, 0.02), (0.42, 0.02)], (216, 220, 224))
    cutlery.line([(0.44, 0.0), (0.44, 0.3)], lighter(style.accent, -0.3), 0.03)
    cutlery.disc(0.012, 0.018, 0.345, lighter(wood, -0.45))
    cutlery.disc(0, 0, 0.34, WHITE)
    cutlery.disc(0, 0, 0.25, mix(WHITE, style.accent, 0.16))
    foods: tuple[Colour, ...] = ((206, 52, 40), (92, 158, 60), (242, 190, 72), (232, 132, 44), (150, 84, 50))
    base = int(rng.integers(len(foods)))
    cutlery.ellipse(0, 0, 0.2, 0.18, foods[base])
    for _ in range(int(rng.integers(8, 15))):
        angle, away = rng.uniform(0, 2 * np.pi), rng.uniform(0.02, 0.17)
        bit = cutlery.placed(away * np.cos(angle), away * np.sin(angle), 1.0, angle)
        colour = foods[int(rng.integers(len(foods)))]
        bit.ellipse(0, 0, 0.055, rng.uniform(0.02, 0.05), lighter(colour, -0.2))
        bit.ellipse(-0.005, -0.006, 0.045, 0.026, lighter(colour, 0.15))
    for _ in range(3):
        leaf = cutlery.placed(rng.uniform(-0.08, 0.08), rng.uniform(-0.08, 0.08), 1.0, rng.uniform(0, 6))
        leaf.polygon([(-0.06, 0), (0, -0.022), (0.06, 0), (0, 0.022)], (48, 132, 62))
    return canvas.finish()


def cats(size: int, style: Style, rng: Random) -> Image.Image:
    """A cat's face before a papered wall."""
    canvas = Canvas(size, lighter(style.wall, 0.25), style.wall)
    pen = canvas.pen
    for x in np.arange(0.08, 1.0, 0.17):
        pen.line([(x, 0), (x, 1)], lighter(style.wall, 0.12), 0.03)
    furs: tuple[Colour, ...] = ((228, 142, 62), (122, 116, 118), (54, 50, 56), (238, 222, 196), (160, 112, 76))
    fur = furs[int(rng.integers(len(furs)))]
    dark, light = lighter(fur, -0.35), lighter(fur, 0.45)
    cat = pen.placed(rng.uniform(0.42, 0.58), rng.uniform(0.52, 0.6), rng.uniform(0.85, 1.1), rng.uniform(-0.2, 0.2))
    cat.ellipse(0, 0.5, 0.36, 0.34, fur)
    for side in (-1, 1):
        cat.polygon([(side * 0.31, -0.05), (side * 0.3, -0.4), (side * 0.06, -0.22)], fur)
        cat.polygon([(side * 0.27, -0.12), (side * 0.27, -0.33), (side * 0.12, -0.22)], (232, 150, 150))
    cat.ellipse(0, 0, 0.33, 0.27, fur)
    for place in (-0.09, 0.0, 0.09):
        cat.line([(place, -0.26), (place * 0.6, -0.14)], dark, 0.03)
    cat.ellipse(0, 0.13, 0.17, 0.11, light)
    iris = ((120, 190, 70), (236, 190, 50), (90, 170, 220))[int(rng.integers(3))]
    slit, gaze = rng.uniform(0.012, 0.045), rng.uniform(-0.02, 0.02)
    for side in (-1, 1):
        cat.ellipse(side * 0.14, -0.04, 0.078, 0.07, BLACK)
        cat.ellipse(side * 0.14, -0.04, 0.068, 0.06, iris)
        cat.ellipse(side * 0.14 + gaze, -0.04, slit, 0.055, BLACK)
        cat.disc(side * 0.14 + gaze + 0.02, -0.06, 0.013, WHITE)
        cat.line([(0, 0.1), (side * 0.03, 0.15), (side * 0.09, 0.15)], BLACK, 0.012)
        for drop in (0.04, 0.1, 0.16):
            cat.line([(side * 0.12, 0.1 + drop * 0.3), (side * 0.44, drop)], lighter(fur, 0.75), 0.008)
    cat.polygon([(-0.04, 0.05), (0.04, 0.05), (0, 0.1)], (216, 110, 118))
    return canvas.finish()


def guitar(size: int, style: Style, rng: Random) -> Image.Image:
    """A guitar and notes on a lit stage."""
    stage = mix(style.sky, (70, 22, 40), 0.45)
    canvas = Canvas(size, lighter(stage, -0.35), lighter(stage, 0.1))
    pen = canvas.pen
    for x in rng.uniform(0.05, 0.95, 2):
        pen.polygon([(x, -0.02), (x - 0.28, 1.01), (x + 0.22, 1.01)], mix(lighter(stage, 0.0), style.accent, 0.28))
    woods: tuple[Colour, ...] = ((206, 128, 56), (168, 72, 40), (226, 178, 104), (60, 42, 40), (178, 40, 44))
    wood = woods[int(rng.integers(len(woods)))]
    guitar = pen.placed(0.4 + rng.uniform(-0.05, 0.05), 0.62, rng.uniform(0.85, 1.05), rng.uniform(0.35, 1.0))
    for grow, colour in ((0.018, lighter(wood, -0.55)), (0.0, wood)):
        guitar.ellipse(0, 0.13, 0.23 + grow, 0.2 + grow, colour)
        guitar.ellipse(0, -0.1, 0.17 + grow, 0.16 + grow, colour)
        guitar.rectangle(-0.145 - grow, -0.08, 0.145 + grow, 0.08, colour)
    guitar.disc(0, -0.02, 0.085, lighter(wood, 0.35))
    guitar.disc(0, -0.02, 0.07, BLACK)
    guitar.rectangle(-0.1, 0.16, 0.1, 0.19, (60, 36, 26))
    guitar.rectangle(-0.034, -0.7, 0.034, -0.06, (74, 46, 32))
    for fret in np.linspace(-0.66, -0.12, 9):
        guitar.line([(-0.034, fret), (0.034, fret)], (200, 196, 180), 0.006)
    guitar.polygon([(-0.045, -0.7), (0.045, -0.7), (0.06, -0.86), (-0.06, -0.86)], lighter(wood, -0.4))
    for x in np.linspace(-0.026, 0.026, 5):
        guitar.line([(x, -0.84), (x, 0.17)], (236, 230, 210), 0.003)
    for side in (-0.07, 0.07):
        for y in (-0.74, -0.79, -0.84):
            guitar.disc(side, y, 0.014, (226, 222, 210))
    for _ in range(int(rng.integers(2, 5))):
        note = pen.placed(
            rng.uniform(0.08, 0.92), rng.uniform(0.12, 0.5), rng.uniform(0.7, 1.2), rng.uniform(-0.2, 0.2)
        )
        note.ellipse(0, 0, 0.034, 0.026, lighter(style.accent, 0.3))
        note.line([(0.029, 0), (0.029, -0.13), (0.075, -0.09)], lighter(style.accent, 0.3), 0.012)
    return canvas.finish()


def chess(size: int, style: Style, rng: Random) -> Image.Image:
    """A board in perspective with a few pieces."""
    canvas = Canvas(size, lighter(style.wall, -0.35), lighter(style.wall, 0.05))
    pen = canvas.pen
    dark, light = mix(style.land, (96, 60, 40), 0.6), mix(WHITE, style.wall, 0.35)
    lean, top = rng.uniform(-0.12, 0.12), rng.uniform(0.38, 0.48)
    depth = top + (1.02 - top) * np.linspace(0, 1, 7) ** 1.35

    def corner(column: int, row: int) -> tuple[float, float]:
        spread = 0.5 + 0.3 * row / 6
        return 0.5 + lean * (1 - row / 6) + (column / 3 - 1) * spread, float(depth[row])

    for row in range(6):
        for column in range(6):
            square = [corner(column + c, row + r) for c, r in ((0, 0), (1, 0), (1, 1), (0, 1))]
            pen.polygon(square, (light, dark)[(row + column) % 2])
    for row in (1, 2, 4):
        for column in 1 + rng.permutation(4)[: int(rng.integers(1, 3))]:
            (x0, y0), (x1, y1) = corner(int(column), row), corner(int(column) + 1, row + 1)
            base, shade = (((234, 222, 196), -0.2), ((44, 36, 40), 0.2))[int(rng.integers(2))]
            piece = pen.placed((x0 + x1) / 2, (y0 + y1) / 2 + 0.02, (x1 - x0) * 1.25)
            piece.ellipse(0.06, 0.02, 0.36, 0.12, lighter(dark, -0.45))
            _PIECES[int(rng.integers(len(_PIECES)))](piece, base, lighter(base, shade))
    return canvas.finish()


def _stand(pen: Pen, colour: Colour, edge: Colour, height: float) -> None:
    pen.ellipse(0, 0, 0.3, 0.1, edge)
    pen.polygon([(-0.3, 0), (-0.24, -0.14), (0.24, -0.14), (0.3, 0)], colour)
    pen.polygon([(-0.2, -0.12), (-0.09, -height), (0.09, -height), (0.2, -0.12)], colour)
    pen.ellipse(0, -0.14, 0.24, 0.05, edge)
    pen.ellipse(0, -height, 0.17, 0.045, edge)


def _pawn(pen: Pen, colour: Colour, edge: Colour) -> None:
    _stand(pen, colour, edge, 0.48)
    pen.disc(0, -0.62, 0.16, colour)


def _rook(pen: Pen, colour: Colour, edge: Colour) -> None:
    _stand(pen, colour, edge, 0.6)
    pen.rectangle(-0.2, -0.76, 0.2, -0.6, colour)
    for x in (-0.2, -0.05, 0.1):
        pen.rectangle(x, -0.86, x + 0.1, -0.74, colour)


def _king(pen: Pen, colour: Colour, edge: Colour) -> None:
    _stand(pen, colour, edge, 0.72)
    pen.polygon([(-0.1, -0.72), (-0.2, -0.98), (0.2, -0.98), (0.1, -0.72)], colour)
    pen.line([(0, -0.96), (0, -1.2)], colour, 0.07)
    pen.line([(-0.1, -1.1), (0.1, -1.1)], colour, 0.07)


def _bishop(pen: Pen, colour: Colour, edge: Colour) -> None:
    _stand(pen, colour, edge, 0.62)
    pen.ellipse(0, -0.78, 0.13, 0.18, colour)
    pen.line([(0.02, -0.78), (0.1, -0.9)], edge, 0.04)
    pen.disc(0, -0.98, 0.05, colour)


_PIECES = (_pawn, _rook, _king, _bishop)
