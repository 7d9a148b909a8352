"""How models that foretell the popularity of films compare over several splits: what the probes of fusion and of
end to end share.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from rich.console import Console
from rich.table import Table

from feature_repo.errors import InputError
from feature_repo.files import replacing
from predictors.base import Scores
from predictors.engagement import Examples
from predictors.evaluation.engagement import EngagementOutcome
from predictors.evaluation.paired import Draw, Measures, Resampled, resample
from predictors.labels import Quintiles

SHOWN = ("r2", "spearman", "accuracy", "macro_f1", "weighted_kappa")
RESAMPLES = 1000

Rows = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Trial:
    """What one training of a model says of the films `rows` that one split holds out."""

    model: str
    split: str
    seed: int
    rows: Rows
    outcome: EngagementOutcome


@dataclass(frozen=True, slots=True)
class OverSplits:
    """The trials of one model and seed, one a split, as one outcome: each measure is its mean over the splits.

    A bootstrap draws of all `units` films; one that several splits hold out is drawn in each of them.
    """

    trials: Sequence[Trial]
    units: int

    def measure(self, drawn: Draw | None = None, /) -> Measures:
        """See `predictors.evaluation.paired.Outcome`."""
        times = np.ones(self.units, np.intp) if drawn is None else np.bincount(drawn, minlength=self.units)
        found = [t.outcome.measure(np.repeat(np.arange(len(t.rows)), times[t.rows])) for t in self.trials]
        return {name: float(np.mean([measures[name] for measures in found])) for name in SHOWN}


def held_out(
    folder: Path, seed: int, examples: Examples, rows: Rows, fit: Callable[[], Mapping[str, Scores]]
) -> list[Trial]:
    """What every model says of the held-out rows of one split, the name of `folder`.

    It is written to `<folder>/<seed>/<model>.csv`, `id,pred,cls`, and what is there already is not fitted again.
    """
    path, ids = folder / str(seed), [examples.contents[row].content_id for row in rows]
    if not path.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        said = fit()
        with replacing(path, durable=False) as beside:
            beside.mkdir()
            for model, scores in said.items():
                table = pl.DataFrame({"id": ids, "pred": scores.score, "cls": scores.classes})
                table.write_csv(beside / f"{model}.csv")
    trials = [_read(file, folder.name, seed, examples, rows, ids) for file in sorted(path.glob("*.csv"))]
    Console().print(folder.name, seed, {t.model: round(t.outcome.measure()["r2"], 3) for t in trials})
    return trials


def _read(path: Path, split: str, seed: int, examples: Examples, rows: Rows, ids: Sequence[str]) -> Trial:
    """Predictions beside the truth; the classes are cut on the training rows."""
    said = pl.read_csv(path, schema_overrides={"id": pl.String})
    if said["id"].to_list() != list(ids):
        raise InputError(f"{path} is not of the films that {split} holds out: remove it")
    quintiles, truth = Quintiles.fit(examples.scores[examples.splits.train]), examples.scores[rows]
    outcome = EngagementOutcome(truth, said["pred"].to_numpy(), quintiles.classes(truth), said["cls"].to_numpy())
    return Trial(path.stem, split, seed, rows, outcome)


def compare(trials: Sequence[Trial], ours: str, units: int) -> dict[str, Any]:
    """Print and return what each model is worth and how far `ours` is ahead, with 95 % intervals over films.

    Every model has the same splits and seeds; its measures are means over both.
    """
    splits, seeds = (sorted({getattr(trial, name) for trial in trials}) for name in ("split", "seed"))
    models = dict.fromkeys(trial.model for trial in trials)
    of = {model: [trial for trial in trials if trial.model == model] for model in models}
    found = {
        model: resample(
            [OverSplits([trial for trial in own if trial.seed == seed], units) for seed in seeds], RESAMPLES, 0
        )
        for model, own in of.items()
    }
    result = {model: {"measures": _written(one.estimates()), **_spread(of[model])} for model, one in found.items()}
    leads = {model: found[ours].less(one) for model, one in found.items() if model != ours}
    title = f"held-out films, {len(splits)} splits, {len(seeds)} seeds: mean [95 % interval]"
    _show(found, ours, title)
    ahead = {model: _written(lead) for model, lead in leads.items()}
    return {"splits": splits, "seeds": seeds, "models": result, "ahead": ahead}


def _written(estimates: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    return {name: asdict(estimate) for name, estimate in estimates.items()}


def _spread(trials: Sequence[Trial]) -> dict[str, Any]:
    """R2 of each trial, and the fewest classes that any of them predicts."""
    classes = min(len(np.unique(trial.outcome.predicted_classes)) for trial in trials)
    return {"r2": [trial.outcome.measure()["r2"] for trial in trials], "least_classes": classes}


def _show(found: Mapping[str, Resampled], ours: str, title: str) -> None:
    table = Table("model", *SHOWN, title=title)
    for model, one in found.items():
        cells = [one.estimates()[name] for name in SHOWN]
        table.add_row(model, *(f"{cell.value:.3f} [{cell.low:.3f}, {cell.high:.3f}]" for cell in cells))
    for model, one in found.items():
        if model != ours:
            lead = found[ours].less(one)
            said = [f"{lead[n].value:+.3f} [{lead[n].low:+.3f}, {lead[n].high:+.3f}]" for n in SHOWN]
            table.add_row(f"{ours} - {model}", *said)
    Console(width=180).print(table)
