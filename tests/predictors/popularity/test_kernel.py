import numpy as np
import pytest
from sklearn.kernel_ridge import KernelRidge

from predictors.popularity.kernel import FACTS_WIDTH, PENALTIES, fit_kernel
from predictors.popularity.reduction import fold_of

ROWS = 150
FOLDS = fold_of([f"c{i}" for i in range(ROWS)], 5, seed=0)


def problem() -> tuple[np.ndarray, dict[str, np.ndarray], np.ndarray]:
    """The target is a vector's side, turned round by a flag: neither says a thing alone."""
    rng = np.random.default_rng(0)
    facts = np.column_stack([rng.normal(5, 3, ROWS), *[rng.integers(0, 2, ROWS)] * 8]).astype(np.float32)
    vectors = rng.normal(size=(ROWS, 4)).astype(np.float32) * np.array([4, 1, 1, 1], np.float32)
    return facts, {"vec": vectors}, np.sign(vectors[:, 0]) * (2.0 * facts[:, 1] - 1)


def test_the_facts_score_is_the_kernel_ridge_of_scikit_learn() -> None:
    facts, vectors, y = problem()
    model, _ = fit_kernel(facts, vectors, y, FOLDS, centres=ROWS)
    z = (facts - facts.mean(0)) / [facts[:, 0].std(), *[1.0] * 8]  # a flag keeps its scale
    peer = KernelRidge(alpha=PENALTIES[0], kernel="rbf", gamma=FACTS_WIDTH).fit(z, y - y.mean())
    np.testing.assert_allclose(model(facts, vectors)[:, 0], peer.predict(z) + y.mean(), atol=2e-3)


def test_training_rows_are_scored_without_their_fold() -> None:
    facts, vectors, y = problem()
    _, held_out = fit_kernel(facts, vectors, y, FOLDS, centres=ROWS)
    other = y.copy()
    other[FOLDS == 2] += 100.0
    again = fit_kernel(facts, vectors, other, FOLDS, centres=ROWS)[1]
    np.testing.assert_array_equal(held_out[FOLDS == 2], again[FOLDS == 2])
    assert (np.abs(held_out - again)[FOLDS != 2] > 1e-3).any()


def test_the_joint_score_reads_what_facts_and_vectors_say_together() -> None:
    facts, vectors, y = problem()
    _, held_out = fit_kernel(facts, vectors, y, FOLDS, centres=ROWS)
    alone, together = np.corrcoef(np.column_stack([held_out, y]).T)[:2, 2]
    assert together > 0.35
    assert together > alone + 0.3


def test_fewer_centres_are_an_approximation() -> None:
    facts, vectors, y = problem()
    whole, few = (fit_kernel(facts, vectors, y, FOLDS, centres=m)[0] for m in (ROWS, 80))
    assert few.facts.shape == (80, 9)
    assert np.corrcoef(whole(facts, vectors)[:, 0], few(facts, vectors)[:, 0])[0, 1] > 0.9


@pytest.mark.parametrize("rows", [1, 63, 65])
def test_a_row_scores_the_same_alone_and_in_a_batch(rows: int) -> None:
    facts, vectors, y = problem()
    model, _ = fit_kernel(facts, vectors, y, FOLDS, centres=ROWS)
    part = slice(70, 70 + rows)
    alone = model(facts[part], {"vec": vectors["vec"][part]})
    np.testing.assert_array_equal(model(facts, vectors)[part], alone)


def test_unknown_facts_and_absent_vectors_still_score() -> None:
    facts, vectors, y = problem()
    facts[3, 0] = np.nan
    vectors["vec"][4] = np.nan
    model, held_out = fit_kernel(facts, vectors, y, FOLDS, centres=ROWS)
    assert np.isfinite(held_out).all()
    assert np.isfinite(model(facts, vectors)).all()
