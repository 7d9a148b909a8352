"""Training with a configuration, searching for one, and comparing predictors, as commands on a small feed."""

import json
from pathlib import Path

import polars as pl
import pytest

from feature_repo.catalog import Catalog
from feature_repo.settings import load_settings
from tests.larder.shell import Shell
from tests.larder.worlds import add_random_vectors, ingest_world

QUICK = ("--set", "patience=10", "--set", "folds=2", "--set", "resamples=5", "--set", "threads=1")


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """In a workspace with contents and vectors that say nothing."""
    shell = Shell(tmp_path_factory.mktemp("evaluate") / "home")
    settings = load_settings(home=shell.home)
    with Catalog(settings.catalog) as catalog:
        ingest_world(settings, catalog, contents=150, users=20)
        add_random_vectors(settings, catalog, "minilm", without=3)
    shell.ok("apply")
    return shell


def test_a_configuration_is_taken_from_file_options_and_assignments_in_that_order(shell: Shell, tmp_path: Path) -> None:
    path = tmp_path / "small.toml"
    path.write_text("iterations = 30\ndepth = 2\nseed = 4\nlearning_rate = 0.2\n")
    said = shell.ok("train", "--config", path, "--iterations", "20", "--set", "depth=3", *QUICK, "--json").json
    config = said["manifest"]["config"]
    assert [config[name] for name in ("iterations", "depth", "seed", "learning_rate")] == [20, 3, 4, 0.2]


def test_a_search_is_shown_kept_and_trained(shell: Shell) -> None:
    options = ("--tune", "2", "--iterations", "10", *QUICK)
    said = shell.ok("train", *options, "--json").json
    search = said["search"]
    assert search["trials"] == 2
    assert search["best"] >= search["begun_with"]
    assert {name: said["manifest"]["config"][name] for name in search["tried"]} == search["tried"]
    again = shell.ok(
        "train", "--config", shell.home / "tuning" / "popularity.toml", "--set", "threads=1", "--json"
    ).json
    assert (again["fresh"], again["version"]) == (True, said["version"])
    assert f"{search['best']:.4g}" in shell.ok("train", *options).out


def test_predictors_are_compared_into_a_folder(shell: Shell, tmp_path: Path) -> None:
    config = tmp_path / "quick.toml"
    config.write_text("iterations = 10\nfolds = 2\nthreads = 1\n")
    out = tmp_path / "out"
    command = ("evaluate", "popularity", "--config", f"popularity={config}", "--out", out, "--resamples", "20")
    said = shell.ok(*command, "--seeds", "2", "--json").json
    assert list(said["tasks"]["engagement"]["models"]) == ["popularity", "popularity-metadata_only", "mean"]
    assert json.loads((out / "comparison.json").read_text()) == said
    for seed in said["seeds"]:
        predictions = pl.read_csv(out / "popularity" / f"seed-{seed}" / "popularity" / "engagement.csv")
        assert predictions.columns == ["id", "pred", "cls"]
    shown = shell.ok(*command, "--seeds", "2")
    assert "popularity - mean" in shown.out
    assert str(out) in shown.err
    assert (
        not (shell.home / "models" / "popularity" / "CURRENT").read_text().startswith(said["versions"]["popularity"][0])
    )


def test_a_configuration_of_none_of_the_predictors_is_refused(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text("")
    outcome = shell("evaluate", "popularity", "--config", f"interest={tmp_path / 'a.toml'}")
    assert outcome.code == 2
    assert "--config names interest" in outcome.err
