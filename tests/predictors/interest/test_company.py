import numpy as np
import pytest

from predictors.interest import company as company_module
from predictors.interest.company import Company, counted
from predictors.interest.history import Histories

USERS, CONTENTS, K = 60, 40, 4


def crowd() -> tuple[np.ndarray, np.ndarray]:
    """Users of two tribes who meet 12 of their own tribe's contents, the even or the odd ones."""
    rng = np.random.default_rng(0)
    users = np.repeat(np.arange(USERS), 12)
    items = np.concatenate([rng.choice(CONTENTS // 2, 12, replace=False) * 2 + user % 2 for user in range(USERS)])
    return users, items


@pytest.fixture(scope="module")
def company() -> Company:
    users, items = crowd()
    return Company.fit(users, items, np.ones(len(users)), CONTENTS + 1, K)


def history(*items: list[int], reaction: float = 1.0) -> Histories:
    longest = max(map(len, items))
    rows = np.array([one + [-1] * (longest - len(one)) for one in items], np.int64)
    return Histories(np.arange(len(rows)), rows, np.full(rows.shape, reaction), np.zeros(len(rows)))


def test_a_stranger_is_placed_among_those_who_met_the_same(company: Company) -> None:
    places = company.places(history([0, 2, 4], [1, 3, 5]), company.factors[:-1])
    meets = places @ company.factors[:CONTENTS].T
    even = np.arange(CONTENTS) % 2 == 0
    assert meets[0, even].min() > meets[0, ~even].max()
    assert meets[1, ~even].min() > meets[1, even].max()


def test_what_nobody_met_is_met_by_nobody(company: Company) -> None:
    np.testing.assert_array_equal(company.factors[CONTENTS:], 0)
    np.testing.assert_array_equal(company.places(history([]), company.factors[:-1]), np.zeros((1, K)))


def test_a_place_is_the_weighted_ridge_on_the_history(company: Company) -> None:
    met = company.factors[[4, 7]].astype(np.float64)
    weight = counted(np.array(0.25))
    wanted = np.linalg.solve(company.unmet + weight * met.T @ met, weight * met.sum(axis=0))
    others = history([4, 7], [1, 2, 3], reaction=0.25)  # the longer one beside it adds nothing
    np.testing.assert_allclose(company.places(others, company.factors[:-1])[0], wanted, rtol=1e-4, atol=1e-5)


def test_the_size_of_parts_changes_nothing(company: Company, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(company_module, "_AT_ONCE", 2)
    users, items = crowd()
    again = Company.fit(users, items, np.ones(len(users)), CONTENTS + 1, K)
    np.testing.assert_allclose(again.factors, company.factors, rtol=1e-4, atol=1e-5)
    two = history([0, 2], [1], [3, 5])
    np.testing.assert_allclose(
        again.places(two, company.factors[:-1]), company.places(two, company.factors[:-1]), rtol=1e-5
    )


def test_each_round_brings_the_weighted_error_down(monkeypatch: pytest.MonkeyPatch) -> None:
    users, items = crowd()
    weights = counted(np.random.default_rng(1).random(len(users)))

    def loss(rounds: int) -> float:
        monkeypatch.setattr(company_module, "_ROUNDS", rounds)
        made = Company.fit(users, items, weights, CONTENTS, K)
        factors = made.factors[:-1].astype(np.float64)
        of_user = company_module._solved(users, USERS, factors[items], factors, weights)
        fitted = of_user @ factors.T
        met = (weights * (1 - fitted[users, items]) ** 2).sum()
        ridges = [
            company_module._RIDGE * np.sqrt(np.bincount(groups, minlength=size) + company_module._UNMET * others)
            for groups, size, others in ((users, USERS, CONTENTS), (items, CONTENTS, USERS))
        ]
        kept = ridges[0] @ np.square(of_user).sum(axis=1) + ridges[1] @ np.square(factors).sum(axis=1)
        return float(met + company_module._UNMET * np.square(fitted).sum() + kept)

    losses = [loss(rounds) for rounds in (1, 3, 9)]
    assert losses == sorted(losses, reverse=True)
