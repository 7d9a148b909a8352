"""How the project's reports look: colours, charts as inline SVG, small pictures as data URLs."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from PIL import Image, ImageOps

THUMBNAIL = (112, 112)
INK, ACCENT, SOFT, FAINT = "#22303c", "#d1495b", "#66a182", "#aab6c1"
_STYLE: dict[Any, Any] = {"svg.hashsalt": "larder", "svg.fonttype": "none", "font.size": 9.0}
_NO_METADATA = dict.fromkeys(("Date", "Creator", "Format", "Type"))

Draw = Callable[[Axes], None]


def svg(figure: Figure) -> str:
    """The figure as an `<svg>` element; the same figure gives the same text."""
    buffer = io.StringIO()
    with matplotlib.rc_context(_STYLE):
        figure.savefig(buffer, format="svg", bbox_inches="tight", transparent=True, metadata=_NO_METADATA)
    text = buffer.getvalue()
    # Matplotlib numbers its groups in every figure alike, and a page must not hold an id twice
    return re.sub(r'<g id="[^"]*"', "<g", text[text.index("<svg") :])


def panels(draws: Sequence[Draw], width: float = 3.0, height: float = 2.6, columns: int = 4) -> str:
    """Charts side by side, `columns` in a row, each drawn on axes of its own."""
    across = min(len(draws), columns)
    down = -(-len(draws) // across)
    with matplotlib.rc_context(_STYLE):
        layout = ConstrainedLayoutEngine(h_pad=0.12)  # else a chart's title stands on the label of the one above
        figure = Figure(figsize=(width * across, height * down), layout=layout)
        axes = figure.subplots(down, across, squeeze=False).ravel()
        for place, draw in zip(axes, draws, strict=False):
            place.spines[["top", "right"]].set_visible(False)
            draw(place)
        for place in axes[len(draws) :]:
            place.set_visible(False)
    return svg(figure)


def bars(
    names: Sequence[str], values: Sequence[float], label: str, colour: str | Sequence[str], fmt: str = "%.1f"
) -> str:
    """Horizontal bars, the first at the bottom, each with its value."""

    def draw(axes: Axes) -> None:
        drawn = axes.barh(range(len(names)), values, color=colour)
        axes.bar_label(drawn, fmt=fmt, fontsize=8, padding=3)
        axes.set_yticks(range(len(names)), names, fontsize=8)
        axes.set_xlabel(label)
        axes.margins(x=0.12)

    return panels([draw], 6, 0.28 * len(names) + 0.6)


def thumbnail(path: Path) -> str:
    """A small picture as a data URL; "" where it cannot be read."""
    try:
        with Image.open(path) as image:
            image.draft("RGB", THUMBNAIL)
            small = ImageOps.pad(ImageOps.exif_transpose(image).convert("RGB"), THUMBNAIL, color="#eef1f4")
    except (OSError, ValueError, Image.DecompressionBombError):
        return ""
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
