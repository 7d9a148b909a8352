"""Predictors beside each other on the same held-out rows, with naive baselines, intervals and paired tests.

The folder of a comparison holds `<predictor>/seed-<n>/` with its predictions and those of its rivals,
`baselines/<task>/seed-<n>/` with the truth and the naive baselines, `comparison.json` and `comparison.md`.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

import polars as pl

from feature_repo.catalog import Catalog
from feature_repo.errors import ConfigurationError
from feature_repo.files import replacing, sweep, write_json
from feature_repo.settings import Settings
from predictors.config_file import configure
from predictors.evaluation.cost import Metered
from predictors.evaluation.kept import keep, kept, kept_facts
from predictors.evaluation.outcomes import Examination, Predictions, examination
from predictors.evaluation.paired import Outcome, resample
from predictors.evaluation.text import to_markdown
from predictors.recipes import TASKS, Config, Data, Recipe, TrainingStore, checkpoints, named, recipe_of
from predictors.tracking import LocalRun, Stage
from predictors.train import version_of

BASELINES, TRUTH = "baselines", "truth"


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareOptions:
    """The split (a name or a folder; None: each task's own), the first seed and how many, resamples of the bootstrap,
    and configuration fields by predictor.
    """

    split: str | None = None
    seed: int = 0
    seeds: int = 1
    resamples: int = 1000
    configs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def compare(
    settings: Settings,
    catalog: Catalog,
    store: TrainingStore,
    names: Sequence[str],
    out: Path,
    options: CompareOptions,
    on_stage: Stage = lambda name, done, total: None,
) -> dict[str, Any]:
    """Fit each predictor on the split's training rows, once for each seed, and compare what they say of its test rows.

    Predictions that are in `out` already, of the same data and configuration, are not made again.
    Raises ConfigurationError for an unknown predictor or field, and where predictors of a task differ in their labels.
    """
    recipes = {name: recipe_of(name) for name in names}
    configs = {name: [_config(recipes[name], name, seed, options) for seed in _seeds(options)] for name in recipes}
    bench = _Bench(settings, catalog, store, out, on_stage)
    doubles = {f"{name}-{rival}" for name in recipes for rival in recipes}  # rivals that are compared themselves
    tasks: dict[str, dict[str, list[Outcome]]] = {}
    for name, recipe in recipes.items():
        for config in configs[name]:
            task, outcomes = bench.outcomes(name, recipe, config)
            for who, outcome in outcomes.items():
                if who not in doubles:
                    tasks.setdefault(task, {}).setdefault(who, []).append(outcome)
    report = {
        "split": options.split,
        "seeds": list(_seeds(options)),
        "resamples": options.resamples,
        "versions": bench.versions,
        "tasks": {
            task: {"predictors": bench.predictors[task], **_judged(found, bench.units[task], options)}
            for task, found in tasks.items()
        },
    }
    write_json(out / "comparison.json", report)
    with replacing(out / "comparison.md", durable=False) as beside:
        beside.write_text(to_markdown(report))
    return report


def _seeds(options: CompareOptions) -> range:
    return range(options.seed, options.seed + options.seeds)


def _config(recipe: Recipe, name: str, seed: int, options: CompareOptions) -> Config:
    chosen = {} if options.split is None else {"split": options.split}
    return configure(recipe, {**options.configs.get(name, {}), **chosen, "seed": seed})


@dataclass(frozen=True, slots=True)
class _Bench:
    """Where predictions are made and kept."""

    settings: Settings
    catalog: Catalog
    store: TrainingStore
    out: Path
    on_stage: Stage
    truths: dict[Path, pl.DataFrame] = field(default_factory=dict)
    versions: dict[str, list[str]] = field(default_factory=dict)
    units: dict[str, str] = field(default_factory=dict)
    predictors: dict[str, list[str]] = field(default_factory=dict)

    def outcomes(self, name: str, recipe: Recipe, config: Config) -> tuple[str, dict[str, Outcome]]:
        """What is predicted, and of one training the predictor's outcome and its rivals'; those of the naive baselines
        with the first of a kind.
        """
        part = f"seed-{config.seed}"
        self.on_stage(f"{part}: features", 0, 0)
        data: Data = named(TASKS[recipe.task])(self.settings, self.catalog, self.store, recipe.service, config)
        held = examination(recipe.task, data)
        self.units[held.name] = held.units
        if name not in (known := self.predictors.setdefault(held.name, [])):
            known.append(name)
        naive = self._naive(self.out / BASELINES / held.name / part, held)
        version = version_of(name, recipe, data.digest, config)
        self.versions.setdefault(name, []).append(version)
        folder = self.out / name / part
        sweep(folder.parent)
        if kept_facts(folder).get("version") != version:
            self.on_stage(f"{part}: fit", 0, 0)
            run = LocalRun(version, checkpoints(self.settings.models_dir, name, version), self.on_stage)
            fitted = recipe.run(data.examples, config, run)
            self.on_stage(f"{part}: predict", 0, 0)
            models = {name: fitted.predictor, **{f"{name}-{rival}": one for rival, one in fitted.rivals.items()}}
            metered = {who: Metered(model) for who, model in models.items()}
            said = {who: held.predict(fitted, model) for who, model in metered.items()}
            facts = {
                "version": version,
                "config": config.to_json(),
                "facts": {**data.facts, **fitted.facts},
                "curves": run.curves,
                "reads": list(fitted.predictor.features),
                "cost": {who: model.cost for who, model in metered.items()},
            }
            keep(folder, said, facts)
            shutil.rmtree(run.folder, ignore_errors=True)
        return held.name, {who: held.outcome(tables) for who, tables in (kept(folder) | naive).items()}

    def _naive(self, folder: Path, held: Examination) -> dict[str, Predictions]:
        """Keep the truth and the baselines of a task's test rows; nothing where another predictor has brought them.

        Raises ConfigurationError where that one brought another truth.
        """
        truth = held.truth()
        if folder not in self.truths:
            naive = dict(held.naive())
            keep(folder, {TRUTH: {TRUTH: truth}, **naive}, {})
            self.truths[folder] = truth
            return naive
        if not truth.equals(self.truths[folder]):
            raise ConfigurationError(
                f"the predictors of task {folder.parent.name} are held against different truths: give all of them the "
                "same split and the same settings of the label"
            )
        return {}


def _judged(found: Mapping[str, Sequence[Outcome]], units: str, options: CompareOptions) -> dict[str, Any]:
    """Every predictor of a task with its intervals, and the differences of every two."""
    resampled = {name: resample(outcomes, options.resamples, options.seed) for name, outcomes in found.items()}
    return {
        "resampled": units,
        "units": [outcome.units for outcome in next(iter(found.values()))],
        "models": {
            name: {
                "estimates": {measure: asdict(estimate) for measure, estimate in said.estimates().items()},
                "by_seed": [outcome.measure() for outcome in found[name]],
            }
            for name, said in resampled.items()
        },
        "differences": [
            {
                "of": one,
                "less": other,
                "measures": {m: asdict(d) for m, d in resampled[one].less(resampled[other]).items()},
            }
            for one, other in combinations(resampled, 2)
        ],
    }
