import dataclasses
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from feature_repo.catalog import Catalog
from feature_repo.columns import Columns
from feature_repo.contracts import Content
from feature_repo.errors import StateError
from feature_repo.settings import Settings, load_settings
from predictors import train as training
from predictors.base import load_predictor
from predictors.config import TrainConfig
from tests.predictors.planted import SPEC, FrameStore, Planted, plant

Fill = Callable[[Planted], Catalog]


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_the_manifest_says_what_was_trained_and_how_good_it_is(report: training.TrainReport) -> None:
    manifest = report.manifest
    assert (manifest["name"], manifest["service"], manifest["version"]) == ("popularity", "popularity", report.version)
    assert manifest["embeddings"] == {"vec": SPEC.digest}
    assert sum(manifest["rows"].values()) == 240
    assert len(manifest["quintile_edges"]) == 4
    baselines = manifest["baselines"]
    assert manifest["metrics"]["r2"] > baselines["metadata_only"]["r2"] + 0.3 > baselines["mean"]["r2"]
    low, high = manifest["intervals"]["r2"]
    assert low < manifest["metrics"]["r2"] < high
    for curves in manifest["curves"].values():
        assert len(curves["train"]) == len(curves["valid"]) > 1
    assert manifest["config"]["weights"]["likes"] == 2.0
    assert set(manifest["files"]) == set(files(report.folder)) - {"manifest.json"}


def test_the_stages_are_told(settings: Settings, fill: Fill, planted: Planted, quick: TrainConfig) -> None:
    told: list[str] = []
    training.train(settings, fill(planted), FrameStore(planted.frame), quick, lambda name, *_: told.append(name))
    assert told == ["features", "fit", "evaluate", "publish"]


def test_the_store_is_asked_as_of_publication(
    settings: Settings, fill: Fill, planted: Planted, quick: TrainConfig
) -> None:
    store = FrameStore(planted.frame)
    catalog = fill(planted)
    catalog.upsert_contents([Content("bare", "no counters", planted.published[0], creator_id="someone")], "planted")
    report = training.train(settings, catalog, store, quick)
    (asked,) = store.asked
    assert asked["content_id"].to_list() == planted.content_ids
    assert asked["event_timestamp"].to_list() == planted.published
    assert set(asked["creator_id"]) == {""}
    assert asked.columns == ["content_id", "creator_id", "event_timestamp"]
    assert report.manifest["unlabelled"] == 1


def test_the_same_data_is_not_trained_on_twice(
    settings: Settings, report: training.TrainReport, catalog: Catalog, planted: Planted, quick: TrainConfig
) -> None:
    before = files(report.folder)
    told: list[str] = []
    again = training.train(settings, catalog, FrameStore(planted.frame), quick, lambda name, *_: told.append(name))
    assert (again.version, again.fresh, report.fresh, told) == (report.version, True, False, ["features"])
    assert again.manifest == report.manifest
    assert files(report.folder) == before


@pytest.mark.parametrize("change", ["config", "frame", "embedding", "counters"])
def test_other_data_is_another_version(
    settings: Settings,
    report: training.TrainReport,
    catalog: Catalog,
    planted: Planted,
    quick: TrainConfig,
    change: str,
) -> None:
    frame, config = planted.frame, quick
    if change == "config":
        config = dataclasses.replace(quick, depth=3)
    elif change == "frame":
        frame = frame.with_columns(has_image=pl.lit(1.0, pl.Float32))
    elif change == "embedding":
        catalog.register_embedding(dataclasses.replace(SPEC, weights="others"))
    else:
        catalog.upsert_contents([dataclasses.replace(planted.contents()[0], counters={"views": 1.0})], "planted")
    again = training.train(settings, catalog, FrameStore(frame), config)
    assert again.version != report.version
    assert load_predictor(settings, "popularity").version == again.version
    assert load_predictor(settings, "popularity", report.version).version == report.version


def test_two_workspaces_get_the_same_bytes(
    tmp_path: Path, report: training.TrainReport, catalog: Catalog, planted: Planted, quick: TrainConfig
) -> None:
    other = training.train(load_settings(home=tmp_path / "other"), catalog, FrameStore(planted.frame), quick)
    assert files(other.folder) == files(report.folder)


def test_a_damaged_version_is_trained_again(
    settings: Settings, report: training.TrainReport, catalog: Catalog, planted: Planted, quick: TrainConfig
) -> None:
    before = files(report.folder)
    (report.folder / "regressor.cbm").write_bytes(b"?")
    again = training.train(settings, catalog, FrameStore(planted.frame), quick)
    assert (again.fresh, files(again.folder)) == (False, before)


def test_the_current_model_scores_as_it_did_in_training(
    settings: Settings, report: training.TrainReport, planted: Planted
) -> None:
    predictor = load_predictor(settings, "popularity")
    golden = pl.read_parquet(report.folder / "golden.parquet")
    np.testing.assert_array_equal(
        predictor.score(Columns.from_frame(golden)).score, golden["expected_score"].to_numpy()
    )
    assert predictor.score(Columns.from_frame(planted.frame)).score.shape == (240,)


def test_too_few_labels_are_refused_with_the_counters_that_count(
    settings: Settings, catalog: Catalog, planted: Planted, quick: TrainConfig
) -> None:
    catalog.upsert_contents(planted.contents()[:49], "planted")
    with pytest.raises(StateError, match=r"49 of 49 contents.*50 are needed.*views"):
        training.train(settings, catalog, FrameStore(planted.frame), quick)


def test_an_embedding_that_the_store_does_not_serve_is_refused(
    settings: Settings, fill: Fill, planted: Planted, quick: TrainConfig
) -> None:
    with pytest.raises(StateError, match=r"vec.*larder apply"):
        training.train(settings, fill(planted), FrameStore(planted.frame.drop("vec")), quick)


KILLED = """
import os, signal, sys
from feature_repo.catalog import Catalog
from feature_repo.settings import Settings
from predictors import train as training
from predictors import versions
from predictors.config import TrainConfig
from tests.predictors.planted import FrameStore, plant

home, where = sys.argv[1], sys.argv[2]
def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)
if where == "beside":
    training.write_golden = die
else:
    versions.make_current = die
settings = Settings(home=home)
with Catalog(settings.catalog) as catalog:
    config = TrainConfig(iterations=60, patience=20, depth=4, learning_rate=0.2, resamples=20, threads=1)
    training.train(settings, catalog, FrameStore(plant().frame), config)
"""


@pytest.mark.crash
@pytest.mark.parametrize("where", ["beside", "published"])
def test_a_killed_training_leaves_no_half_and_converges(
    settings: Settings, fill: Fill, planted: Planted, quick: TrainConfig, tmp_path: Path, where: str
) -> None:
    catalog = fill(planted)
    root = Path(__file__).parents[2]
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, str(settings.home), where],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL
    with pytest.raises(StateError, match="larder train popularity"):
        load_predictor(settings, "popularity")
    after = training.train(settings, catalog, FrameStore(planted.frame), quick)
    assert after.fresh == (where == "published")
    clean = training.train(load_settings(home=tmp_path / "clean"), catalog, FrameStore(planted.frame), quick)
    assert files(after.folder) == files(clean.folder)
    assert sorted(p.name for p in after.folder.parent.iterdir()) == sorted(["CURRENT", after.version])
    assert json.loads((after.folder / "manifest.json").read_text()) == dict(after.manifest)
    assert plant().content_ids == planted.content_ids
