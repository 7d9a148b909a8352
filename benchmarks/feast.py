"""The columnar Feast plug-ins beside stock Feast (SQLite, Redis, DuckDB, dask) and the floors of memory and disk.

Usage: python -m benchmarks.feast [--rows 100000] [--repeats 5] [--parts materialize,online,write,history]
Takes some twenty minutes at 100,000 rows, most of them stock Feast's, and 4 GB of memory; at a million rows stock
Feast materializes only once, in windows of 100,000 rows. Results go to benchmarks/results/feast[-<rows>].json.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections import defaultdict
from pathlib import Path
from statistics import median

from benchmarks import feast_online, feast_write
from benchmarks import feast_world as world
from benchmarks.feast_children import run_child
from benchmarks.harness import Row, machine, publish

PARTS = ("materialize", "online", "write", "history")
DEFAULT_ROWS, LARGER = 100_000, 4
MEMORY_MB, MEMORY_GROWTH = 500, 1.2
ASKED = 1_000_000
VIEWS = ("scalars", "embedding")


class Bench:
    """Data and stores in a folder, and the rows measured so far."""

    def __init__(self, home: Path, rows: int, repeats: int, port: int) -> None:
        self.home, self.rows, self.repeats, self.port = home, rows, repeats, port
        self.contents = home / f"contents-{rows}"
        self.histories = home / "histories"
        self.found: list[Row] = []
        self.filled: set[str] = set()
        world.write_contents(self.contents, rows)

    def note(self, claim: str, ours: float, peer: float, bar: float, unit: str, *, most: bool = False) -> None:
        """A claim: ours over the peer's is at least the bar, or at `most`."""
        self.found.append(Row(claim, ours, peer, bar, unit, self.repeats, machine(), most))

    def folder(self, kind: str) -> Path:
        """Where the store of a kind lies."""
        return self.home / f"store-{kind}-{self.rows}"

    def materialize(self) -> None:
        """Rows a second into each online store; the stores stay for the other parts."""
        taken: dict[tuple[str, str], list[dict[str, float]]] = defaultdict(list)
        once = self.rows > DEFAULT_ROWS
        for repeat in range(self.repeats):
            for kind in world.ONLINE:
                if kind != "ours" and repeat >= (1 if once else 2):
                    continue
                shutil.rmtree(self.folder(kind), ignore_errors=True)
                for view in VIEWS:
                    taken[kind, view].append(self._materialize(kind, view, self.contents, self.rows))
        for view in VIEWS:
            ours = self.rows / median(run["seconds"] for run in taken["ours", view])
            for kind in ("sqlite", "redis"):
                stock = self.rows / median(run["seconds"] for run in taken[kind, view])
                self.note(
                    f"materialize {view}, against stock {kind}", ours, stock, 25 if kind == "sqlite" else 0, "rows/s"
                )
                peak = median(run["peak_mb"] for run in taken[kind, view])
                memory = median(run["peak_mb"] for run in taken["ours", view])
                self.note(f"peak memory of that, {view}, against stock {kind}", memory, peak, 1, "MB", most=True)
        if not once:
            self._memory()

    def _memory(self) -> None:
        """The peak while both views are brought online, and how it grows with the rows."""
        larger = self.home / f"contents-{LARGER * self.rows}"
        world.write_contents(larger, LARGER * self.rows)
        peaks: dict[int, float] = {}
        for rows, contents in ((self.rows, self.contents), (LARGER * self.rows, larger)):
            runs = []
            for _ in range(3):
                shutil.rmtree(self.folder("memory"), ignore_errors=True)
                runs.append(self._materialize("ours", ",".join(VIEWS), contents, rows, "memory")["peak_mb"])
            peaks[rows] = median(runs)
        few, many = peaks.values()
        self.note(f"peak memory, both views, against {MEMORY_MB} MB", few, MEMORY_MB, 1, "MB", most=True)
        claim = f"peak memory, both views, {LARGER * self.rows:,} rows against {self.rows:,}"
        self.note(claim, many, few, MEMORY_GROWTH, "MB", most=True)
        shutil.rmtree(self.folder("memory"), ignore_errors=True)
        shutil.rmtree(larger)

    def _materialize(self, kind: str, view: str, contents: Path, rows: int, name: str = "") -> dict[str, float]:
        self.filled.add(name or kind)
        return run_child("materialize", kind, view, contents, self.folder(name or kind), self.port, rows)

    def online(self) -> None:
        """Latency of reads; what is not there yet, as the Redis of another run, is materialized first."""
        for kind in world.ONLINE:
            if kind not in self.filled and (kind == "redis" or not self.folder(kind).exists()):
                for view in VIEWS:
                    self._materialize(kind, view, self.contents, self.rows)
        feast_online.measure(self, {kind: self.folder(kind) for kind in world.ONLINE})

    def write(self) -> None:
        """Upserts and bytes on disk."""
        feast_write.measure(self)

    def history(self) -> None:
        """Point-in-time joins of a million rows with three views, and of 50,000 with the embedding."""
        world.write_histories(self.histories, ASKED)
        for what, asked, peers in (
            ("scalars", ASKED, ("naive", "duckdb", "dask")),
            ("embedding", 50_000, ("duckdb", "dask")),
        ):
            taken: dict[str, list[dict[str, float]]] = defaultdict(list)
            for repeat in range(self.repeats):
                for kind in ("ours", *peers):
                    if kind == "dask" and repeat:
                        continue
                    folder = self.home / f"history-{kind}"
                    taken[kind].append(run_child("history", kind, what, self.contents, self.histories, folder))
            ours = asked / median(run["seconds"] for run in taken["ours"])
            if what == "scalars":
                self.note("historical, 1M rows x 3 views, against 1M rows/s", ours, 1_000_000, 1, "rows/s")
            for kind in peers:
                rate = asked / median(run["seconds"] for run in taken[kind])
                self.note(f"historical, {asked:,} rows, {what}, against {kind}", ours, rate, 1, "rows/s")
                memory = median(run["peak_mb"] for run in taken["ours"])
                peak = median(run["peak_mb"] for run in taken[kind])
                self.note(f"peak memory of that, against {kind}", memory, peak, 1, "MB", most=True)


def main() -> None:
    """Measure and publish."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=DEFAULT_ROWS, help="contents in the catalog")
    parser.add_argument("--repeats", type=int, default=5, help="medians of so many (stock materializes twice)")
    parser.add_argument("--parts", default=",".join(PARTS), help="which of them to run, separated by commas")
    parser.add_argument("--home", type=Path, help="where data and stores lie; kept, and used again, when it is given")
    options = parser.parse_args()
    if unknown := set(options.parts.split(",")) - set(PARTS):
        raise SystemExit(f"--parts: no {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    with tempfile.TemporaryDirectory() as temporary, world.running_redis() as port:
        bench = Bench(options.home or Path(temporary), options.rows, options.repeats, port)
        for part in options.parts.split(","):
            getattr(bench, part)()
        publish("feast" if options.rows == DEFAULT_ROWS else f"feast-{options.rows}", bench.found)


if __name__ == "__main__":
    main()
