"""The search, on servers that take a rate and no more."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from grpc_api.load.peak import LEAST, find_peak


@given(limit=st.floats(LEAST, 1e5), first=st.floats(LEAST, 1e5))
def test_it_is_found(limit: float, first: float) -> None:
    tried: list[float] = []

    def holds(rate: float) -> bool:
        tried.append(rate)
        return rate <= limit

    found = find_peak(holds, first)
    if found:
        assert limit / 1.05 <= found <= limit
        assert found in tried
    else:
        assert limit < 2 * LEAST
    assert len(tried) == len(set(tried)) <= 30


def test_nothing_holds() -> None:
    assert find_peak(lambda rate: False, 100) == 0
