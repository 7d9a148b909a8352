"""Maximal marginal relevance."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from grpc_api.answers.diversity import diversified


@st.composite
def pools(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Scores and unit vectors of a few contents."""
    seed, count = draw(st.integers(0, 2**32 - 1)), draw(st.integers(0, 8))
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(count, 3))
    scores = rng.normal(size=count).round(draw(st.sampled_from([0, 6])))  # rounded: with equals among them
    return scores, (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def one_by_one(scores: np.ndarray, vectors: np.ndarray, k: int, diversity: float) -> list[int]:
    """As the paper has it."""
    left, chosen = sorted(range(len(scores)), key=lambda row: -scores[row]), list[int]()
    spread = float(np.ptp(scores)) or 1.0
    least = float(scores.min()) if np.ptp(scores) else float(scores[0]) - 1.0

    def worth(row: int) -> float:
        likeness = max((float(vectors[row] @ vectors[other]) for other in chosen), default=-1.0)
        return (1 - diversity) * (float(scores[row]) - least) / spread - diversity * likeness

    while left and len(chosen) < k:
        best = max(left, key=worth)
        left.remove(best)
        chosen.append(best)
    return chosen


@given(pools(), st.floats(0, 1))
def test_all_of_them_are_a_permutation(pool: tuple[np.ndarray, np.ndarray], diversity: float) -> None:
    scores, vectors = pool
    assert sorted(diversified(scores, vectors, len(scores), diversity).tolist()) == list(range(len(scores)))


@given(pools(), st.integers(1, 8))
def test_without_diversity_the_best_scores_come_in_their_order(pool: tuple[np.ndarray, np.ndarray], k: int) -> None:
    scores, vectors = pool
    assert diversified(scores, vectors, k, 0.0).tolist() == np.argsort(-scores, kind="stable")[:k].tolist()


@given(pools().filter(lambda pool: len(pool[0]) > 0), st.integers(1, 8), st.sampled_from([0.1, 0.3, 0.7, 1.0]))
def test_it_chooses_as_the_paper_does(pool: tuple[np.ndarray, np.ndarray], k: int, diversity: float) -> None:
    scores, vectors = pool
    assert diversified(scores, vectors, k, diversity).tolist() == one_by_one(scores, vectors, k, diversity)


def test_twins_of_the_best_are_put_off() -> None:
    vectors = np.array([[1, 0], [1, 0], [0, 1]], np.float32)
    assert diversified(np.array([3.0, 2.9, 1.0]), vectors, 2, 0.6).tolist() == [0, 2]
