import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from predictors.labels import Quintiles
from predictors.ordinal import OrdinalLink

EDGES = (-1.0, -0.2, 0.3, 1.1)


def drawn(rows: int, slope: float = 1.3, offset: float = 0.4, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=rows)
    return scores, offset + slope * scores + 0.6 * rng.normal(size=rows)


def test_it_finds_what_the_rows_were_drawn_from() -> None:
    link = OrdinalLink.fit(*drawn(20_000), Quintiles(EDGES))
    assert (link.offset, link.slope, link.deviation) == pytest.approx((0.4, 1.3, 0.6), abs=0.03)


def test_probabilities_are_calibrated_on_other_rows() -> None:
    link = OrdinalLink.fit(*drawn(2_000), Quintiles(EDGES))
    scores, truth = drawn(20_000, seed=1)
    classes = Quintiles(EDGES).classes(truth)
    said = link(scores)
    for row in range(5):
        near = (said[:, row] > 0.3) & (said[:, row] < 0.5)
        assert (classes[near] == row).mean() == pytest.approx(said[near, row].mean(), abs=0.04)


@given(st.lists(st.floats(-1e3, 1e3), max_size=20), st.floats(0.1, 5), st.floats(0.01, 5))
def test_probabilities_sum_to_one_and_rise_with_the_score(scores: list[float], slope: float, deviation: float) -> None:
    said = OrdinalLink(EDGES, 0.1, slope, deviation)(np.sort(np.array(scores, np.float64)))
    np.testing.assert_allclose(said.sum(axis=1), 1.0)
    assert (said >= 0).all()
    assert (np.diff(said @ np.arange(5.0)) >= -1e-9).all()


def test_one_row_and_perfect_scores_can_be_fitted() -> None:
    one = np.array([0.5])
    assert np.isfinite(OrdinalLink.fit(one, one, Quintiles(EDGES))(one)).all()
    many = np.linspace(-2, 2, 50)
    assert np.isfinite(OrdinalLink.fit(many, many, Quintiles(EDGES))(many)).all()
