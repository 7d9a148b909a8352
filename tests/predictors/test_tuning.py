import dataclasses
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from feature_repo.catalog import Catalog
from feature_repo.errors import ConfigurationError, UnavailableError
from feature_repo.files import only_writer
from feature_repo.settings import Settings, load_settings
from predictors.config import TrainConfig
from predictors.config_file import configure, read_config
from predictors.evaluation.engagement_metrics import r2
from predictors.recipes import RECIPES
from predictors.tracking import LocalRun
from predictors.tuning import SPACES, Choice, Range, Search, tune
from tests.predictors.conftest import put
from tests.predictors.planted import FrameStore, Planted

Fill = Callable[[Planted], Catalog]

ROOT = Path(__file__).parents[2]
# Far from good, so that a search has something to find
POOR = TrainConfig(
    iterations=20, patience=20, depth=3, learning_rate=0.01, resamples=5, threads=1, bags=1, kernel_centres=0
)


@pytest.fixture
def search(settings: Settings, fill: Fill, planted: Planted) -> Callable[..., Search]:
    catalog = fill(planted)

    def of(trials: int, home: Settings = settings, **options: Any) -> Search:
        return tune(home, catalog, FrameStore(planted.frame), "popularity", POOR, trials, **options)

    return of


@pytest.mark.parametrize("name", SPACES)
def test_what_is_searched_are_fields_and_their_defaults_among_it(name: str) -> None:
    usual = RECIPES[name].configure({})
    for field, domain in SPACES[name].items():
        value = getattr(usual, field)
        if isinstance(domain, Range):
            assert domain.low <= value <= domain.high, field
            assert isinstance(value, int) == (isinstance(domain.low, int) and isinstance(domain.high, int)), field
        else:
            assert isinstance(domain, Choice)
            assert value in domain.options, field
        configure(RECIPES[name], {field: value})


def test_a_search_begins_with_what_is_given_and_finds_better(search: Callable[..., Search], settings: Settings) -> None:
    found = search(6)
    assert found.trials == 6
    assert found.best > found.begun_with + 0.05
    assert set(found.tried) == set(SPACES["popularity"])
    assert isinstance(found.config, TrainConfig)
    assert {field: getattr(found.config, field) for field in found.tried} == found.tried
    assert (found.config.iterations, found.config.resamples) == (20, 5)
    assert configure(RECIPES["popularity"], read_config(found.path)).to_json() == found.config.to_json()
    models = settings.models_dir / "popularity"
    assert not models.exists() or not any(models.iterdir())


def test_a_field_that_is_given_stays(search: Callable[..., Search]) -> None:
    found = search(3, fixed=("depth", "column_share", "seed"))
    assert set(found.tried) == {"learning_rate"}
    with pytest.raises(ConfigurationError, match="nothing to tune of popularity: every field is given"):
        search(3, fixed=SPACES["popularity"])


def test_what_is_found_is_found_again(search: Callable[..., Search], tmp_path: Path) -> None:
    first, other = search(4), search(4, load_settings(home=tmp_path / "other"))
    assert (first.best, first.tried) == (other.best, other.tried)
    assert search(4) == first
    assert search(5).trials == 5


def test_the_test_rows_have_no_say(search: Callable[..., Search], planted: Planted, tmp_path: Path) -> None:
    scores, test = planted.scores.copy(), planted.examples().splits.test
    scores[test] = scores[test][::-1] * 2
    other = load_settings(home=tmp_path / "other")
    with Catalog(other.catalog) as catalog:
        changed = put(dataclasses.replace(planted, scores=scores), catalog)
        found = tune(other, changed, FrameStore(planted.frame), "popularity", POOR, 3)
    assert (found.best, found.tried) == (search(3).best, search(3).tried)


def test_a_trial_has_not_learnt_what_it_is_judged_by(search: Callable[..., Search], planted: Planted) -> None:
    assert POOR.refit
    examples = planted.examples()
    fit = RECIPES["popularity"].run(examples, dataclasses.replace(POOR, refit=False), LocalRun("v", Path("unused")))
    valid = examples.splits.valid
    found = search(1)
    assert found.begun_with == pytest.approx(
        r2(examples.scores[valid], fit.predictor.score(examples.columns.take(valid)).score)
    )
    assert isinstance(found.config, TrainConfig)
    assert found.config.refit


def test_a_second_search_at_the_same_time_is_refused(search: Callable[..., Search], settings: Settings) -> None:
    with only_writer(settings.home / "tuning" / "popularity"), pytest.raises(UnavailableError, match="another run"):
        search(2)


KILLED = """
import os, signal, sys
from feature_repo.catalog import Catalog
from feature_repo.settings import Settings
from predictors.popularity import predictor as catboost
from predictors import tuning
from tests.predictors.conftest import put
from tests.predictors.planted import FrameStore, plant
from tests.predictors.test_tuning import POOR

fits = 0
fit = catboost.fit_popularity
def third_time_dies(*arguments):
    global fits
    fits += 1
    if fits == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return fit(*arguments)
catboost.fit_popularity = third_time_dies
settings = Settings(home=sys.argv[1])
with Catalog(settings.catalog) as catalog:
    tuning.tune(settings, catalog, FrameStore(plant().frame), "popularity", POOR, 5)
"""


@pytest.mark.crash
def test_a_killed_search_goes_on_and_finds_the_same(
    search: Callable[..., Search], settings: Settings, tmp_path: Path
) -> None:
    command = [sys.executable, "-c", KILLED, str(settings.home)]
    killed = subprocess.run(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False)
    assert killed.returncode == -signal.SIGKILL
    told: list[tuple[str, int, int]] = []
    after = search(5, on_stage=lambda *said: told.append(said))
    assert told == [("features", 0, 0), *(("tune", done, 5) for done in (2, 3, 4))]
    clean = search(5, load_settings(home=tmp_path / "clean"))
    assert (after.best, after.tried, after.trials) == (clean.best, clean.tried, clean.trials)
