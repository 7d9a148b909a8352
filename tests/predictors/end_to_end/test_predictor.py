from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from embedders.base import load_embedder
from embedders.fitted import current
from embedders.runner import run as embed
from embedders.specs import resolve_spec
from embedders.tuned_specs import ENCODER
from feature_repo.catalog import Catalog
from feature_repo.columns import Columns
from feature_repo.contracts import Modality
from feature_repo.errors import StateError
from feature_repo.settings import Settings
from feature_repo.vectors import read_vectors
from predictors import train as training
from predictors.base import load_predictor
from predictors.config import LabelConfig
from predictors.end_to_end.data import MediaExamples, read_media
from predictors.end_to_end.predictor import EndToEnd
from predictors.end_to_end.train import fit_end_to_end, install
from predictors.engagement import read_engagement
from predictors.golden import FILE
from predictors.recipes import Fitted
from predictors.tracking import LocalRun
from tests.predictors.conftest import put
from tests.predictors.media_world import BARE, fill, quick, workspace
from tests.predictors.planted import SPEC, FrameStore, Planted

ROOT = Path(__file__).parents[3]


class NoStore:
    """Pixels are no features: training asks the store for nothing."""

    def training_frame(self, entity_rows: pl.DataFrame, service: str, /) -> pl.DataFrame:
        raise AssertionError(f"{service} was read")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Settings, Catalog]]:
    """A workspace with the planted contents, in which the predictor is trained."""
    settings = workspace(tmp_path_factory.mktemp("world"))
    with Catalog(settings.catalog) as catalog:
        fill(settings, catalog)
        yield settings, catalog


@pytest.fixture(scope="module")
def report(world: tuple[Settings, Catalog]) -> training.TrainReport:
    settings, catalog = world
    return training.train(settings, catalog, NoStore(), quick(), name=ENCODER)


@pytest.fixture(scope="module")
def examples(world: tuple[Settings, Catalog]) -> MediaExamples:
    settings, catalog = world
    return read_media(settings, catalog, NoStore(), "end_to_end", quick()).examples


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def fit(examples: MediaExamples, folder: Path, **changes: object) -> Fitted:
    return fit_end_to_end(examples, quick(**changes), LocalRun("v", folder))


def columns_of(fitted: Fitted, examples: MediaExamples) -> Columns:
    return fitted.beside(examples.columns)


def test_it_learns_what_is_planted_and_says_how_it_compares(report: training.TrainReport) -> None:
    manifest = report.manifest
    assert (manifest["service"], manifest["task"]) == ("end_to_end", "media")
    assert manifest["metrics"]["r2"] > 0.6 > 0.1 > manifest["baselines"]["mean"]["r2"]
    assert set(manifest["baselines"]) == {"mean", "ridge", "concatenation"}
    assert manifest["baselines"]["ridge"]["r2"] > 0.1
    assert manifest["model"] == "vit+bert"
    assert len(manifest["curves"]["towers.r2"]["valid"]) == 3
    assert {"head.safetensors", "towers.safetensors", FILE} <= set(manifest["files"])


def test_its_towers_become_the_embedders_whose_vectors_it_reads(
    world: tuple[Settings, Catalog], report: training.TrainReport
) -> None:
    settings, catalog = world
    predictor = load_predictor(settings, ENCODER)
    assert predictor.embeddings == {name: resolve_spec(name, settings).digest for name in predictor.features}
    golden = pl.read_parquet(report.folder / FILE)
    vectors = {}
    for name in predictor.features:
        assert embed(name, settings, catalog).encoded >= 150
        vectors[name] = read_vectors(settings, catalog, name)
    train = read_media(settings, catalog, NoStore(), "end_to_end", quick()).examples
    ids = [train.content_ids[row] for row in train.splits.train[: golden.height]]
    known = [row for row, name in enumerate(ids) if name not in BARE]
    for name, stored in vectors.items():
        wanted = stored.matrix[[stored.content_ids.index(ids[row]) for row in known]]
        assert np.allclose(wanted, golden[name].to_numpy()[known], atol=5e-3)  # the states are float16 in training
    frame = pl.DataFrame({name: pl.Series(stored.matrix[:5]) for name, stored in vectors.items()})
    assert np.isfinite(predictor.score(Columns.from_frame(frame)).score).all()


def test_the_same_data_is_not_trained_on_twice_and_its_towers_come_back(
    world: tuple[Settings, Catalog], report: training.TrainReport
) -> None:
    settings, catalog = world
    first = current(settings, ENCODER)
    other = training.train(settings, catalog, NoStore(), quick(seed=1), name=ENCODER)
    assert other.version != report.version
    assert current(settings, ENCODER) != first
    again = training.train(settings, catalog, NoStore(), quick(), name=ENCODER)
    assert (again.fresh, again.version, current(settings, ENCODER)) == (True, report.version, first)


def test_other_pixels_are_other_data(tmp_path: Path) -> None:
    settings = workspace(tmp_path)
    with Catalog(settings.catalog) as catalog:
        content = fill(settings, catalog)[0]
        before = read_media(settings, catalog, NoStore(), "end_to_end", quick()).digest
        content.media[Modality.IMAGE].write_bytes((settings.home / "1.png").read_bytes())
        assert read_media(settings, catalog, NoStore(), "end_to_end", quick()).digest != before


def test_a_row_scores_the_same_alone_and_in_a_batch(
    world: tuple[Settings, Catalog], report: training.TrainReport
) -> None:
    predictor = load_predictor(world[0], ENCODER)
    columns = Columns.from_frame(pl.read_parquet(report.folder / FILE))
    together = predictor.score(columns)
    for row in range(columns.rows):
        alone = predictor.score(columns.take([row]))
        assert abs(alone.score[0] - together.score[row]) < 1e-5
        assert np.allclose(alone.probabilities[0], together.probabilities[row], atol=1e-6)
    assert predictor.score(columns.take([])).probabilities.shape == (0, 5)


def test_vectors_of_another_length_are_refused(world: tuple[Settings, Catalog], report: training.TrainReport) -> None:
    columns = Columns.from_frame(pl.read_parquet(report.folder / FILE))
    columns.values["tuned_text"] = columns.values["tuned_text"][:, :7]
    with pytest.raises(StateError, match="tuned_text has 7 numbers a row, the model was trained on 32"):
        load_predictor(world[0], ENCODER).score(columns)


@pytest.mark.parametrize("fusion", ["concat", "gated", "cross_attention"])
@pytest.mark.parametrize("head", ["corn", "softmax"])
def test_every_fusion_and_head_learns(examples: MediaExamples, tmp_path: Path, fusion: str, head: str) -> None:
    fitted = fit(examples, tmp_path, fusion=fusion, head=head)
    columns = columns_of(fitted, examples)
    said, test = fitted.predictor.score(columns), examples.splits.test
    assert np.corrcoef(said.score[test], examples.scores[test])[0, 1] > 0.7
    assert np.allclose(said.probabilities.sum(axis=1), 1)
    assert len(np.unique(said.classes)) >= 3
    gates = said.details["gates"]
    assert np.allclose(gates.sum(axis=1), 1)
    for name, lacks in BARE.items():
        assert gates[examples.content_ids.index(name), 0 if lacks is Modality.IMAGE else 1] == 0
    fitted.predictor.save(tmp_path)
    loaded = EndToEnd.load(tmp_path)
    assert np.array_equal(loaded.score(columns).score, said.score)
    assert ("tuned_image_tokens" in loaded.features) == (fusion == "cross_attention")


def test_both_media_count(examples: MediaExamples, tmp_path: Path) -> None:
    fitted = fit(examples, tmp_path)
    columns, test = columns_of(fitted, examples), examples.splits.test
    whole = fitted.predictor.score(columns).score[test]
    for name in ("tuned_image", "tuned_text"):
        hidden = columns.take(range(columns.rows))
        hidden.present[name][:] = False
        hidden.values[name][:] = np.nan
        blind = fitted.predictor.score(hidden).score[test]
        error, worse = (np.abs(said - examples.scores[test]).mean() for said in (whole, blind))
        assert worse > error + 0.1


def test_nothing_is_learnt_from_the_test_rows(examples: MediaExamples, tmp_path: Path) -> None:
    scores = examples.scores.copy()
    scores[examples.splits.test] += 100.0
    changed = dataclasses.replace(examples, scores=scores)
    for folder, rows in (("a", examples), ("b", changed)):
        (tmp_path / folder).mkdir()
        fit(rows, tmp_path / "run" / folder, epochs=1).predictor.save(tmp_path / folder)
    assert files(tmp_path / "a") == files(tmp_path / "b")


@pytest.mark.parametrize("part", ["train", "valid"])
def test_the_rows_that_teach_do_change_the_model(examples: MediaExamples, tmp_path: Path, part: str) -> None:
    scores = examples.scores.copy()
    rows = getattr(examples.splits, part)
    scores[rows] = scores[rows][::-1]
    models = [
        fit(one, tmp_path / str(n)).facts
        for n, one in enumerate((examples, dataclasses.replace(examples, scores=scores)))
    ]
    assert models[0] != models[1]


def test_too_little_to_learn_from_is_refused(examples: MediaExamples, tmp_path: Path) -> None:
    few = dataclasses.replace(examples.splits, train=examples.splits.train[:29])
    with pytest.raises(StateError, match="29 labelled contents to train on"):
        fit(dataclasses.replace(examples, splits=few), tmp_path)
    with pytest.raises(StateError, match="every training content has the score 1"):
        fit(dataclasses.replace(examples, scores=np.ones(len(examples.scores))), tmp_path)


def test_contents_without_pictures_are_refused(examples: MediaExamples, tmp_path: Path) -> None:
    bare = tuple(
        dataclasses.replace(item, content=dataclasses.replace(item.content, media={}), media={})
        for item in examples.items
    )
    with pytest.raises(StateError, match="none of 160 labelled contents has a readable image"):
        fit(dataclasses.replace(examples, items=bare), tmp_path)


KILLED = """
import os, signal, sys
from feature_repo.catalog import Catalog
from feature_repo.settings import Settings
from predictors import train as training
from tests.predictors.conftest import put
from tests.predictors.media_world import quick
from tests.predictors.end_to_end.test_predictor import NoStore

def die(stage, done, total):
    if (stage, done) == ("towers", 2):
        os.kill(os.getpid(), signal.SIGKILL)

settings = Settings.model_validate_json(sys.argv[1])
with Catalog(settings.catalog) as catalog:
    training.train(settings, catalog, NoStore(), quick(), die, "engagement_end_to_end")
"""


@pytest.mark.crash
def test_a_killed_training_goes_on_and_ends_in_the_same_bytes(
    world: tuple[Settings, Catalog], report: training.TrainReport, tmp_path: Path
) -> None:
    made, catalog = world
    settings = made.model_copy(update={"home": tmp_path / "home", "catalog_url": made.catalog})
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    asked = [sys.executable, "-c", KILLED, settings.model_dump_json()]
    killed = subprocess.run(asked, cwd=ROOT, env=environment, check=False)
    assert killed.returncode == -signal.SIGKILL
    (left,) = (settings.models_dir / ENCODER).glob(".unfinished-*")
    assert (left / "towers.safetensors").is_file()
    told: list[tuple[str, int]] = []
    again = training.train(
        settings, catalog, NoStore(), quick(), lambda stage, done, _: told.append((stage, done)), ENCODER
    )
    assert [done for stage, done in told if stage == "towers"] == [2, 3]
    assert not any(stage.startswith("read") for stage, _ in told)  # what the nets read is kept, too
    assert files(again.folder) == files(report.folder)
    assert not left.exists()


def test_the_manifest_of_the_towers_says_what_they_are(
    world: tuple[Settings, Catalog], report: training.TrainReport
) -> None:
    facts = json.loads((report.folder / "towers.json").read_text())
    settings, _ = world
    assert facts["of"] == {m: resolve_spec(n, settings).digest for m, n in (("image", "vit"), ("text", "bert"))}
    assert load_embedder("tuned_text", settings).spec.dim == 32


def test_towers_that_are_gone_are_not_put_in_use(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(StateError, match="towers cannot be read"):
        install(settings, tmp_path)


def test_other_predictors_do_not_see_vectors_that_know_the_labels(
    settings: Settings, catalog: Catalog, planted: Planted
) -> None:
    put(planted, catalog).register_embedding(dataclasses.replace(SPEC, name="tuned_image"))
    read = read_engagement(settings, catalog, FrameStore(planted.frame), "popularity", LabelConfig())
    assert set(read.examples.digests) == {SPEC.name}
