"""Drift as one self-contained HTML page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from predictors.drift import DRIFTED, LEAST_ROWS, SHIFTED, Drift, Shift
from predictors.report.drawing import ACCENT, FAINT, panels
from predictors.report.page import write_page


def write(found: Sequence[Drift], path: Path) -> None:
    """Write the page to `path`, whole or not at all; the same comparison gives the same bytes."""
    write_page(
        Path(__file__).with_name("drift.html"),
        path,
        found=found,
        histogram=histogram,
        SHIFTED=SHIFTED,
        DRIFTED=DRIFTED,
        LEAST_ROWS=LEAST_ROWS,
    )


def histogram(shift: Shift) -> str:
    """The share of rows in each of training's bins, the missing ones last: training's in grey, online's over them."""
    expected, found = (sketch.binned / max(1, sketch.rows) for sketch in (shift.expected, shift.found))
    places = np.arange(len(expected), dtype=float)
    places[-1] += 1  # the missing ones stand apart

    def draw(axes: Axes) -> None:
        axes.bar(places, expected, 0.9, color=FAINT)
        axes.bar(places, found, 0.45, color=ACCENT)
        edges = shift.expected.edges
        ticks = {0.5: f"{edges[1]:.4g}", len(edges) - 0.5: f"{edges[-1]:.4g}"} if edges else {0.0: "there"}
        ticks[places[-1]] = "none"
        axes.set_xticks(list(ticks), list(ticks.values()), fontsize=7)
        axes.get_xticklabels()[-2].set_horizontalalignment("right")  # or the last two would run into one another
        axes.tick_params(axis="y", labelsize=7)

    return panels([draw], 3.6, 1.3)
