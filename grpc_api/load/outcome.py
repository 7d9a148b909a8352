"""What became of a load: times by kind and over time, codes, and whether the generator kept up."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from grpc_api.load.histogram import Histogram

QUANTILES = (0.5, 0.9, 0.99, 0.999)
SLICES = 60
LAG_S = 0.002  # 99 of 100 calls are sent within it, or the generator is said to lag


@dataclass(slots=True)
class Tally:
    """Calls of one kind, or of one stretch of time: times of those answered, and how many ended with which code."""

    times: Histogram = field(default_factory=Histogram)
    codes: Counter[str] = field(default_factory=Counter)

    @property
    def answered(self) -> int:
        """How many had an answer."""
        return self.codes["OK"]

    @property
    def failed(self) -> int:
        """How many had none."""
        return self.codes.total() - self.answered

    def record(self, code: str, seconds: float) -> None:
        """Count a call."""
        self.codes[code] += 1
        if code == "OK":
            self.times.record(seconds)


class Outcome:
    """All calls of a run that asked for `rate` a second, for some seconds. Times are from when a call was due."""

    def __init__(self, rate: float, seconds: float, kinds: tuple[str, ...]) -> None:
        self.rate = rate
        self.seconds = seconds
        self.kinds = {name: Tally() for name in kinds}
        self.slices = [Tally() for _ in range(SLICES)]
        self.lag = Histogram()

    def record(self, kind: str, due: float, code: str, seconds: float) -> None:
        """Count a call that was due after so many seconds of the run."""
        self.kinds[kind].record(code, seconds)
        self.slices[min(SLICES - 1, int(due / self.seconds * SLICES))].record(code, seconds)

    @property
    def whole(self) -> Tally:
        """Calls of all kinds together."""
        whole = Tally()
        for tally in self.kinds.values():
            whole.codes.update(tally.codes)
            whole.times.add(tally.times)
        return whole

    @property
    def lagged(self) -> bool:
        """Whether calls were sent so late that times say as much of the generator as of the server."""
        return self.lag.quantile(0.99) > LAG_S

    def holds(self, deadline_s: float) -> bool:
        """Whether 99 of 100 calls were answered in time; those without an answer were not."""
        whole = self.whole
        return whole.times.quantile(0.99, whole.failed) <= deadline_s

    def as_json(self) -> dict[str, Any]:
        """The run as one JSON object; times in milliseconds."""
        return {
            "rate": {"asked": self.rate, "answered": self.whole.answered / self.seconds},
            "seconds": self.seconds,
            "kinds": {name: _as_json(tally, self.seconds) for name, tally in {**self.kinds, "all": self.whole}.items()},
            "over_time": [_as_json(tally, self.seconds / SLICES) for tally in self.slices],
            "generator": {"lag_p99_ms": 1e3 * self.lag.quantile(0.99), "lagged": self.lagged},
        }


def _as_json(tally: Tally, seconds: float) -> dict[str, Any]:
    times = zip(QUANTILES, tally.times.quantiles(list(QUANTILES)), strict=True)
    return {
        "answered_per_s": tally.answered / seconds,
        "codes": dict(tally.codes),
        **{f"p{100 * share:g}_ms": 1e3 * time for share, time in times},
        "max_ms": 1e3 * tally.times.largest,
    }
