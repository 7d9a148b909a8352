"""What every benchmark shares: two things measured in turns, a row for each claim, a table and a JSON file."""

from __future__ import annotations

import os
import platform
import resource
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table

from feature_repo.files import write_json

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True, slots=True)
class Row:
    """One claim: `ours` against `peer` in `unit`, medians of `repeats`.

    It holds where `ratio` reaches the `bar`, or, with `most`, does not pass it.
    """

    claim: str
    ours: float
    peer: float
    bar: float
    unit: str
    repeats: int
    machine: str
    most: bool = False

    @property
    def ratio(self) -> float:
        """Ours over the peer's."""
        return self.ours / self.peer

    @property
    def holds(self) -> bool:
        """Whether the claim holds."""
        return self.ratio <= self.bar if self.most else self.ratio >= self.bar


def measure(ours: Callable[[], float], peer: Callable[[], float], repeats: int) -> tuple[float, float]:
    """Medians of what both return, taken in turns after a warm-up each, so that a busy machine slows both alike."""
    ours(), peer()
    pairs = [(ours(), peer()) for _ in range(repeats)]
    return median(o for o, _ in pairs), median(p for _, p in pairs)


def machine() -> str:
    """The processor, how much of it, and the Python."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    processor = names[0] if names else platform.processor()
    return f"{processor}, {os.cpu_count()} cores, Python {platform.python_version()}"


def publish(name: str, rows: Sequence[Row]) -> Path:
    """Print the rows as a table and write them to `results/<name>.json`; the file's path."""
    table = Table("claim", "ours", "peer", "ratio", "bar", "unit", title=f"{name}: {machine()}")
    for row in rows:
        ratio = f"[{'green' if row.holds else 'red'}]{row.ratio:.3f}[/]"
        table.add_row(
            row.claim,
            f"{row.ours:,.4g}",
            f"{row.peer:,.4g}",
            ratio,
            f"{'<=' if row.most else '>='} {row.bar:g}",
            row.unit,
        )
    Console().print(table)
    path = RESULTS / f"{name}.json"
    write_json(path, [asdict(row) | {"ratio": row.ratio, "holds": row.holds} for row in rows])
    return path


def may_lock() -> bool:
    """Whether processes may lock their memory, so that none is timed while it waits for a page."""
    return os.geteuid() == 0 or resource.getrlimit(resource.RLIMIT_MEMLOCK)[0] == resource.RLIM_INFINITY
