import json
import logging
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from feature_repo.catalog import Catalog
from feature_repo.errors import ConfigurationError
from feature_repo.settings import Settings, load_settings
from predictors import mlflow_run
from predictors.config import TrainConfig
from predictors.mlflow_run import track
from predictors.train import TrainReport, train
from predictors.tuning import tune
from tests.predictors.conftest import put
from tests.predictors.planted import SPEC, FrameStore, Planted

# MLflow's own tables use what SQLAlchemy is going to drop
pytestmark = pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning")


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A workspace whose trainings are tracked in SQLite."""
    return load_settings(home=tmp_path_factory.mktemp("tracked"), tracking="")


@pytest.fixture(scope="module")
def filled(space: Settings, planted: Planted) -> Iterator[Catalog]:
    with Catalog(space.catalog) as catalog:
        yield put(planted, catalog)


@pytest.fixture(scope="module")
def trained(space: Settings, filled: Catalog, planted: Planted, quick: TrainConfig) -> TrainReport:
    return train(space, filled, FrameStore(planted.frame), quick)


@pytest.fixture
def dead() -> str:
    """A URL at which nobody answers."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{taken.getsockname()[1]}"


def runs(space: Settings, **tags: str) -> list[Any]:
    """The runs with these tags, oldest first."""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{space.home / 'tracking.db'}")
    experiment = client.get_experiment_by_name("larder")
    assert experiment is not None
    wanted = " and ".join(f"tags.{key} = '{value}'" for key, value in tags.items())
    return list(client.search_runs([experiment.experiment_id], wanted, order_by=["attributes.start_time ASC"]))


def test_a_training_is_a_run_with_all_that_made_it(space: Settings, trained: TrainReport) -> None:
    from mlflow import MlflowClient

    (run,) = runs(space, version=trained.version)
    assert run.info.status == "FINISHED"
    assert run.data.params["depth"] == "4"
    assert run.data.params["weights.likes"] == "2.0"
    assert run.data.metrics["test/r2"] == trained.manifest["metrics"]["r2"]
    assert run.data.metrics["baseline/metadata_only/r2"] == trained.manifest["baselines"]["metadata_only"]["r2"]
    tags = run.data.tags
    assert tags["predictor"] == "popularity"
    assert tags["embedding.vec"] == SPEC.digest
    assert tags["library.catboost"] == trained.manifest["libraries"]["catboost"]
    assert len(tags["data_digest"]) > 15

    client = MlflowClient(f"sqlite:///{space.home / 'tracking.db'}")
    history = client.get_metric_history(run.info.run_id, "valid/regressor")
    assert [point.step for point in history] == list(range(len(history)))
    assert [point.value for point in history] == trained.manifest["curves"]["regressor"]["valid"]
    kept = space.home / "tracking" / run.info.run_id / "artifacts"
    assert json.loads((kept / "manifest.json").read_text()) == dict(trained.manifest)
    assert json.loads((kept / "curves.json").read_text()) == trained.manifest["curves"]


def test_what_is_fresh_makes_no_run(
    space: Settings, trained: TrainReport, filled: Catalog, planted: Planted, quick: TrainConfig
) -> None:
    assert train(space, filled, FrameStore(planted.frame), quick).fresh
    assert len(runs(space, version=trained.version)) == 1


def test_a_tracked_model_is_the_untracked_one(
    tmp_path: Path, trained: TrainReport, filled: Catalog, planted: Planted, quick: TrainConfig
) -> None:
    untracked = load_settings(home=tmp_path / "untracked", tracking="off")
    other = train(untracked, filled, FrameStore(planted.frame), quick)
    assert other.manifest == trained.manifest
    assert not list(untracked.home.glob("tracking*"))


def test_trials_are_parts_of_their_search(
    space: Settings, trained: TrainReport, filled: Catalog, planted: Planted, quick: TrainConfig
) -> None:
    found = tune(space, filled, FrameStore(planted.frame), "popularity", quick, 2)
    (search,) = runs(space, predictor="tune popularity")
    trials = runs(space, **{"`mlflow.parentRunId`": search.info.run_id})
    assert [trial.info.status for trial in trials] == ["FINISHED"] * 2
    objectives = [trial.data.metrics["valid/objective"] for trial in trials]
    assert max(objectives) == search.data.metrics["valid/best"] == found.best
    assert search.data.tags["best.depth"] == str(found.tried["depth"])
    assert all("valid/regressor" in trial.data.metrics for trial in trials)


@pytest.mark.parametrize(("error", "status"), [(ValueError("no"), "FAILED"), (KeyboardInterrupt(), "KILLED")])
def test_a_run_says_how_it_ended(space: Settings, error: BaseException, status: str) -> None:
    def broken() -> None:
        with track(space, "popularity", status, {}, {}) as tracker:
            tracker.metric("loss", "train", 0, 1.5)
            raise error

    with pytest.raises(type(error)):
        broken()
    (run,) = runs(space, version=status)
    assert (run.info.status, run.data.metrics) == (status, {"train/loss": 1.5})


def test_a_server_that_does_not_answer_costs_a_warning_and_nothing_else(
    dead: str,
    tmp_path: Path,
    trained: TrainReport,
    filled: Catalog,
    planted: Planted,
    quick: TrainConfig,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with caplog.at_level(logging.WARNING, mlflow_run.__name__):
        report = train(load_settings(home=tmp_path, tracking=dead), filled, FrameStore(planted.frame), quick)
    assert report.manifest == trained.manifest
    said = [record.message for record in caplog.records if record.name == mlflow_run.__name__]
    assert len(said) == 1
    assert "not tracked" in said[0]
    assert "LARDER_TRACKING" in said[0]


def test_a_server_that_goes_away_meanwhile_stops_nothing(
    space: Settings, trained: TrainReport, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    def gone(*_: object, **__: object) -> None:
        raise ConnectionError("gone")

    with track(space, "popularity", "leaving", {}, {}) as tracker:
        monkeypatch.setattr(MlflowClient, "log_batch", gone)
        for step in range(2500):
            tracker.metric("loss", "train", step, 0.0)
        tracker.published(trained.folder, trained.manifest)
    assert [record.message for record in caplog.records if "not tracked" in record.message] == [
        "this training is not tracked further (LARDER_TRACKING): gone"
    ]


def test_the_revision_is_that_of_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert mlflow_run._revision() == {}
    who = ["-c", "user.name=n", "-c", "user.email=e@x"]
    for command in (["init", "-q"], [*who, "commit", "-q", "--allow-empty", "-m", "a"]):
        subprocess.run(["git", *command], check=True)
    (said,) = mlflow_run._revision().values()
    assert len(said) == 40
    (tmp_path / "file").write_text("1")
    subprocess.run(["git", "add", "file"], check=True)
    assert mlflow_run._revision() == {"mlflow.source.git.commit": f"{said}-dirty"}
    monkeypatch.setenv("PATH", "")
    assert mlflow_run._revision() == {}


@pytest.mark.parametrize("value", ["on", "localhost:5000", "://x"])
def test_a_setting_that_is_no_url_is_refused(value: str) -> None:
    with pytest.raises(ConfigurationError, match="LARDER_TRACKING"):
        load_settings(tracking=value)
