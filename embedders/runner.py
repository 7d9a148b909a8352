"""Read -> decode -> encode -> write -> record, a partition at a time.

A partition's file is in place before its ledger rows are written, its name says what is in it, and batches
are cut the same way each time. So a run that is killed and started again ends in the same files, byte for
byte, as one that was left alone, and repeats at most the partition that it was in.
"""

from __future__ import annotations

import fcntl
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from embedders.base import Decoded, Embedder, Matrix, Tokens, load_embedder
from embedders.fingerprint import changed_at
from embedders.ledger import Pending, plan
from embedders.specs import resolve_spec
from feature_repo.catalog import Catalog
from feature_repo.catalog_rows import CatalogItem, LedgerRow
from feature_repo.contracts import EmbeddingSpec, digest
from feature_repo.errors import MediaError, UnavailableError
from feature_repo.files import sweep
from feature_repo.settings import Settings
from feature_repo.vectors import vectors_dir, write_partition

_AHEAD = 2  # windows decoded, or being decoded, while one is encoded

Outcome = Decoded | MediaError
Progress = Callable[[int, int], None]


@dataclass(slots=True)
class Stages:
    """Seconds that the encoding thread spent in each stage; `decode` is what it waited for the workers."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Add the time of the block to `stage`."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - start


@dataclass(frozen=True, slots=True)
class RunReport:
    """What a run did. `failed` counts this run's failures by kind of reason, `skipped` those known before.

    `rate` is contents a second over the partitions, loading the model left out.
    """

    embedding: str
    encoded: int
    fresh: int
    skipped: int
    failed: dict[str, int]
    seconds: dict[str, float]
    rate: float


class PartitionWorker:
    """Does whole partitions: what a process, here or elsewhere, needs to be handed nothing but tasks."""

    def __init__(
        self,
        embedder: Embedder,
        settings: Settings,
        catalog: Catalog,
        stages: Stages,
        on_window: Callable[[int], None] = lambda count: None,
    ) -> None:
        self._stages = stages
        self._on_window = on_window
        self._embedder = embedder
        self._catalog = catalog
        self._folder = vectors_dir(settings, embedder.spec.name, embedder.spec.digest)
        self._pool = ThreadPoolExecutor(settings.workers, thread_name_prefix="decode")

    def __enter__(self) -> PartitionWorker:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def run_partition(self, task: Sequence[Pending]) -> list[LedgerRow]:
        """Encode the contents of `task`, write their file, then record them; the rows that were recorded."""
        spec = self._embedder.spec
        with self._stages.timed("read"):
            found = self._catalog.get([p.content_id for p in task])
        present = [p for p in task if p.content_id in found]
        items = [found[p.content_id] for p in present]
        reasons, matrix, tokens = self._encode(items)
        name = partition_name([p for p, reason in zip(present, reasons, strict=True) if reason is None])
        with self._stages.timed("write"):
            good = [item for item, reason in zip(items, reasons, strict=True) if reason is None]
            self._write(name, good, matrix, tokens)
        rows = [
            LedgerRow(p.content_id, p.fingerprint, None if reason else name, reason)
            for p, reason in zip(present, reasons, strict=True)
        ]
        with self._stages.timed("record"):
            self._catalog.record(spec.name, spec.digest, rows)
        return rows

    def _encode(self, items: Sequence[CatalogItem]) -> tuple[list[str | None], Matrix, Tokens | None]:
        """Per item None or why it failed; of the others in order the vectors, and the tokens where the spec has any."""
        spec = self._embedder.spec
        reasons: list[str | None] = []
        blocks = [np.empty((0, spec.dim), np.float32)]
        tokens = [np.empty((0, spec.tokens, spec.token_dim), np.float32)]
        for window in self._decoded(items):
            reasons += [str(outcome) if isinstance(outcome, MediaError) else None for outcome in window]
            good = [outcome for outcome in window if not isinstance(outcome, MediaError)]
            if good:
                with self._stages.timed("encode"):
                    if spec.tokens:
                        block, states = self._embedder.encode_tokens(good)
                        tokens.append(states)
                    else:
                        block = self._embedder.encode(good)
                    blocks.append(block)
            self._on_window(len(window))
        return reasons, np.concatenate(blocks), np.concatenate(tokens) if spec.tokens else None

    def _decoded(self, items: Sequence[CatalogItem]) -> Iterator[list[Outcome]]:
        """Windows of decoded items in order; the workers are at most `_AHEAD` windows ahead."""
        size = self._embedder.window
        ahead: deque[list[Future[Outcome]]] = deque()
        starts = iter(range(0, len(items), size))
        while True:
            while len(ahead) <= _AHEAD and (start := next(starts, None)) is not None:
                ahead.append([self._pool.submit(self._decode, item) for item in items[start : start + size]])
            if not ahead:
                return
            with self._stages.timed("decode"):
                window = [future.result() for future in ahead.popleft()]
            yield window

    def _decode(self, item: CatalogItem) -> Outcome:
        try:
            return self._embedder.decode(item)
        except MediaError as error:
            return error

    def _write(self, name: str, items: Sequence[CatalogItem], matrix: Matrix, tokens: Tokens | None) -> None:
        if not items:
            return
        spec = self._embedder.spec
        write_partition(
            self._folder / f"{name}.parquet",
            spec.name,
            [item.content.content_id for item in items],
            [item.content.published_at for item in items],
            [changed_at(item, spec.modality) for item in items],
            matrix,
            tokens,
        )


def run(
    name: str,
    settings: Settings,
    catalog: Catalog,
    on_progress: Progress | None = None,
    retry_failed: bool = False,
) -> RunReport:
    """Bring the vectors of one embedding up to date; with nothing to do, no model is loaded.

    `on_progress(done, total)` is called after each window of contents. Raises ConfigurationError,
    WeightsError, and UnavailableError while another run has this embedding.
    """
    stages = Stages()
    spec = resolve_spec(name, settings)
    folder = vectors_dir(settings, spec.name, spec.digest)
    failed: Counter[str] = Counter()
    encoded = 0
    with _only_run(folder):
        with stages.timed("plan"):
            catalog.refresh_media()
            partitions = _remove_orphans(folder, catalog, spec)
            todo = plan(catalog.items(), catalog.ledger(spec.name, spec.digest), partitions, spec, retry_failed)
        with stages.timed("load"):
            embedder = load_embedder(name, settings) if todo.pending else None
        catalog.register_embedding(spec)
        start = time.perf_counter()
        if embedder:
            tell = _counting(on_progress, len(todo.pending))
            with PartitionWorker(embedder, settings, catalog, stages, tell) as worker:
                for task in _tasks(todo.pending, settings.partition_size):
                    rows = worker.run_partition(task)
                    failed.update(_kind(row.reason) for row in rows if row.reason is not None)
                    encoded += sum(row.partition is not None for row in rows)
            _remove_orphans(folder, catalog, spec)
        rate = encoded / (time.perf_counter() - start)
    return RunReport(name, encoded, todo.fresh, todo.failed, dict(failed), stages.seconds, rate)


def _counting(on_progress: Progress | None, total: int) -> Callable[[int], None]:
    """Sums what it is told and passes the sum on beside `total`."""
    done = 0

    def tell(count: int) -> None:
        nonlocal done
        done += count
        if on_progress:
            on_progress(done, total)

    return tell


def partition_name(pending: Sequence[Pending]) -> str:
    """Name of the file of these vectors, from what they were made of."""
    return digest(*(part for p in pending for part in (p.content_id, p.fingerprint)))


def _tasks(pending: Sequence[Pending], size: int) -> Iterator[Sequence[Pending]]:
    for start in range(0, len(pending), size):
        yield pending[start : start + size]


def _kind(reason: str) -> str:
    """What failed, without the particulars after the colon."""
    return reason.partition(":")[0]


def _remove_orphans(folder: Path, catalog: Catalog, spec: EmbeddingSpec) -> set[str]:
    """Remove files that no ledger row names (a killed run's, or outdated); the names of the partitions left."""
    sweep(folder)
    named = {row.partition for row in catalog.ledger(spec.name, spec.digest).values()}
    for path in folder.glob("*.parquet"):
        if path.stem not in named:
            path.unlink()
    return {path.stem for path in folder.glob("*.parquet")}


@contextmanager
def _only_run(folder: Path) -> Iterator[None]:
    """Hold the embedding's lock: another run's fresh file would look like an orphan to this one."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / f".{folder.name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UnavailableError(f"another run is writing {folder}; wait for it to end") from error
        yield
