"""How late the last hundredth of calls is that come at random, at half the rate that a worker can do, however it works.

Every call takes the same time; p99 over p50 of the time from its coming to its answer is reckoned for one after the
other (M/D/1 in Kendall's notation), for all at once with the worker's time shared evenly (processor sharing), and for
all that wait together, where a part of a call's cost is paid once for all of them. Nothing is measured: this is what a
bar on the tail can ask of a worker at best.

Usage: python -m benchmarks.queues [--calls 1000000]
"""

from __future__ import annotations

import argparse
from heapq import heappop, heappush

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

Seconds = npt.NDArray[np.float64]

SHARED = (0.0, 0.15, 0.3, 0.5, 0.7)  # of a call's cost
MOST = 8  # calls that are worked on together


def coming(rate: float, calls: int) -> Seconds:
    """When calls come that know nothing of each other."""
    return np.cumsum(np.random.default_rng(0).exponential(1 / rate, calls))


def one_by_one(rate: float, service_s: float, calls: int) -> Seconds:
    """Sojourn times where one call is worked on after the other: Lindley's recursion."""
    steps = np.cumsum(service_s - np.diff(coming(rate, calls), prepend=0.0))
    return steps - np.minimum.accumulate(np.minimum(steps, 0.0)) + service_s


def sharing(rate: float, calls: int) -> Seconds:
    """Sojourn times where all calls that are there share the worker; alone, one takes 1."""
    arrivals, taken = coming(rate, calls), np.empty(calls)
    there: list[tuple[float, int]] = []  # (service given to each that has been there all along, when this one is done)
    now = given = 0.0
    for number, arrival in enumerate([*arrivals.tolist(), np.inf]):
        while there and (end := now + (there[0][0] - given) * len(there)) <= arrival:
            now = end
            given, done = heappop(there)
            taken[done] = now - arrivals[done]
        if there:
            given += (arrival - now) / len(there)
        now = arrival
        if number < calls:
            heappush(there, (given + 1, number))
    return taken


def together(rate: float, shared: float, calls: int, most: int = MOST) -> Seconds:
    """Sojourn times where up to `most` that wait are worked on together: n take `shared` + n (1 - `shared`)."""
    arrivals, taken = coming(rate, calls), np.empty(calls)
    now, first = 0.0, 0
    while first < calls:
        now = max(now, arrivals[first])
        last = min(int(np.searchsorted(arrivals, now, "right")), first + most)
        now += shared + (last - first) * (1 - shared)
        taken[first:last] = now - arrivals[first:last]
        first = last
    return taken


def tail(taken: Seconds) -> float:
    """p99 over p50."""
    middle, late = np.percentile(taken, (50, 99))
    return float(late / middle)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=1_000_000)
    calls = parser.parse_args().calls
    table = Table("calls are worked on", "p99 over p50", title="at half of the peak")
    table.add_row("one after the other", f"{tail(one_by_one(0.5, 1.0, calls)):.2f}")
    table.add_row("all at once, sharing the worker", f"{tail(sharing(0.5, calls)):.2f}")
    for shared in SHARED:
        peak = MOST / (shared + MOST * (1 - shared))
        table.add_row(
            f"together, up to {MOST}, {shared:.0%} of one's cost paid once",
            f"{tail(together(peak / 2, shared, calls)):.2f}",
        )
    Console().print(table)


if __name__ == "__main__":
    main()
