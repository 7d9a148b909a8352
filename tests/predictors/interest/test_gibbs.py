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
    values = truth[known] + 0.3 * rng.normal(size=known.sum())
    return Values(users, contents, values, rng.random(len(values))), truth, features


def some(values: Values, rows: np.ndarray) -> Values:
    return Values(*(getattr(values, name)[rows] for name in Values.__slots__))


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
    seen = some(values, old)
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
    rest = some(values, kept)
    chain = list(draws(rest, USERS, features, FACTORS, 80, seed=1))[20:]
    assert np.std([d.users[0] for d in chain], axis=0).min() > 2 * np.std([d.users[1] for d in chain], axis=0).max()


@pytest.mark.parametrize("half_life", [0.25, 100.0])
def test_users_who_change_are_known_as_they_were_last(half_life: float) -> None:
    """In lengths of the log: with the short one, users end as others than they were; it is found, and they are."""
    rng = np.random.default_rng(4)
    each, theirs = 200, rng.normal(size=(CONTENTS, FACTORS))
    times, users = np.tile(np.linspace(0, 1, each), USERS), np.repeat(np.arange(USERS), each)
    steps, kept = rng.normal(size=(each, USERS, FACTORS)), 2 ** (-1 / (each * half_life))
    states = [steps[0]]
    for step in steps[1:]:
        states.append(kept * states[-1] + np.sqrt(1 - kept**2) * step)
    contents = rng.integers(0, CONTENTS, len(users))
    mine = np.array(states).transpose(1, 0, 2).reshape(-1, FACTORS)
    values = Values(users, contents, np.vecdot(mine, theirs[contents]) + rng.normal(size=len(users)), times)
    chain = list(draws(values, USERS, np.empty((CONTENTS, 0)), FACTORS, 120, seed=1))[60:]
    said = np.mean(
        [d.users[:, :-1] @ d.contents[:, :-1].T + d.users[:, -1:] + d.contents[:, -1] for d in chain], axis=0
    )
    assert np.corrcoef(said.ravel(), (states[-1] @ theirs.T).ravel())[0, 1] > 0.85
    found = np.median([d.half_life for d in chain])
    assert 0.15 < found < 0.4 if half_life < 1 else found > 3
