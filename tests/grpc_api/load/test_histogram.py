"""Quantiles against those of the times themselves."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from grpc_api.load.histogram import Histogram

TIMES = st.lists(st.floats(1e-6, 1e4), min_size=1, max_size=60)
SHARES = st.lists(st.floats(0, 1), min_size=1, max_size=5).map(sorted)


def counted(times: list[float]) -> Histogram:
    histogram = Histogram()
    for time in times:
        histogram.record(time)
    return histogram


@given(times=TIMES, shares=SHARES, failed=st.integers(0, 9))
def test_a_quantile_is_that_of_the_times_or_a_little_above(
    times: list[float], shares: list[float], failed: int
) -> None:
    exact = sorted(times) + [math.inf] * failed
    for share, found in zip(shares, counted(times).quantiles(shares, failed), strict=True):
        expected = exact[max(1, math.ceil(share * len(exact))) - 1]
        assert expected <= found <= expected * (1 + 1 / 128)


@given(first=TIMES, second=TIMES, shares=SHARES)
def test_added_it_counts_both(first: list[float], second: list[float], shares: list[float]) -> None:
    both = counted(first)
    both.add(counted(second))
    assert both.quantiles(shares) == counted(first + second).quantiles(shares)
    assert (both.count, both.largest) == (len(first + second), max(first + second))


def test_nothing_has_no_quantile() -> None:
    assert math.isnan(Histogram().quantile(0.5))
    assert math.isinf(Histogram().quantile(0.5, failed=1))


def test_a_time_of_nothing_counts() -> None:
    assert counted([-1e-3, 0]).count == 2
