import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler

from predictors.popularity.reduction import fit_reduction, fold_of

IDS = [f"c{i}" for i in range(200)]
FOLDS = fold_of(IDS, 5, seed=0)


def problem(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(200, 12)).astype(np.float32) * np.linspace(0.1, 3, 12, dtype=np.float32) + 5
    return vectors, vectors[:, 3].astype(float) + rng.normal(scale=0.3, size=200)


def test_the_score_is_the_ridge_regression_of_scikit_learn() -> None:
    vectors, y = problem()
    reduction, _ = fit_reduction(vectors, y, FOLDS, components=0)
    z = StandardScaler().fit_transform(vectors.astype(float))
    expected = Ridge(alpha=reduction.alpha * len(y)).fit(z, y).predict(z)
    np.testing.assert_allclose(reduction(vectors)[:, 0], expected, atol=1e-4)


def test_training_rows_are_scored_by_a_ridge_that_did_not_see_their_fold() -> None:
    vectors, y = problem()
    reduction, columns = fit_reduction(vectors, y, FOLDS, components=0)
    z = StandardScaler().fit_transform(vectors.astype(float))
    for fold in range(5):
        out = np.equal(FOLDS, fold)
        model = Ridge(alpha=reduction.alpha * int((~out).sum())).fit(z[~out], y[~out])
        np.testing.assert_allclose(columns[out, 0], model.predict(z[out]), atol=1e-4)


def test_noise_is_shrunk_away_and_signal_kept() -> None:
    vectors, y = problem()
    noise = np.random.default_rng(9).normal(size=200)
    assert fit_reduction(vectors, noise, FOLDS, 0)[0].alpha > 1
    reduction, columns = fit_reduction(vectors, y, FOLDS, 0)
    assert reduction.alpha < 0.1
    assert np.corrcoef(columns[:, 0], y)[0, 1] > 0.9


def test_components_are_the_principal_axes_of_the_standardised_vectors() -> None:
    vectors, y = problem()
    vectors[:, 1] = vectors[:, 0] * 2
    reduction, columns = fit_reduction(vectors, y, FOLDS, components=3)
    z = StandardScaler().fit_transform(vectors.astype(float))
    _, spread, _ = np.linalg.svd(z, full_matrices=False)
    np.testing.assert_allclose(columns[:, 1:].astype(float).std(axis=0), spread[:3] / np.sqrt(200), rtol=1e-3)
    np.testing.assert_allclose(columns[:, 1:], reduction(vectors)[:, 1:])


def test_a_missing_vector_is_not_learnt_from_and_stays_missing() -> None:
    vectors, y = problem()
    vectors[7] = np.nan
    other = y.copy()
    other[7] = 1e6
    reduction, columns = fit_reduction(vectors, y, FOLDS, components=2)
    assert np.isnan(columns[7]).all()
    assert np.isfinite(np.delete(columns, 7, axis=0)).all()
    again, _ = fit_reduction(vectors, other, FOLDS, components=2)
    np.testing.assert_array_equal(reduction.weights, again.weights)


def test_a_constant_number_of_the_vectors_weighs_nothing() -> None:
    vectors, y = problem()
    vectors[:, 5] = 1.5
    reduction, columns = fit_reduction(vectors, y, FOLDS, components=1)
    assert reduction.weights[:, 5].tolist() == [0.0, 0.0]
    assert np.isfinite(columns).all()


@pytest.mark.parametrize("rows", [1, 3, 200])
def test_a_row_scores_the_same_alone_and_in_a_batch(rows: int) -> None:
    vectors, y = problem()
    reduction, _ = fit_reduction(vectors, y, FOLDS, components=4)
    np.testing.assert_array_equal(reduction(vectors)[:rows], reduction(vectors[:rows]))


def test_folds_do_not_move_when_contents_are_added() -> None:
    assert fold_of(IDS[:50], 5, 0).tolist() == FOLDS[:50].tolist()
    assert set(FOLDS.tolist()) == set(range(5))
    assert fold_of(IDS, 5, 1).tolist() != FOLDS.tolist()
