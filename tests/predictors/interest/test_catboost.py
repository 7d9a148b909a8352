import dataclasses
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from feature_repo.catalog import Catalog
from feature_repo.columns import Columns
from feature_repo.contracts import EventType
from feature_repo.errors import ConfigurationError, StateError
from feature_repo.settings import Settings, load_settings
from feature_repo.statistics import write_statistics
from feature_repo.store import Store
from predictors.evaluation.ranking import auc
from predictors.golden import check_golden, write_golden
from predictors.interest import labels as kinds_of_labels
from predictors.interest.baselines import NAIVE, ranking_baselines
from predictors.interest.catboost import InterestCatBoost, fit_interest_catboost
from predictors.interest.data import EventData, read_interest
from predictors.interest.examples import RELATED, EventExamples
from predictors.interest.features import LISTS
from predictors.interest.history import read_histories
from predictors.interest.matrices import fit_interest
from predictors.interest.taste import solve_tastes
from predictors.interest.trees_config import InterestTreesConfig
from predictors.tracking import LocalRun
from tests.predictors.met import make_log

QUICK = InterestTreesConfig(
    iterations=60, patience=20, learning_rate=0.1, factors=4, components=6, ranked=400, resamples=10, threads=1,
    embedding_weight=0.5,
)  # fmt: skip


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    settings = load_settings(home=tmp_path_factory.mktemp("trees"))
    with Catalog(settings.catalog) as catalog:
        make_log(settings, catalog)
    return settings


@pytest.fixture(scope="module")
def data(home: Settings) -> EventData:
    with Catalog(home.catalog) as catalog:
        return read_interest(home, catalog, Store(home), "interest", QUICK)


@pytest.fixture(scope="module")
def model(data: EventData) -> InterestCatBoost:
    return fitted(data.examples)


def fitted(examples: EventExamples) -> InterestCatBoost:
    predictor = fit_interest_catboost(examples, QUICK, LocalRun("v", Path("unused"))).predictor
    assert isinstance(predictor, InterestCatBoost)
    return predictor


def test_it_beats_every_naive_baseline(data: EventData, model: InterestCatBoost) -> None:
    examples, test = data.examples, data.examples.splits.test
    engaged, users = examples.labels["engaged"][test], examples.columns.objects("user_id")[test]
    own = auc(engaged, model.score(examples.batch(test)).score)
    for fit in NAIVE.values():
        assert own > auc(engaged, fit(examples).score(users, examples.items[test])) + 0.02


def test_every_ranking_baseline_scores_users_and_strangers(data: EventData) -> None:
    items = np.arange(5)
    for fit in ranking_baselines(data.examples).values():
        ranker = fit(data.examples)
        assert np.isfinite(ranker.score(np.full(5, "u01", object), items)).all()
        assert np.isfinite(ranker.score(np.full(5, "stranger", object), items)).all()


def test_rows_score_alone_as_together(data: EventData, model: InterestCatBoost) -> None:
    rows = data.examples.splits.test[:20]
    batch = data.examples.batch(rows)
    together = model.score(batch)
    for place in range(20):
        alone = model.score(batch.take([place]))
        assert alone.score[0] == pytest.approx(together.score[place], abs=1e-6)
        assert alone.details["rank"][0] == pytest.approx(together.details["rank"][place], abs=1e-6)
    assert ((together.score > 0) & (together.score < 1)).all()
    np.testing.assert_allclose(together.probabilities.sum(axis=1), 1.0)


def test_an_answer_of_the_store_scores_as_the_training_frame(home: Settings, model: InterestCatBoost) -> None:
    store = Store(home)
    with Catalog(home.catalog) as catalog:
        list(write_statistics(home, catalog))
    store.apply()
    list(store.materialize())
    ids = [f"c{number:03d}" for number in range(0, 80, 4)]
    columns = store.read("interest", ids, "u03")
    said = model.score(columns)
    assert said.score.shape == (20,)
    reversed_ = model.score(store.read("interest", ids[::-1], "u03"))
    np.testing.assert_allclose(said.score, reversed_.score[::-1], atol=1e-6)
    stranger = model.score(store.read("interest", ids, "nobody"))
    assert np.isfinite(stranger.score).all()


def test_a_content_nobody_has_met_and_one_without_a_vector_are_scored(data: EventData, model: InterestCatBoost) -> None:
    batch = data.examples.batch(data.examples.splits.test[:4])
    batch.values["content_id"] = np.array(["new"] * 4, object)
    batch.values["toy"] = np.full_like(batch.values["toy"], np.nan)
    assert np.isfinite(model.score(batch).score).all()
    empty = model.score(Columns(0, {}, {}))
    assert empty.probabilities.shape == (0, 2)


def test_saved_it_scores_the_same(data: EventData, model: InterestCatBoost, tmp_path: Path) -> None:
    model.save(tmp_path)
    write_golden(tmp_path, data.golden, model)
    check_golden(tmp_path, InterestCatBoost.load(tmp_path))
    batch = data.examples.batch(data.examples.splits.test)
    np.testing.assert_array_equal(InterestCatBoost.load(tmp_path).score(batch).score, model.score(batch).score)
    (tmp_path / "assembler.json").write_text("{}")
    with pytest.raises(StateError, match="train again"):
        InterestCatBoost.load(tmp_path)


def test_the_same_training_gives_the_same_bytes(data: EventData, model: InterestCatBoost, tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "other").mkdir()
    model.save(tmp_path / "one")
    fitted(data.examples).save(tmp_path / "other")
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "other" / path.name).read_bytes(), path.name


def test_the_test_rows_decide_nothing(data: EventData, model: InterestCatBoost) -> None:
    labels = {name: values.copy() for name, values in data.examples.labels.items()}
    for values in labels.values():
        values[data.examples.splits.test] = 1 - values[data.examples.splits.test]
    other = fitted(dataclasses.replace(data.examples, labels=labels))
    batch = data.examples.batch(data.examples.splits.test)
    np.testing.assert_array_equal(other.score(batch).score, model.score(batch).score)


def own_label_matters(examples: EventExamples, crowds_of_others: bool) -> bool:
    """Whether a user's training rows change with what the user made of the contents, but for their own history."""
    names = ("crowd_bias", "crowd_count", "content_quality", "company")
    user = examples.columns.objects("user_id")
    rows = examples.splits.train[user[examples.splits.train] == "u05"]
    flipped = {name: values.copy() for name, values in examples.labels.items()}
    flipped["reaction"][rows[-1:]] = 1 - np.round(flipped["reaction"][rows[-1:]])
    made = []
    for labels in (examples.labels, flipped):
        interest = fit_interest(dataclasses.replace(examples, labels=labels), QUICK)
        matrix = interest.matrix(examples, rows, training=crowds_of_others)
        made.append(matrix[-1, [interest.assembler.names.index(name) for name in names]])
    return not np.array_equal(made[0], made[1])


def test_a_training_row_is_not_told_its_own_label(data: EventData) -> None:
    assert not own_label_matters(data.examples, crowds_of_others=True)


def test_asking_everybody_is_seen(data: EventData) -> None:
    assert own_label_matters(data.examples, crowds_of_others=False)


def test_histories_are_read_once_for_all_rows_that_share_them(data: EventData) -> None:
    one = data.examples.batch(data.examples.splits.test[:1]).take([0] * 50)
    histories = read_histories(one)
    assert histories.items.shape == (1, 27)  # 24 that train, 3 that validate
    assert histories.of_row.tolist() == [0] * 50
    assert set(LISTS) >= {RELATED}


def test_the_process_is_ridge_regression_on_the_history(data: EventData) -> None:
    """The Gaussian process with a linear kernel is ridge regression: the two ways to the same numbers."""
    histories = read_histories(data.examples.batch(data.examples.splits.test[:3]))
    rng = np.random.default_rng(0)
    block = rng.normal(size=(data.examples.contents.rows, 5)).astype(np.float32)
    expected = np.full(len(block), 0.5)
    tastes = solve_tastes(histories, expected, {"b": block}, {"b": 0.3}, 0.0, 1.0)
    for row, (items, reactions) in enumerate(zip(histories.items, histories.reactions, strict=True)):
        x, y = block[items[items >= 0]].astype(np.float64), reactions[items >= 0] - 0.5
        ridge = np.linalg.solve(x.T @ x + np.eye(5) / 0.3, x.T @ y)
        np.testing.assert_allclose(tastes.wants["b"][row], ridge, atol=1e-4)


def test_a_configuration_that_cannot_be_is_refused() -> None:
    for wrong in ({"unmet": 1.0}, {"folds": 1}, {"column_share": 0.0}, {"stars": 4, "watched": 0}):
        with pytest.raises(ConfigurationError):
            InterestTreesConfig(**wrong)
    assert "threads" not in QUICK.to_json()


def test_too_little_to_learn_from_is_refused(data: EventData) -> None:
    labels = {**data.examples.labels, "engaged": np.zeros_like(data.examples.labels["engaged"])}
    with pytest.raises(StateError, match="0 of them engaged"):
        fitted(dataclasses.replace(data.examples, labels=labels))


def test_prepared_contents_score_as_contents_of_the_store(data: EventData, model: InterestCatBoost) -> None:
    rows = data.examples.with_related().batch(data.examples.splits.test[:40])
    said = model.score_prepared(rows, model.prepare(rows), model.prepare(rows.related[RELATED]))
    np.testing.assert_array_equal(said.score, model.score(rows).score)
    assert model.prepare(rows).shape == (rows.rows, model.width)
    read = {*model.prepared, *model.live.features, "content_id", "event_timestamp"}
    assert read == {*model.features}


def test_reactions_as_arrays_are_those_of_a_frame() -> None:
    kinds = [event.value for event in EventType for _ in range(8)]
    values = np.tile([0.0, 0.5, 1.0, 3.0, 4.0, 5.0, 60.0, 1e4], len(EventType))
    durations = np.where(np.arange(len(kinds)) % 3, 30.0, np.nan)
    frame = pl.DataFrame({"event": kinds, "value": values, "duration_s": pl.Series(durations, nan_to_null=True)})
    said = kinds_of_labels.reactions(np.array(kinds, np.str_), values, durations)
    np.testing.assert_array_equal(said, frame.select(kinds_of_labels.reaction()).to_series().to_numpy())


def test_influences_tell_what_moves_the_chance_and_which_way(data: EventData) -> None:
    said = fit_interest_catboost(data.examples, QUICK, LocalRun("v", Path("unused"))).facts["influences"]
    assert max(said, key=lambda name: said[name]["mean"]) == "liking:toy", "the embedding in which tastes were planted"
    assert said["liking:toy"]["direction"] > 0.9
