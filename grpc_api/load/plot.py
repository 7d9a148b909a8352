"""A load as a picture: times by percentile, times over time, and calls over time."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import ScalarFormatter

from feature_repo.errors import ConfigurationError
from feature_repo.files import replacing
from grpc_api.load.outcome import SLICES, Outcome
from predictors.report.drawing import ACCENT, FAINT, INK, SOFT

FORMATS = (".png", ".svg", ".pdf")
_COLOURS = (INK, ACCENT, SOFT, "#edae49", "#6c5b9e")
_NINES = (0.5, 0.9, 0.99, 0.999, 0.9999)


def check(path: Path) -> None:
    """Raises ConfigurationError where no picture of that kind can be made."""
    if path.suffix not in FORMATS:
        raise ConfigurationError(f"{path}: a plot ends with one of {', '.join(FORMATS)}")


def write(outcome: Outcome, title: str, path: Path) -> None:
    """Write the picture, whole or not at all. Raises ConfigurationError."""
    check(path)
    with matplotlib.rc_context({"font.size": 9.0}):
        figure = Figure(figsize=(13, 3.6), layout="constrained")
        figure.suptitle(title, x=0.01, ha="left", fontsize=10)
        for axes, draw in zip(figure.subplots(1, 3), (_percentiles, _times, _calls), strict=True):
            axes.spines[["top", "right"]].set_visible(False)
            axes.grid(color="#e6ebef", linewidth=0.8)
            axes.set_axisbelow(True)
            draw(axes, outcome)
            if axes.get_yscale() == "log":
                axes.yaxis.set_major_formatter(ScalarFormatter())
            axes.legend(frameon=False, fontsize=8)
        with replacing(path) as beside:
            figure.savefig(beside, dpi=120)


def _percentiles(axes: Axes, outcome: Outcome) -> None:
    """Every further nine has the same width, as one over the share above is on a log scale; a curve ends where calls
    had no answer.
    """
    for colour, (name, tally) in zip(_COLOURS, outcome.kinds.items(), strict=False):
        if not tally.answered:
            continue
        shares = 1 - np.geomspace(1, 1 / max(2, tally.codes.total()), 200)
        times = 1e3 * np.array(tally.times.quantiles(shares.tolist(), tally.failed))
        axes.plot(1 / (1 - shares), times, color=colour, label=name)
    axes.set(xscale="log", yscale="log", xlabel="percentile", ylabel="ms from when the call was due")
    shown = [nine for nine in _NINES if 1 / (1 - nine) <= axes.get_xlim()[1]]
    axes.set_xticks([1 / (1 - nine) for nine in shown], [f"{100 * nine:g}" for nine in shown])
    axes.minorticks_off()


def _times(axes: Axes, outcome: Outcome) -> None:
    for share, colour in ((0.5, INK), (0.99, ACCENT)):
        times = [1e3 * part.times.quantile(share) for part in outcome.slices]
        axes.plot(_middles(outcome), times, color=colour, label=f"p{100 * share:g}", linewidth=1.2)
    axes.set(yscale="log", xlabel="seconds", ylabel="ms")


def _calls(axes: Axes, outcome: Outcome) -> None:
    width = outcome.seconds / SLICES
    answered = np.array([part.answered for part in outcome.slices]) / width
    failed = np.array([part.failed for part in outcome.slices]) / width
    axes.bar(_middles(outcome), answered, width, color=SOFT, label="answered")
    axes.bar(_middles(outcome), failed, width, answered, color=ACCENT, label="failed")
    axes.axhline(outcome.rate, color=FAINT, linestyle="--", label="asked, on average")
    axes.set(xlabel="seconds", ylabel="calls a second", ylim=(0, 1.4 * max(outcome.rate, *(answered + failed))))


def _middles(outcome: Outcome) -> list[float]:
    return [(place + 0.5) * outcome.seconds / SLICES for place in range(SLICES)]
