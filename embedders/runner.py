"""Read -> decode -> encode -> write -> record, a partition at a time, the stages overlapped.

A partition's file is in place before its ledger rows are written, its name says what is in it, partitions are
recorded in order, and batches are cut the same way each time. So a run that is killed and started again ends in the
same files, byte for byte, as one that was left alone, and repeats at most the partitions that were under way.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from threading import Lock
from typing import Protocol

from embedders.base import Embedder
from embedders.derived import readiness
from embedders.fingerprint import changed_at
from embedders.ledger import Pending, kind_of
from embedders.memory import keep_freed_memory
from embedders.pipeline import Encoded, Pipeline, Stages, Task, joined
from embedders.planning import Planner
from embedders.precision import kept_choice, load_settled
from embedders.specs import resolve_spec
from feature_repo.catalog import Catalog
from feature_repo.catalog_rows import LedgerRow
from feature_repo.contracts import EmbeddingSpec, digest
from feature_repo.files import only_writer, sweep
from feature_repo.settings import Settings
from feature_repo.vectors import vectors_dir, write_partition

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class RunReport:
    """What a run did. `failed` counts this run's failures by kind of reason, `skipped` those known before.

    `rate` is contents a second over the partitions, loading the model left out; `bottleneck` is the stage that held
    it back, None where nothing was encoded. `precision` is what the vectors were computed in, `note` why it is not
    what the settings ask for. `seconds` are those of each stage, see `Stages`.
    """

    embedding: str
    encoded: int
    fresh: int
    skipped: int
    failed: dict[str, int]
    seconds: dict[str, float]
    rate: float
    bottleneck: str | None = None
    precision: str | None = None
    note: str | None = None


class Engine(Protocol):
    """Who does the partitions: this process or a cluster."""

    def __call__(
        self,
        name: str,
        settings: Settings,
        catalog: Catalog,
        tasks: Iterable[Task],
        total: int,
        stages: Stages,
        on_window: Callable[[int], None],
    ) -> Iterator[list[LedgerRow]]:
        """The rows of each partition once they are recorded; the tasks have `total` contents."""
        ...


class PartitionWorker:
    """Does whole partitions: what a process, here or elsewhere, needs to be handed nothing but tasks.

    `embedders` is one embedder, or the same on several devices.
    """

    def __init__(
        self,
        embedders: Embedder | Sequence[Embedder],
        settings: Settings,
        catalog: Catalog,
        stages: Stages,
        on_window: Callable[[int], None] = lambda count: None,
    ) -> None:
        from embedders.device import shared_cores  # with torch

        keep_freed_memory()
        lanes = [embedders] if isinstance(embedders, Embedder) else embedders
        self._embedder = lanes[0]
        self._stages = stages
        self._held = ExitStack()
        at_once = self._held.enter_context(shared_cores(settings))
        stages.lanes = len(lanes) * at_once
        self._catalog = catalog
        self._folder = vectors_dir(settings, self._embedder.spec.name, self._embedder.spec.digest)
        self._pipeline = Pipeline(lanes, catalog, settings.workers, stages, on_window, at_once)

    def __enter__(self) -> PartitionWorker:
        return self

    def __exit__(self, *_: object) -> None:
        self._pipeline.close()
        self._held.close()

    def run_partition(self, task: Task) -> list[LedgerRow]:
        """Encode the contents of `task`, write their file, then record them; the rows that were recorded."""
        return next(self.run([task]))

    def run(self, tasks: Iterable[Task]) -> Iterator[list[LedgerRow]]:
        """`run_partition` for each of `tasks` in order; while one is written, the next ones are worked on."""
        with closing(self._pipeline.run(tasks)) as made:
            for partition in made:
                yield self._record(partition)

    def _record(self, partition: Encoded) -> list[LedgerRow]:
        spec, good = self._embedder.spec, partition.good
        name = partition_name([partition.task[position] for position in good])
        with self._stages.timed("write"):
            self._write(name, partition)
        rows = [
            LedgerRow(p.content_id, p.fingerprint, None if reason else name, reason)
            for p, reason in zip(partition.task, partition.reasons, strict=True)
        ]
        with self._stages.timed("record"):
            self._catalog.record(spec.name, spec.digest, rows)
        return rows

    def _write(self, name: str, partition: Encoded) -> None:
        items = [partition.items[position] for position in partition.good]
        if not items:
            return
        spec = self._embedder.spec
        write_partition(
            self._folder / f"{name}.parquet",
            spec.name,
            [item.content.content_id for item in items],
            [item.content.published_at for item in items],
            [changed_at(item, spec.modality) for item in items],
            *joined(partition, self._embedder),
        )


def run(
    name: str,
    settings: Settings,
    catalog: Catalog,
    on_progress: Progress | None = None,
    retry_failed: bool = False,
    engine: Engine | None = None,
) -> RunReport:
    """Bring the vectors of one embedding up to date; with nothing to do, no model is loaded.

    `on_progress(done, total)` is called after each window of contents, perhaps in another thread. Without an `engine`
    this process does the work. Raises ConfigurationError, WeightsError, and UnavailableError while another run has
    this embedding.
    """
    stages = Stages()
    spec = resolve_spec(name, settings)
    folder = vectors_dir(settings, spec.name, spec.digest)
    failed: Counter[str] = Counter()
    encoded = 0
    with only_writer(folder):
        with stages.timed("plan"):
            catalog.refresh_media(modality=spec.modality)
            partitions = _remove_orphans(folder, catalog, spec)
            planner = Planner(catalog, spec, partitions, retry_failed, readiness(spec, settings, catalog))
            todo = planner.tally()
        catalog.introduce_embedding(spec)
        start = time.perf_counter()
        if todo.pending:
            tasks = planner.tasks(settings.partition_size)
            tell = _counting(on_progress, todo.pending)
            for rows in (engine or _here)(name, settings, catalog, tasks, todo.pending, stages, tell):
                failed.update(kind_of(row.reason) for row in rows if row.reason is not None)
                encoded += sum(row.partition is not None for row in rows)
            _remove_orphans(folder, catalog, spec)
        took = time.perf_counter() - start - stages.seconds.setdefault("load", 0.0)
    choice = kept_choice(settings, spec)
    return RunReport(
        name,
        encoded,
        todo.fresh,
        todo.failed,
        dict(failed),
        stages.seconds,
        encoded / took,
        stages.bottleneck() if todo.pending else None,
        choice.precision if choice else None,
        choice.note if choice else None,
    )


def _here(
    name: str,
    settings: Settings,
    catalog: Catalog,
    tasks: Iterable[Task],
    total: int,
    stages: Stages,
    on_window: Callable[[int], None],
) -> Iterator[list[LedgerRow]]:
    """The engine without a cluster: a lane for each of the machine's devices."""
    line = iter(tasks)
    first = next(line)
    with stages.timed("load"):
        items = catalog.get([pending.content_id for pending in first])
        lanes = load_settled(name, settings, [items[p.content_id] for p in first if p.content_id in items])
    with PartitionWorker(lanes, settings, catalog, stages, on_window) as worker:
        yield from worker.run(chain([first], line))


def _counting(on_progress: Progress | None, total: int) -> Callable[[int], None]:
    """Sums what it is told, by any thread, and passes the sum on beside `total`."""
    done, lock = 0, Lock()

    def tell(count: int) -> None:
        nonlocal done
        with lock:
            done += count
            if on_progress:
                on_progress(done, total)

    return tell


def partition_name(pending: Sequence[Pending]) -> str:
    """Name of the file of these vectors, from what they were made of."""
    return digest(*(part for p in pending for part in (p.content_id, p.fingerprint)))


def _remove_orphans(folder: Path, catalog: Catalog, spec: EmbeddingSpec) -> set[str]:
    """Remove files that no ledger row names (a killed run's, or outdated); the names of the partitions left."""
    sweep(folder)
    named = catalog.ledger_partitions(spec.name, spec.digest)
    for path in folder.glob("*.parquet"):
        if path.stem not in named:
            path.unlink()
    return {path.stem for path in folder.glob("*.parquet")}
