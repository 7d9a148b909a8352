"""The report's charts, each as inline SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from predictors.labels import CLASSES
from predictors.report.calibration import Reliability
from predictors.report.drawing import ACCENT, FAINT, INK, SOFT, bars, panels
from predictors.report.evidence import Task
from predictors.report.measures import measure

_MARKED = 12  # steps up to which each has a mark
MOST_FEATURES = 15
_SURE = 0.3  # correlation from which on a feature is said to push one way


def intervals(task: Task) -> str:
    """Each model's headline measures with their intervals, a panel a measure; naive ones are grey."""
    names = [model.name for model in task.models][::-1]

    def draw(axes: Axes, name: str) -> None:
        for place, model in enumerate(reversed(task.models)):
            if (found := model.estimates.get(name)) is None:
                continue
            colour = FAINT if model.naive else ACCENT if place == len(names) - 1 else INK
            if found.low is not None and found.high is not None:
                axes.plot([found.low, found.high], [place, place], color=colour, linewidth=2)
            axes.plot(found.value, place, "o", color=colour, markersize=5)
        first = name == task.headlines[0]
        axes.set_yticks(range(len(names)), names if first else [], fontsize=8)
        axes.set_ylim(-0.6, len(names) - 0.4)
        axes.set_title(measure(name).label, fontsize=10)
        axes.grid(axis="x", color="#e6ebef", linewidth=0.8)
        axes.set_axisbelow(True)

    return panels([partial(draw, name=name) for name in task.headlines], 3.1, 0.26 * len(names) + 0.9)


def labels(truth: pl.DataFrame) -> str:
    """How the held-out labels lie: a histogram of scores by class, or how many encounters engaged."""
    if "score" not in truth.columns:
        counts = np.bincount(truth["engaged"].to_numpy(), minlength=2)
        return bars(["engaged", "not engaged"], counts[::-1].tolist(), "held-out encounters", [ACCENT, FAINT], "%d")
    scores, classes = truth["score"].to_numpy(), truth["cls"].to_numpy()
    edges = np.histogram_bin_edges(scores, 30)
    shades = ("#d9e0e6", "#aab6c1", "#7d8d9b", "#4f6172", INK)

    def draw(axes: Axes) -> None:
        parts = [scores[classes == number] for number in range(CLASSES)]
        axes.hist(
            parts, list(edges), stacked=True, color=shades, label=[f"class {number}" for number in range(CLASSES)]
        )
        axes.set_xlabel("score")
        axes.set_ylabel("held-out contents")
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend(frameon=False, fontsize=8)

    return panels([draw], 6, 2.6)


def learning_curves(curves: Mapping[str, Mapping[str, Sequence[float]]]) -> str:
    """What each curve of a training did by its steps, a panel a curve, training and validation."""

    def draw(axes: Axes, name: str) -> None:
        lines = {split: values for split, values in sorted(curves[name].items()) if len(values)}
        for split, colour in zip(lines, (INK, ACCENT, SOFT), strict=False):
            mark = "o" if len(lines[split]) <= _MARKED else None
            axes.plot(range(1, len(lines[split]) + 1), lines[split], marker=mark, ms=3, color=colour, label=split)
        axes.set_title(name, fontsize=10)
        axes.set_xlabel("step: tree or epoch")
        axes.legend(frameon=False, fontsize=8)

    return panels([partial(draw, name=name) for name in curves])


def confusion(models: Sequence[tuple[str, pl.DataFrame]], truth: pl.DataFrame) -> str:
    """Of each model, a square of true (down) by predicted (across) class: counts, shaded by their share of the row."""

    def draw(axes: Axes, name: str, said: pl.DataFrame) -> None:
        pairs = np.asarray(truth["cls"].to_numpy() * CLASSES + said["cls"].to_numpy(), np.int64)
        counts = np.bincount(pairs, minlength=CLASSES**2).reshape(CLASSES, CLASSES)
        shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        # Squares of their own: an image would be a picture inside the SVG
        axes.pcolormesh(shares, cmap="Reds", vmin=0, vmax=1, edgecolors="white")
        for row, column in np.ndindex(CLASSES, CLASSES):
            colour = "white" if shares[row, column] > 0.6 else INK
            spot = (column + 0.5, row + 0.5)
            axes.text(*spot, str(counts[row, column]), ha="center", va="center", fontsize=8, color=colour)
        ticks = np.arange(CLASSES) + 0.5
        axes.set_xticks(ticks, [str(number) for number in range(CLASSES)])
        axes.set_yticks(ticks, [str(number) for number in range(CLASSES)])
        axes.invert_yaxis()
        axes.set_aspect("equal")
        axes.set_title(name, fontsize=10)
        axes.set_xlabel("predicted class")
        axes.set_ylabel("true class")

    return panels([partial(draw, name=name, said=said) for name, said in models], 2.9, 2.9)


def reliability(found: Sequence[Reliability]) -> str:
    """Of each model, how often it was so when it said so; a larger point stands for more rows."""

    def draw(axes: Axes, one: Reliability) -> None:
        said, true, rows = one.bins.T
        axes.plot([0, 1], [0, 1], color=FAINT, linestyle="--", linewidth=1)
        axes.plot(said, true, color=ACCENT, linewidth=1)
        axes.scatter(said, true, s=12 + 90 * rows / rows.max(), color=ACCENT, alpha=0.75, clip_on=False)
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1)
        axes.set_aspect("equal")
        axes.set_title(f"{one.model}\nECE {one.error:.3f}", fontsize=10)
        axes.set_xlabel("probability said")
        axes.set_ylabel("share that was so")

    return panels([partial(draw, one=one) for one in found], 3.0, 3.0)


def importances(said: Mapping[str, float], label: str = "importance, %") -> str:
    """The features that a model leans on most."""
    top = sorted(said.items(), key=lambda pair: (-pair[1], pair[0]))[:MOST_FEATURES][::-1]
    return bars([name for name, _ in top], [value for _, value in top], label, SOFT)


def influences(said: Mapping[str, Mapping[str, float]]) -> str:
    """Mean absolute SHAP values: red where more of the feature pushes scores up, blue-black down, grey either way."""
    top = sorted(said.items(), key=lambda pair: (-pair[1]["mean"], pair[0]))[:MOST_FEATURES][::-1]
    colours = [_direction(found["direction"]) for _, found in top]
    return bars([name for name, _ in top], [found["mean"] for _, found in top], "mean |SHAP|", colours, "%.2g")


def ablation(said: Mapping[str, Mapping[str, Any]], name: str) -> str:
    """The change of one measure where a modality is taken out, with its interval; left of 0 it was needed."""
    sign = 1 if measure(name).greater else -1
    rows = [(modality, found["measures"][name]) for modality, found in said.items() if name in found["measures"]]
    rows.sort(key=lambda row: sign * row[1]["value"])

    def draw(axes: Axes) -> None:
        for place, (_, found) in enumerate(reversed(rows)):
            colour = ACCENT if found["p"] < 0.05 else FAINT
            axes.plot([found["low"], found["high"]], [place, place], color=colour, linewidth=2)
            axes.plot(found["value"], place, "o", color=colour, markersize=5)
        axes.axvline(0, color=INK, linewidth=0.8)
        axes.set_yticks(range(len(rows)), [f"without {modality}" for modality, _ in reversed(rows)], fontsize=8)
        axes.set_ylim(-0.6, len(rows) - 0.4)
        axes.set_xlabel(f"change of {measure(name).label}")

    return panels([draw], 6, 0.3 * len(rows) + 0.8)


def _direction(correlation: float) -> str:
    return ACCENT if correlation > _SURE else INK if correlation < -_SURE else FAINT
