"""The highest rate that holds."""

from __future__ import annotations

import math
from collections.abc import Callable

LEAST = 1.0


def find_peak(holds: Callable[[float], bool], first: float, precision: float = 0.05) -> float:
    """The highest rate found to hold, within `precision` of one that does not; 0 where not even `LEAST` holds.

    Rates double, or halve, from the first until one holds and one does not; then the ratio between them is halved.
    """
    rate = first
    if holds(rate):
        while holds(2 * rate):
            rate *= 2
    else:
        while not holds(rate := rate / 2):
            if rate < LEAST:
                return 0.0
    low, high = rate, 2 * rate
    while high > (1 + precision) * low:
        middle = math.sqrt(low * high)
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low
