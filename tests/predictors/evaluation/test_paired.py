from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pytest

from predictors.evaluation.paired import Draw, Measures, resample


@dataclass(frozen=True)
class Means:
    """Units with one value each."""

    values: npt.NDArray[np.float64]

    @property
    def units(self) -> int:
        return len(self.values)

    def measure(self, drawn: Draw | None = None, /) -> Measures:
        return {"mean": float(self.values[slice(None) if drawn is None else drawn].mean())}


@pytest.fixture
def values() -> npt.NDArray[np.float64]:
    return np.random.default_rng(0).normal(size=400)


def test_an_interval_is_as_wide_as_theory_says(values: npt.NDArray[np.float64]) -> None:
    estimate = resample([Means(values)], 2000, seed=1).estimates()["mean"]
    assert estimate.value == values.mean()
    half = 1.96 * values.std() / np.sqrt(len(values))
    assert (estimate.low, estimate.high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.01)


def test_pairing_finds_a_difference_far_smaller_than_the_intervals(values: npt.NDArray[np.float64]) -> None:
    noise = np.random.default_rng(1).normal(scale=0.05, size=len(values))
    better, worse = (resample([Means(v)], 500, seed=1) for v in (values + 0.02 + noise, values))
    assert better.estimates()["mean"].low < worse.estimates()["mean"].value
    difference = better.less(worse)["mean"]
    assert 0 < difference.low < difference.value < difference.high < 0.04
    assert difference.p == pytest.approx(2 / 501)
    back = worse.less(better)["mean"]
    assert (back.value, back.low, back.p) == pytest.approx((-difference.value, -difference.high, difference.p))


def test_what_does_not_differ_has_no_small_p(values: npt.NDArray[np.float64]) -> None:
    same = resample([Means(values)], 200, seed=1)
    assert same.less(same)["mean"].p == 1.0
    noise = np.random.default_rng(3).normal(scale=0.1, size=len(values))
    other = resample([Means(values + noise - noise.mean())], 200, seed=1)
    assert same.less(other)["mean"].p > 0.3


def test_trainings_on_the_same_rows_do_not_make_the_rows_more(values: npt.NDArray[np.float64]) -> None:
    one, five = (resample([Means(values)] * times, 200, seed=1).estimates()["mean"] for times in (1, 5))
    assert (five.low, five.high) == pytest.approx((one.low, one.high))
    luck = [Means(values + shift) for shift in (-0.1, 0.3)]
    assert resample(luck, 10, seed=1).values["mean"] == pytest.approx(values.mean() + 0.1)


def test_only_measures_that_both_have_are_compared(values: npt.NDArray[np.float64]) -> None:
    class Others(Means):
        def measure(self, drawn: Draw | None = None, /) -> Measures:
            return {"other": 0.0}

    assert resample([Means(values)], 5, 0).less(resample([Others(values)], 5, 0)) == {}
