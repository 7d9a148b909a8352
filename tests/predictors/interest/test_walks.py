"""Walks are drawn from the very posterior that the laws of normal distributions give, and their half-life is found."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.linalg import block_diag
from scipy.stats import multivariate_normal

from predictors.interest.walks import PERIODS, Stops, Walks

K = 2
USUAL, SPREAD = np.array([0.5, -1.0]), np.array([[1.0, 0.3], [0.3, 0.5]])


@given(st.lists(st.tuples(st.integers(0, 3), st.floats(0, 1e6)), min_size=1, max_size=30))
def test_every_user_stops_where_they_have_values(values: list[tuple[int, float]]) -> None:
    users, times = np.array([user for user, _ in values]), np.array([time for _, time in values])
    stops = Stops.of(users, times, 4)
    np.testing.assert_array_equal(stops.owner[stops.of_value], users)
    np.testing.assert_array_equal(stops.owner[stops.last], np.arange(4))
    assert sorted(np.concatenate(stops.steps)) == list(range(len(stops.owner)))
    firsts = np.isinf(stops.gap)
    np.testing.assert_array_equal(stops.owner[firsts], np.arange(4))
    assert (stops.gap >= 1).all()
    assert (stops.gap[~firsts] < PERIODS).all()


@pytest.fixture
def seen() -> tuple[Stops, np.ndarray, np.ndarray]:
    """Two users at seven stops in all, each of which was measured with its own precision; a third was never."""
    users, times = np.array([0, 0, 0, 0, 1, 1, 0]), np.array([0.0, 2.0, 3.0, 15.9, 1.0, 9.0, 2.1])
    rng = np.random.default_rng(0)
    stops = Stops.of(users, times, 3)
    roots = rng.normal(size=(len(stops.gap), K, K))
    precisions, moments = roots @ roots.transpose(0, 2, 1), rng.normal(size=(len(stops.gap), K))
    precisions[stops.last[2]], moments[stops.last[2]] = 0, 0
    return stops, precisions, moments


def prior(stops: Stops, half_life: float) -> np.ndarray:
    """Covariance of all stops, (n K, n K)."""
    when = np.cumsum(np.where(np.isinf(stops.gap), 0, stops.gap))
    alike = np.exp2(-np.abs(when[:, None] - when) / half_life) * (stops.owner[:, None] == stops.owner)
    return np.kron(alike, SPREAD)


def test_draws_have_the_posteriors_mean_and_covariance(seen: tuple[Stops, np.ndarray, np.ndarray]) -> None:
    stops, precisions, moments = seen
    walks, rng, n = Walks(stops, 5.0), np.random.default_rng(1), len(stops.gap)
    draws = []
    for _ in range(1500):
        walks.half_life = 5.0
        found = walks._filtered(precisions, moments, USUAL, SPREAD, 5.0)
        draws.append(walks._backwards(found, rng).ravel())
    before = np.linalg.inv(prior(stops, 5.0))
    covariance = np.linalg.inv(before + block_diag(*precisions))
    mean = covariance @ (before @ np.tile(USUAL, n) + moments.ravel())
    np.testing.assert_allclose(np.mean(draws, axis=0), mean, atol=0.08)
    np.testing.assert_allclose(np.cov(np.array(draws).T), covariance, atol=0.12)


def test_the_evidence_is_how_likely_the_values_are() -> None:
    """Up to what no half-life changes, so differences are compared."""
    users, times = np.zeros(4, np.int64), np.array([0.0, 3.0, 4.0, 16.0])
    stops = Stops.of(users, times, 1)
    values = np.random.default_rng(0).normal(size=(4, K))
    precisions, moments = np.tile(np.eye(K) / 0.25, (4, 1, 1)), values / 0.25
    said, truth = [], []
    for half_life in (2.0, 20.0):
        said.append(Walks(stops)._filtered(precisions, moments, USUAL, SPREAD, half_life).evidence)
        whole = prior(stops, half_life) + 0.25 * np.eye(4 * K)
        truth.append(multivariate_normal(np.tile(USUAL, 4), whole).logpdf(values.ravel()))
    assert said[0] - said[1] == pytest.approx(truth[0] - truth[1])


@pytest.mark.parametrize("half_life", [3.0, 30.0])
def test_half_lives_are_found(half_life: float) -> None:
    rng = np.random.default_rng(2)
    users, when = np.repeat(np.arange(60), PERIODS), np.tile(np.arange(PERIODS), 60)
    stops = Stops.of(users, when.astype(np.float64), 60)
    truth = rng.multivariate_normal(np.tile(USUAL, len(users)), prior(stops, half_life), method="cholesky").reshape(
        -1, K
    )
    precisions = np.tile(np.eye(K), (len(users), 1, 1))
    moments = truth + rng.normal(size=truth.shape)
    walks, found = Walks(stops), []
    for _ in range(100):
        places = walks.sample(precisions, moments, USUAL, SPREAD, rng)
        found.append(walks.half_life)
    assert np.median(found[40:]) == pytest.approx(half_life, rel=0.3)
    assert np.corrcoef(places.ravel(), truth.ravel())[0, 1] > 0.7


def test_what_is_new_at_a_stop_has_the_walks_spread() -> None:
    rng = np.random.default_rng(3)
    users, when = np.repeat(np.arange(300), PERIODS), np.tile(np.arange(PERIODS), 300)
    stops = Stops.of(users, when.astype(np.float64), 300)
    one = np.linalg.cholesky(prior(Stops.of(users[:PERIODS], when[:PERIODS].astype(np.float64), 1), 6.0))
    truth = (rng.normal(size=(300, PERIODS * K)) @ one.T).reshape(-1, K) + USUAL
    moves, holds = Walks(stops, 6.0).moves(truth)
    np.testing.assert_allclose((holds @ moves) / (holds @ holds), USUAL, atol=0.15)
    np.testing.assert_allclose(np.cov((moves - holds[:, None] * USUAL).T), SPREAD, atol=0.05)
