import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import log_loss as sklearn_log_loss
from sklearn.metrics import ndcg_score, roc_auc_score

from predictors.evaluation import ranking as metrics

# user, engaged or not, and a score from a coarse grid, so that there are ties
EVENTS = st.lists(st.tuples(st.integers(0, 4), st.booleans(), st.integers(0, 5)), min_size=2, max_size=60).filter(
    lambda events: len({engaged for _, engaged, _ in events}) == 2
)


def arrays(events: list[tuple[int, bool, int]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    users, labels, scores = zip(*events, strict=True)
    return np.array([f"u{user}" for user in users], object), np.array(labels, float), np.array(scores) / 5


@given(EVENTS)
def test_auc_and_log_loss_are_those_of_scikit_learn(events: list[tuple[int, bool, int]]) -> None:
    _, labels, scores = arrays(events)
    assert metrics.auc(labels, scores) == pytest.approx(roc_auc_score(labels, scores))
    clipped = np.clip(scores, 1e-6, 1 - 1e-6)
    assert metrics.log_loss(labels, scores) == pytest.approx(sklearn_log_loss(labels, clipped))


@given(EVENTS)
def test_a_users_auc_is_that_of_the_users_events(events: list[tuple[int, bool, int]]) -> None:
    users, labels, scores = arrays(events)
    known, found = metrics.user_aucs(users, labels, scores)
    assert known.tolist() == sorted(set(users))
    both = []
    for user, value in zip(known, found, strict=True):
        own = users == user
        if len(set(labels[own])) == 2:
            both.append(roc_auc_score(labels[own], scores[own]))
            assert value == pytest.approx(both[-1])
        else:
            assert np.isnan(value)
    assert metrics.gauc(users, labels, scores) == pytest.approx(np.mean(both) if both else 0.5)


@given(EVENTS)
def test_a_weight_counts_an_event_that_often(events: list[tuple[int, bool, int]]) -> None:
    _, labels, scores = arrays(events)
    weights = np.random.default_rng(len(events)).integers(0, 4, len(events))
    weights[[labels.argmax(), labels.argmin()]] = 1
    often = np.repeat(np.arange(len(events)), weights)
    for measure in (metrics.auc, metrics.log_loss, metrics.calibration_error):
        weighted = measure(labels, scores, weights.astype(float))
        assert weighted == pytest.approx(measure(labels[often], scores[often]))


def test_one_kind_of_event_says_nothing() -> None:
    assert metrics.auc(np.ones(3), np.arange(3.0)) == 0.5
    assert metrics.gauc(np.array(["a", "a"], object), np.ones(2), np.arange(2.0)) == 0.5


def test_calibration_is_the_gap_between_what_is_said_and_what_happens() -> None:
    said = np.repeat([0.25, 0.85], 100)
    happens = np.concatenate([np.repeat([1.0, 0.0], [25, 75]), np.repeat([1.0, 0.0], [65, 35])])
    assert metrics.calibration_error(happens, said) == pytest.approx(0.1)
    assert metrics.calibration_error(np.ones(4), np.ones(4)) == 0.0


def test_lists_are_measured_by_what_is_wanted_and_where_it_stands() -> None:
    contents = [f"c{number}" for number in range(20)]
    lists = {"a": contents, "b": contents, "c": contents[:3]}
    wanted = {"b": {"c0", "c4", "c15"}, "a": {"c19"}, "c": {"c2"}, "nobody": {"c0"}}
    hits, gains = metrics.list_measures(lists, wanted)
    assert hits.tolist() == [1, 0, 1, 0]
    relevant = np.array([[content in wanted["b"] for content in contents]], float)
    falling = np.arange(20.0)[::-1][None]
    assert gains[0] == pytest.approx(ndcg_score(relevant, falling, k=10))
    assert gains[1:].tolist() == pytest.approx([0, 0.5, 0])
    assert metrics.list_measures(lists, {"b": {"c0", "c1"}}, k=2)[1].tolist() == [1]
