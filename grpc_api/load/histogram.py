"""Times counted in buckets of equal relative width, as HdrHistogram does (Tene), in memory that does not grow."""

from __future__ import annotations

import math
from collections import Counter

_PER_OCTAVE = 128  # a quantile is at most 1/128 above the time that it stands for


class Histogram:
    """Counts seconds; `largest` is exact."""

    def __init__(self) -> None:
        self._counts: Counter[int] = Counter()
        self.count = 0
        self.largest = 0.0

    def record(self, seconds: float) -> None:
        """Count a time; one of 0 or less counts as a nanosecond."""
        mantissa, octave = math.frexp(max(seconds, 1e-9))
        self._counts[octave * _PER_OCTAVE + int((2 * mantissa - 1) * _PER_OCTAVE)] += 1
        self.count += 1
        self.largest = max(self.largest, seconds)

    def add(self, other: Histogram) -> None:
        """Count all that the other did."""
        self._counts.update(other._counts)
        self.count += other.count
        self.largest = max(self.largest, other.largest)

    def quantile(self, share: float, failed: int = 0) -> float:
        """Seconds within which that share, 0 to 1, was done; `failed` more took for ever. NaN of nothing at all."""
        return self.quantiles([share], failed)[0]

    def quantiles(self, shares: list[float], failed: int = 0) -> list[float]:
        """The same for several shares, ascending."""
        if not self.count + failed:
            return [math.nan] * len(shares)
        found: list[float] = []
        buckets, passed, edge = iter(sorted(self._counts.items())), 0, 0.0
        for share in shares:
            wanted = max(1, math.ceil(share * (self.count + failed)))
            while passed < wanted:
                bucket, count = next(buckets, (None, 0))
                if bucket is None:
                    edge = math.inf
                    break
                passed += count
                edge = min(_upper(bucket), self.largest)
            found.append(edge)
        return found


def _upper(bucket: int) -> float:
    octave, place = divmod(bucket, _PER_OCTAVE)
    return math.ldexp((1 + (place + 1) / _PER_OCTAVE) / 2, octave)
