"""Points in time as integers, exact in whichever unit they came."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import numpy.typing as npt
import polars as pl

IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

MICROSECONDS, NANOSECONDS = 1_000_000, 1_000_000_000
FIRST, LAST = np.iinfo(np.int64).min, np.iinfo(np.int64).max


@dataclass(frozen=True, slots=True)
class Instants:
    """Points in time: (n,) int64 since 1970 in UTC, `per_second` of them a second; those not `valid` are null."""

    values: IntArray
    valid: BoolArray
    per_second: int

    @classmethod
    def of(cls, times: pl.Series) -> Instants:
        """Read a date or datetime series; a naive one is taken as UTC. Raises TypeError for any other type."""
        if times.dtype not in (pl.Datetime, pl.Date):
            raise TypeError(f"column {times.name!r} holds {times.dtype}, not points in time")
        fine = isinstance(times.dtype, pl.Datetime) and times.dtype.time_unit == "ns"
        zone = times.dtype.time_zone if isinstance(times.dtype, pl.Datetime) else None
        exact = times.cast(pl.Datetime("ns" if fine else "us", zone)).to_physical()
        valid = times.is_not_null().to_numpy()
        return cls(exact.fill_null(0).to_numpy(), valid, NANOSECONDS if fine else MICROSECONDS)

    def scaled(self, per_second: int, *, up: bool = False) -> IntArray:
        """The values in another unit, rounded down (or `up`), held within int64."""
        if per_second >= self.per_second:
            factor = per_second // self.per_second
            return self.values if factor == 1 else np.clip(self.values, FIRST // factor + 1, LAST // factor) * factor
        factor = self.per_second // per_second
        return -(-self.values // factor) if up else self.values // factor

    def earlier(self, by: timedelta) -> Instants:
        """The same points moved back, no further than int64 reaches."""
        step = min(by // timedelta(microseconds=1) * (self.per_second // MICROSECONDS), LAST)
        return Instants(np.maximum(self.values, FIRST + step) - step, self.valid, self.per_second)
