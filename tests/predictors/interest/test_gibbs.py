"""The Gibbs sampler recovers planted factors, levels and noise, and what side information says."""

from __future__ import annotations

import numpy as np
import pytest

from predictors.interest.gibbs import Values, draws

USERS, CONTENTS, FACTORS = 60, 50, 2


@pytest.fixture(scope="module")
def planted() -> tuple[Values, np.ndarray, np.ndarray]:
    """Half of all pairs, the true matrix, and features that tell a content's factors; noise of 0.3."""
    rng = np.random.default_rng(0)
    features = np.c_[np.ones(CONTENTS), rng.normal(size=(CONTENTS, 3))]
    theirs = features[:, 1:] @ rng.normal(size=(3, FACTORS))
    mine, leniency = rng.normal(size=(USERS, FACTORS)), rng.normal(size=USERS)
    truth = mine @ theirs.T + leniency[:, None]
    known = rng.random(truth.shape) < 0.5
    users, contents = np.nonzero(known)
    return Values(users, contents, truth[known] + 0.3 * rng.normal(size=known.sum())), truth, features


def test_means_of_draws_come_near_the_truth(planted: tuple[Values, np.ndarray, np.ndarray]) -> None:
    values, truth, features = planted
    chain = list(draws(values, USERS, features, FACTORS, 60, seed=1))[20:]
    said = np.mean(
        [d.users[:, :-1] @ d.contents[:, :-1].T + d.users[:, -1:] + d.contents[:, -1] for d in chain], axis=0
    )
    assert np.sqrt(np.mean((said - truth) ** 2)) < 0.2
    assert np.mean([d.noise for d in chain]) == pytest.approx(0.3, abs=0.05)


def test_a_content_without_values_is_told_by_its_features(planted: tuple[Values, np.ndarray, np.ndarray]) -> None:
    values, truth, features = planted
    old = values.contents < CONTENTS - 10
    seen = Values(values.users[old], values.contents[old], values.values[old])
    chain = list(draws(seen, USERS, features[:-10], FACTORS, 60, seed=1))[20:]
    late = [(d.users, features[-10:] @ d.side + d.content) for d in chain]
    said = np.mean([mine[:, :-1] @ new[:, :-1].T + mine[:, -1:] + new[:, -1] for mine, new in late], axis=0)
    assert np.corrcoef(said.ravel(), truth[:, -10:].ravel())[0, 1] > 0.9


def test_the_same_seed_draws_the_same(planted: tuple[Values, np.ndarray, np.ndarray]) -> None:
    values, _, features = planted
    first, again, other = (list(draws(values, USERS, features, FACTORS, 2, seed))[-1] for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.users, again.users)
    assert (first.users != other.users).all()


def test_who_has_no_values_is_drawn_from_what_is_usual(planted: tuple[Values, np.ndarray, np.ndarray]) -> None:
    values, _, features = planted
    kept = values.users != 0
    rest = Values(values.users[kept], values.contents[kept], values.values[kept])
    chain = list(draws(rest, USERS, features, FACTORS, 80, seed=1))[20:]
    assert np.std([d.users[0] for d in chain], axis=0).min() > 2 * np.std([d.users[1] for d in chain], axis=0).max()
