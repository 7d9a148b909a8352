"""Search for a predictor's configuration: Optuna's TPE (Bergstra et al. 2011) on the validation rows, never the test's.

A search is a study in `tuning/<predictor>.db`, named by everything that decides it. One that was killed goes on there,
and ends as if it had not been: what a trial tries depends on the seed and the trials before it alone.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from feature_repo.catalog import Catalog
from feature_repo.contracts import digest
from feature_repo.errors import ConfigurationError
from feature_repo.files import only_writer, replacing
from feature_repo.settings import Settings
from predictors.config_file import differing, to_toml
from predictors.evaluation.outcomes import Examination, examination
from predictors.mlflow_run import Tracker, track
from predictors.recipes import TASKS, Config, Data, Recipe, TrainingStore, checkpoints, named, recipe_of
from predictors.tracking import LocalRun, Stage
from predictors.train import version_of

if TYPE_CHECKING:
    from optuna import Study, Trial


@dataclass(frozen=True, slots=True)
class Range:
    """Numbers from `low` to `high`, whole ones where both are; `log`: by their logarithms."""

    low: float
    high: float
    log: bool = False

    def suggest(self, trial: Trial, name: str) -> float:
        """What this trial tries."""
        if isinstance(self.low, int) and isinstance(self.high, int):
            return trial.suggest_int(name, self.low, self.high, log=self.log)
        return trial.suggest_float(name, self.low, self.high, log=self.log)


@dataclass(frozen=True, slots=True)
class Choice:
    """One of these."""

    options: tuple[str | int | float | bool, ...]

    def suggest(self, trial: Trial, name: str) -> str | int | float | bool | None:
        """What this trial tries."""
        return trial.suggest_categorical(name, self.options)


Space = Mapping[str, Range | Choice]

# predictor -> what is searched of its configuration's fields; each holds the field's default
SPACES: Mapping[str, Space] = {
    "popularity": {
        "depth": Range(3, 8),
        "learning_rate": Range(0.01, 0.2, log=True),
        "column_share": Range(0.2, 1.0),
    },
    "interest": {
        "rate": Range(1e-3, 1e-2, log=True),
        "decay": Range(0.005, 0.5, log=True),
        "dropout": Range(0.0, 0.5),
        "id_dropout": Range(0.0, 0.5),
        "reaction_weight": Range(0.0, 1.0),
        "meeting_weight": Range(0.0, 1.0),
    },
    "interest_factors": {"factors": Range(4, 32, log=True), "components": Range(8, 64, log=True)},
    "interest_catboost": {
        "depth": Range(3, 8),
        "learning_rate": Range(0.02, 0.2, log=True),
        "leaf_penalty": Range(1.0, 50.0, log=True),
        "column_share": Range(0.2, 1.0),
        "embedding_weight": Range(0.01, 0.3, log=True),
        "taste_weight": Range(0.03, 0.6, log=True),
    },
    "engagement_fusion": {
        "width": Choice((16, 32, 64)),
        "dropout": Range(0.0, 0.6),
        "modality_dropout": Range(0.0, 0.4),
        "learning_rate": Range(3e-4, 3e-3, log=True),
        "weight_decay": Range(0.01, 1.0, log=True),
    },
    "engagement_end_to_end": {
        "fusion": Choice(("concat", "gated", "cross_attention")),
        "head": Choice(("corn", "softmax")),
        "rate": Range(1e-4, 1e-3, log=True),
        "tower_rate": Range(3e-6, 3e-4, log=True),
        "class_share": Range(0.0, 0.9),
    },
}

# predictor -> what holds in trials alone: a model that has learnt from the validation rows cannot be judged by them
TRIALS: Mapping[str, Mapping[str, Any]] = {
    "popularity": {"refit": False},
    "interest_factors": {"refit": False},
}


@dataclass(frozen=True, slots=True)
class Search:
    """What a search found: the best configuration, the file it is kept in, how good it and the one it began with are
    on the validation rows, the fields that were tried, and how many trials there are by now.
    """

    config: Config
    path: Path
    best: float
    begun_with: float
    tried: Mapping[str, Any]
    trials: int


def tune(
    settings: Settings,
    catalog: Catalog,
    store: TrainingStore,
    name: str,
    config: Config,
    trials: int,
    fixed: Collection[str] = (),
    on_stage: Stage = lambda name, done, total: None,
) -> Search:
    """Try `trials` configurations in all, the given one first; the fields in `fixed` stay as they are.

    Raises ConfigurationError where nothing is left to search, UnavailableError where another search is at work.
    """
    recipe = recipe_of(name)
    space = {field: domain for field, domain in SPACES.get(name, {}).items() if field not in fixed}
    if not space:
        raise ConfigurationError(
            f"there is nothing to tune of {name}: " + ("every field is given" if name in SPACES else "it has no space")
        )
    on_stage("features", 0, 0)
    data: Data = named(TASKS[recipe.task])(settings, catalog, store, recipe.service, config)
    folder = settings.home / "tuning"
    folder.mkdir(parents=True, exist_ok=True)
    trainer = _Trainer(settings, name, recipe, data, config, space)
    with only_writer(folder / name):
        study = _open_study(f"sqlite:///{folder / name}.db", trainer.digest)
        with track(settings, f"tune {name}", trainer.digest, config.to_json(), {"trials": str(trials)}) as tracker:
            while (done := len(_complete(study))) < trials:
                on_stage("tune", done, trials)
                trainer.next_trial(study, done, tracker)
            tracker.measures("valid", {"best": study.best_value})
            tracker.tags({f"best.{field}": str(value) for field, value in study.best_params.items()})
    first, *_ = _complete(study)
    best, path = trainer.configured(study.best_params), folder / f"{name}.toml"
    with replacing(path) as beside:
        beside.write_text(to_toml(differing(recipe, best)))
    return Search(best, path, study.best_value, float(first.value or 0.0), study.best_params, len(_complete(study)))


@dataclass(frozen=True, slots=True)
class _Trainer:
    """Fits and measures one configuration after the other on the same rows."""

    settings: Settings
    name: str
    recipe: Recipe
    data: Data
    config: Config
    space: Space

    @property
    def digest(self) -> str:
        """Of everything that decides what a trial finds."""
        version = version_of(self.name, self.recipe, self.data.digest, self.config)
        space = {field: asdict(domain) for field, domain in self.space.items()}
        return digest(version, json.dumps(space, sort_keys=True), size=8)

    def configured(self, *changes: Mapping[str, Any]) -> Config:
        """The configuration with other values of some fields."""
        config: Any = self.config
        for fields in changes:
            config = replace(config, **fields)
        changed: Config = config
        return changed

    def next_trial(self, study: Study, done: int, parent: Tracker) -> None:
        """Run one more trial; one that fails or is interrupted counts as never made."""
        from optuna.samplers import TPESampler
        from optuna.trial import TrialState

        (seed,) = np.random.SeedSequence([self.config.seed, done]).generate_state(1)
        study.sampler = TPESampler(seed=int(seed))
        if not done and not study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
            study.enqueue_trial({field: getattr(self.config, field) for field in self.space})
        trial = study.ask()
        try:
            value = self._measure({field: domain.suggest(trial, field) for field, domain in self.space.items()}, parent)
        except BaseException:
            study.tell(trial, state=TrialState.FAIL)
            raise
        study.tell(trial, value)

    def _measure(self, tried: Mapping[str, Any], parent: Tracker) -> float:
        """Fit with these fields; how good that is on the validation rows."""
        held: Examination = examination(self.recipe.task, self.data)
        config = self.configured(tried, TRIALS.get(self.name, {}))
        version = version_of(self.name, self.recipe, self.data.digest, config)
        with track(self.settings, self.name, version, config.to_json(), {"part": "trial"}, parent.run_id) as tracker:
            run = LocalRun(version, checkpoints(self.settings.models_dir, self.name, version), on_metric=tracker.metric)
            value = held.objective(self.recipe.run(self.data.examples, config, run))
            tracker.measures("valid", {"objective": value})
        shutil.rmtree(run.folder, ignore_errors=True)
        return value


def _open_study(url: str, name: str) -> Study:
    """The search of that name; trials that a killed process left running are given up."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(storage=url, study_name=name, direction="maximize", load_if_exists=True)
    for left in study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.RUNNING,)):
        study.tell(left.number, state=optuna.trial.TrialState.FAIL)
    return study


def _complete(study: Study) -> list[Any]:
    from optuna.trial import TrialState

    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
