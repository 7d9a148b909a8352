import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_repo.contracts import ENGAGEMENT_WEIGHTS
from feature_repo.errors import ConfigurationError
from predictors.labels import EngagementScore, Quintiles


def test_the_score_is_the_logarithm_of_the_weighted_sum() -> None:
    score = EngagementScore(ENGAGEMENT_WEIGHTS)
    assert score({"views": 10, "likes": 3, "shares": 1, "impressions": 1e6, "unheard_of": 5}) == np.log1p(10 + 6 + 4)


def test_a_content_counted_at_zero_has_a_label() -> None:
    assert EngagementScore(ENGAGEMENT_WEIGHTS)({"views": 0}) == 0.0


@pytest.mark.parametrize(
    "counters", [{}, {"impressions": 9}, {"unheard_of": 9}, {"views": float("nan")}, {"views": -1}]
)
def test_a_content_without_a_weighted_counter_has_none(counters: dict[str, float]) -> None:
    assert np.isnan(EngagementScore(ENGAGEMENT_WEIGHTS)(counters))


@pytest.mark.parametrize("weights", [{}, {"views": 0.0}, {"views": -1.0}, {"views": float("inf")}])
def test_weights_that_make_no_score_are_refused(weights: dict[str, float]) -> None:
    with pytest.raises(ConfigurationError, match="weight"):
        EngagementScore(weights)


def test_quintiles_cut_distinct_scores_into_equal_fifths() -> None:
    scores = np.random.default_rng(0).permutation(100).astype(float)
    assert np.bincount(Quintiles.fit(scores).classes(scores)).tolist() == [20] * 5


def test_a_score_on_an_edge_is_in_the_upper_class() -> None:
    assert Quintiles((1.0, 2.0, 3.0, 4.0)).classes(np.array([0.9, 1.0, 4.0, 9.0])).tolist() == [0, 1, 4, 4]


def test_ties_leave_classes_empty_but_keep_four_rising_edges() -> None:
    quintiles = Quintiles.fit(np.array([0.0] * 80 + [1.0] * 20))
    assert len(quintiles.edges) == 4
    assert sorted(quintiles.edges) == list(quintiles.edges)
    assert len(set(quintiles.classes(np.array([0.0, 1.0])))) == 2


@pytest.mark.parametrize("scores", [[], [2.0, 2.0], [1.0, float("nan")]])
def test_scores_without_classes_are_refused(scores: list[float]) -> None:
    with pytest.raises(ConfigurationError):
        Quintiles.fit(np.array(scores))


def test_edges_out_of_order_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="rising"):
        Quintiles((1.0, 3.0, 2.0, 4.0))


@given(
    st.lists(st.floats(0, 20), min_size=2, max_size=60).filter(lambda v: min(v) < max(v)),
    st.floats(-5, 30),
    st.floats(-5, 30),
)
def test_a_higher_score_is_never_in_a_lower_class(train: list[float], a: float, b: float) -> None:
    low, high = Quintiles.fit(np.array(train)).classes(np.array([min(a, b), max(a, b)]))
    assert 0 <= low <= high <= 4
