"""What a report is made of: a comparison's folder, or the manifests of published predictors, in one form."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from feature_repo.errors import InputError, StateError
from feature_repo.settings import Settings
from predictors import versions
from predictors.base import PREDICTORS
from predictors.evaluation.comparison import BASELINES, TRUTH
from predictors.evaluation.kept import kept, kept_facts
from predictors.evaluation.outcomes import Predictions
from predictors.report.measures import HEADLINES, measure

COMPARISON, ABLATION = "comparison.json", "ablation.json"
_TASK_OF = {"media": "engagement"}  # tasks that are judged as another is
_NAIVE = ("mean", "item_mean", "biases")  # the naive ones among a manifest's baselines; the others are rivals


@dataclass(frozen=True, slots=True)
class Estimate:
    """A measured value and its 95 % interval, where there is one."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Model:
    """Something that predicts. `naive` learns next to nothing. `said` is of the first seed's test rows."""

    name: str
    estimates: Mapping[str, Estimate]
    naive: bool = False
    said: Predictions = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Fit:
    """A predictor's training, the first seed's: its configuration, what it told, and what its predictions cost."""

    name: str
    version: str
    config: Mapping[str, Any]
    facts: Mapping[str, Any]
    curves: Mapping[str, Mapping[str, Sequence[float]]]
    cost: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Task:
    """Models on the same held-out rows. `kind` is a name of `HEADLINES`, `held_out` what was held out, in words.

    `differences` are as `comparison.json` has them, `truth` the first seed's, None where there are no predictions.
    """

    title: str
    kind: str
    held_out: str
    models: Sequence[Model]
    fits: Sequence[Fit]
    differences: Sequence[Mapping[str, Any]] = ()
    truth: pl.DataFrame | None = None

    @property
    def headlines(self) -> list[str]:
        """The measures that its findings are told by and that were taken, the one that decides first."""
        taken = {name for model in self.models for name in model.estimates}
        return [name for name in HEADLINES[self.kind] if name in taken]

    def difference(self, one: str, other: str, name: str) -> Mapping[str, float] | None:
        """How much better `one` measured than `other`, paired; None where that was not resampled."""
        for pair in self.differences:
            if name in pair["measures"] and {pair["of"], pair["less"]} == {one, other}:
                said = pair["measures"][name]
                swapped = {"value": -said["value"], "low": -said["high"], "high": -said["low"], "p": said["p"]}
                return said if pair["of"] == one else swapped
        return None


@dataclass(frozen=True, slots=True)
class Evidence:
    """All of it. `ablation` is as `predictors.report.ablation` writes it, by predictor."""

    made: str
    tasks: Sequence[Task]
    seeds: Sequence[int] = ()
    resamples: int = 0
    ablation: Mapping[str, Any] = field(default_factory=dict)


def of_comparison(folder: Path) -> Evidence:
    """What `larder evaluate` left in `folder`.

    Raises InputError where it left nothing, StateError where it is broken or of an older version.
    """
    try:
        report = json.loads((folder / COMPARISON).read_text())
        tasks = [_compared(folder, report, name, judged) for name, judged in report["tasks"].items()]
        split = report["split"]
    except FileNotFoundError as error:
        raise InputError(f"{folder} holds no {COMPARISON}: make it by `larder evaluate --out {folder}`") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StateError(f"{folder / COMPARISON} cannot be read ({error!r}): run `larder evaluate` again") from error
    made = f"split {split}" if split else "each task's own split"
    return Evidence(made, tasks, report["seeds"], report["resamples"], _ablation(folder))


def of_published(settings: Settings) -> Evidence:
    """What the current versions' manifests say. Raises StateError where nothing is trained."""
    found = [name for name in PREDICTORS if versions.current(settings, name)]
    if not found:
        raise StateError("no predictor is trained yet: run `larder train`, or `larder evaluate` and name its folder")
    manifests = [versions.read_manifest(versions.find(settings, name)) for name in found]
    return Evidence("the published versions' own held-out rows", [_published(manifest) for manifest in manifests])


def _compared(folder: Path, report: Mapping[str, Any], name: str, judged: Mapping[str, Any]) -> Task:
    part = f"seed-{report['seeds'][0]}"
    fits: list[Fit] = []
    said: dict[str, Predictions] = {}
    for predictor in judged["predictors"]:
        facts = kept_facts(folder / predictor / part)
        said |= kept(folder / predictor / part)
        told = {key: facts[key] for key in ("config", "facts", "curves", "cost")}
        fits.append(Fit(predictor, facts["version"], **told))
    naive = kept(folder / BASELINES / name / part)
    truth = naive.pop(TRUTH)[TRUTH]
    models = [
        Model(who, _estimates(model["estimates"]), who in naive, said.get(who, naive.get(who, {})))
        for who, model in judged["models"].items()
    ]
    held_out = f"{min(judged['units']):,} held-out {judged['resampled']}"
    return Task(name, name, held_out, _in_order(models, name), fits, judged["differences"], truth)


def _in_order(models: Sequence[Model], kind: str) -> list[Model]:
    """The naive ones last, the best first by the measure that decides."""
    decides = HEADLINES[kind][0]
    sign = -1 if measure(decides).greater else 1

    def place(model: Model) -> tuple[bool, float]:
        found = model.estimates.get(decides)
        return model.naive, float("inf") if found is None else sign * found.value

    return sorted(models, key=place)


def _estimates(said: Mapping[str, Mapping[str, float]]) -> dict[str, Estimate]:
    return {name: Estimate(found["value"], found["low"], found["high"]) for name, found in said.items()}


def _published(manifest: Mapping[str, Any]) -> Task:
    name, kind = manifest["name"], _TASK_OF.get(manifest["task"], manifest["task"])
    bounds = manifest.get("intervals", {})
    own = {taken: Estimate(value, *bounds.get(taken, ())) for taken, value in manifest["metrics"].items()}
    beside = [
        Model(who, {taken: Estimate(value) for taken, value in said.items()}, who in _NAIVE)
        for who, said in manifest["baselines"].items()
    ]
    rows = manifest.get("rows", {}).get("test", 0)
    held_out = f"{rows:,} held-out {'contents' if kind == 'engagement' else 'encounters'}"
    fit = Fit(name, manifest["version"], manifest["config"], manifest, manifest["curves"])
    return Task(f"{kind}, by {name}", kind, held_out, _in_order([Model(name, own), *beside], kind), [fit])


def _ablation(folder: Path) -> Mapping[str, Any]:
    try:
        found: Mapping[str, Any] = json.loads((folder / ABLATION).read_text())
    except FileNotFoundError:
        return {}
    return found
