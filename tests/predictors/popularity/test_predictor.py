import dataclasses
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from feature_repo.columns import Columns
from feature_repo.errors import StateError
from predictors.config import TrainConfig
from predictors.engagement import Examples
from predictors.evaluation.engagement_metrics import r2
from predictors.labels import Quintiles
from predictors.popularity.features import FeatureSet, popularity_features
from predictors.popularity.predictor import Popularity, fit_popularity
from predictors.popularity.stack import CREATORS
from predictors.splits import Splits
from predictors.tracking import Curves, LocalRun
from tests.predictors.planted import SPEC, Planted, plant

FEATURES = popularity_features(["vec"])


@dataclasses.dataclass(frozen=True)
class Trained:
    predictor: Popularity
    curves: Curves


def fit(examples: Examples, config: TrainConfig, features: FeatureSet = FEATURES) -> Trained:
    run = LocalRun("v", Path("unused"))
    return Trained(Popularity.fit(examples, features, config, run)[0], run.curves)


def train(planted: Planted, config: TrainConfig) -> Trained:
    return fit(planted.examples(), config)


@pytest.fixture(scope="module")
def fitted(planted: Planted, quick: TrainConfig) -> Trained:
    return train(planted, quick)


def saved(fitted: Trained, folder: Path) -> dict[str, bytes]:
    folder.mkdir(parents=True, exist_ok=True)
    fitted.predictor.save(folder)
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_scores_have_the_shapes_they_are_said_to_have(planted: Planted, fitted: Trained) -> None:
    scores = fitted.predictor.score(Columns.from_frame(planted.frame[:7]))
    assert (scores.score.shape, scores.probabilities.shape) == ((7,), (7, 5))
    assert scores.score.dtype == scores.probabilities.dtype == np.float64
    np.testing.assert_allclose(scores.probabilities.sum(axis=1), 1.0)
    assert scores.classes.tolist() == scores.probabilities.argmax(axis=1).tolist()


def test_no_rows_have_no_scores(planted: Planted, fitted: Trained) -> None:
    scores = fitted.predictor.score(Columns.from_frame(planted.frame[:0]))
    assert (scores.score.shape, scores.probabilities.shape, scores.classes.shape) == ((0,), (0, 5), (0,))


def test_a_row_scores_the_same_alone_and_in_a_batch(planted: Planted, fitted: Trained) -> None:
    columns = Columns.from_frame(planted.frame)
    whole = fitted.predictor.score(columns)
    for row in range(0, 240, 24):
        alone = fitted.predictor.score(columns.take([row]))
        assert alone.score[0] == whole.score[row]
        np.testing.assert_array_equal(alone.probabilities[0], whole.probabilities[row])


def test_vectors_carry_what_metadata_cannot(planted: Planted, quick: TrainConfig, fitted: Trained) -> None:
    examples = planted.examples()
    test = examples.splits.test
    columns = examples.columns.take(test)
    bare = fit(examples, quick, popularity_features([])).predictor
    with_vectors = r2(examples.scores[test], fitted.predictor.score(columns).score)
    assert with_vectors > 0.5
    assert with_vectors > r2(examples.scores[test], bare.score(columns).score) + 0.3
    assert fitted.predictor.importances["regressor"]["vec:ridge"] > 30


def test_a_planted_leak_is_not_read(planted: Planted, quick: TrainConfig, fitted: Trained) -> None:
    leaky = planted.frame.with_columns(
        views=pl.Series(np.expm1(planted.scores)),
        content_views=pl.Series(planted.scores),
        label=pl.Series(planted.scores),
    )
    other = train(dataclasses.replace(planted, frame=leaky), quick)
    assert other.predictor.features == fitted.predictor.features
    found, expected = (
        f.predictor.score(Columns.from_frame(frame)) for f, frame in ((other, leaky), (fitted, planted.frame))
    )
    np.testing.assert_array_equal(found.score, expected.score)
    np.testing.assert_array_equal(found.probabilities, expected.probabilities)


def test_the_test_rows_decide_nothing(quick: TrainConfig, fitted: Trained, tmp_path: Path) -> None:
    other = plant().examples()
    other.scores[other.splits.test] = 99.0
    other.columns.vectors("vec")[other.splits.test] = 7.0
    again = fit(other, quick)
    assert saved(again, tmp_path / "a") == saved(fitted, tmp_path / "b")


def test_the_same_model_without_embeddings_is_measured_beside_it(planted: Planted, quick: TrainConfig) -> None:
    run = LocalRun("v", Path("unused"))
    made = fit_popularity(planted.examples(), quick, run)
    assert set(made.predictor.features) - set(made.rivals["metadata_only"].features) == {"vec", *CREATORS}
    assert set(run.curves) == {"regressor", "classifier"}  # the rival's are not among them
    assert made.facts["importances"]["regressor"]["vec:ridge"] > 30


def test_validation_rows_are_learnt_from_once_they_have_stopped_it(planted: Planted, quick: TrainConfig) -> None:
    examples = planted.examples()
    other = plant().examples()
    valid = other.splits.valid
    other.scores[valid] = other.scores[valid].mean() + 5.0
    for refit in (False, True):
        config = dataclasses.replace(quick, refit=refit, patience=60)
        said, moved = (fit(e, config).predictor.score(examples.columns).score[valid].mean() for e in (examples, other))
        assert (moved - said > 1.0) == refit


@pytest.mark.parametrize("threads", [1, 2])
def test_training_again_gives_the_same_bytes(
    planted: Planted, quick: TrainConfig, fitted: Trained, tmp_path: Path, threads: int
) -> None:
    again = train(planted, dataclasses.replace(quick, threads=threads))
    assert saved(again, tmp_path / "a") == saved(fitted, tmp_path / "b")
    assert again.curves == fitted.curves


def test_a_model_is_loaded_as_it_was_saved(planted: Planted, fitted: Trained, tmp_path: Path) -> None:
    saved(fitted, tmp_path / "v1")
    loaded = Popularity.load(tmp_path / "v1")
    columns = Columns.from_frame(planted.frame)
    np.testing.assert_array_equal(loaded.score(columns).score, fitted.predictor.score(columns).score)
    np.testing.assert_array_equal(loaded.score(columns).probabilities, fitted.predictor.score(columns).probabilities)
    assert (loaded.version, loaded.features, loaded.embeddings) == ("v1", FEATURES.columns, {"vec": SPEC.digest})


@pytest.mark.parametrize("name", ["regressor.cbm", "classifier.cbm", "popularity.json"])
def test_a_damaged_model_is_refused(fitted: Trained, tmp_path: Path, name: str) -> None:
    saved(fitted, tmp_path / "v1")
    (tmp_path / "v1" / name).write_bytes(b"?")
    with pytest.raises(StateError, match="train again"):
        Popularity.load(tmp_path / "v1")


def test_training_stops_when_validation_stops_improving(planted: Planted, quick: TrainConfig) -> None:
    patient = train(planted, dataclasses.replace(quick, iterations=500, patience=5, learning_rate=0.5))
    curve = patient.curves["regressor"]["valid"]
    assert len(curve) < 500
    assert int(np.argmin(curve)) == len(curve) - 6


def test_few_distinct_scores_use_fewer_classes(planted: Planted, quick: TrainConfig) -> None:
    tied = np.where(planted.scores > np.quantile(planted.scores, 0.7), 2.0, 1.0)
    fitted = train(dataclasses.replace(planted, scores=tied), quick)
    probabilities = fitted.predictor.score(Columns.from_frame(planted.frame)).probabilities
    used = np.unique(Quintiles.fit(tied[planted.examples().splits.train]).classes(tied))
    assert len(used) == 2
    assert probabilities.shape == (240, 5)
    assert set(probabilities.argmax(axis=1)) == set(used)


def test_equal_scores_cannot_be_learnt(planted: Planted, quick: TrainConfig) -> None:
    with pytest.raises(StateError, match="nothing to learn"):
        train(dataclasses.replace(planted, scores=np.full(240, 3.0)), quick)


def test_too_few_contents_cannot_be_learnt_from(planted: Planted, quick: TrainConfig) -> None:
    rows = np.arange(29)
    examples = dataclasses.replace(planted.examples(), splits=Splits(rows, rows[:1], rows[:1]))
    with pytest.raises(StateError, match="29 labelled contents"):
        fit(examples, quick)


def test_influences_tell_what_moves_scores_and_which_way(planted: Planted, quick: TrainConfig, tmp_path: Path) -> None:
    made = fit_popularity(planted.examples(), quick, LocalRun("v", tmp_path))
    influences = made.facts["influences"]
    assert influences["vec:ridge"]["mean"] > 0.1
    assert influences["vec:ridge"]["direction"] > 0.5
    assert influences["creator_posts"] == {"mean": 0.0, "direction": 0.0}  # null in every row
