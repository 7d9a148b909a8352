"""Partitions through the stages, overlapped: contents are read and decoded ahead, also beyond their partition.

Each device has a lane, which encodes every n-th partition, maybe several windows of it at once. What the lanes finish
comes out in the order of the tasks, however many there are, so that it can be written and recorded in that order.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import cycle, islice
from queue import Empty, Queue
from threading import Event, Lock, Thread
from typing import Generic, TypeVar

import numpy as np

from embedders.base import Decoded, Embedder, Matrix, Tokens
from embedders.ledger import Pending
from feature_repo.catalog import Catalog
from feature_repo.catalog_rows import CatalogItem
from feature_repo.errors import MediaError

T = TypeVar("T")
R = TypeVar("R")

_AHEAD = 2  # windows decoded, or being decoded, while one is encoded

Outcome = Decoded | MediaError
Task = Sequence[Pending]


@dataclass(slots=True)
class Stages:
    """Seconds of each stage, over all threads.

    `read` and `decode` are what encoding waited for them, `encode` what it took itself; `write` and `record` are done
    beside it, in a thread of their own. `lanes` says how much is encoded at once.
    """

    seconds: dict[str, float] = field(default_factory=dict)
    lanes: int = 1
    _lock: Lock = field(default_factory=Lock)

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Add the time of the block to `stage`."""
        start = time.perf_counter()
        try:
            yield
        finally:
            spent = time.perf_counter() - start
            with self._lock:
                self.seconds[stage] = self.seconds.get(stage, 0.0) + spent

    def bottleneck(self) -> str | None:
        """The stage that holds the rate back: where a lane spent or waited most, or the writing if that took longer."""
        took = {stage: self.seconds.get(stage, 0.0) / self.lanes for stage in ("read", "decode", "encode")}
        took["write"] = self.seconds.get("write", 0.0) + self.seconds.get("record", 0.0)
        slowest = max(took, key=lambda stage: took[stage])
        return slowest if took[slowest] else None


@dataclass(slots=True)
class Encoded:
    """A partition as it comes out of a lane: per item of the task None or why it failed, of the others the vectors."""

    task: Task
    items: Sequence[CatalogItem]
    reasons: list[str | None] = field(default_factory=list)
    blocks: list[Matrix] = field(default_factory=list)
    tokens: list[Tokens] = field(default_factory=list)

    @property
    def good(self) -> list[int]:
        """Positions of the items that were encoded."""
        return [position for position, reason in enumerate(self.reasons) if reason is None]


@dataclass(frozen=True, slots=True)
class _Window:
    """What came of some contents of a partition: of each None or why it failed, and the vectors of the others."""

    reasons: list[str | None]
    block: Matrix | None = None
    tokens: Tokens | None = None


class Pipeline:
    """A lane for each of `embedders`, which are one embedder on several devices, of `at_once` windows each; they share
    the decoding threads.
    """

    def __init__(
        self,
        embedders: Sequence[Embedder],
        catalog: Catalog,
        workers: int,
        stages: Stages,
        on_window: Callable[[int], None] = lambda count: None,
        at_once: int = 1,
    ) -> None:
        self._embedders = embedders
        self._at_once = at_once
        self._catalog = catalog
        self._stages = stages
        self._on_window = on_window
        self._encoder = ThreadPoolExecutor(len(embedders) * at_once, thread_name_prefix="encode")
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="decode")
        self._reader = ThreadPoolExecutor(len(embedders), thread_name_prefix="read")
        self._stopped = Event()

    def close(self) -> None:
        """End the threads; what waits in line is not done."""
        self._stopped.set()
        for pool in (self._encoder, self._pool, self._reader):
            pool.shutdown(cancel_futures=True)

    def run(self, tasks: Iterable[Task]) -> Generator[Encoded]:
        """The tasks' partitions, encoded, in order; at most two a lane wait to be taken."""
        self._stopped.clear()
        shared = _Dealt(tasks, len(self._embedders))
        lanes = [_Lane(self._encoded(one, shared.hand(n))) for n, one in enumerate(self._embedders)]
        try:
            for lane in cycle(lanes):
                made = lane.take()
                if made is None:
                    return
                yield made
        finally:
            self._stopped.set()
            for lane in lanes:
                lane.close()

    def _encoded(self, embedder: Embedder, tasks: Iterable[Task]) -> Iterator[Encoded]:
        """What one lane does, in its thread."""
        decoding = self._ahead(self._windows(embedder, tasks), _AHEAD)
        encoding = ((partition, self._encoder.submit(self._encode, embedder, window)) for partition, window in decoding)
        for partition, future in self._ahead(encoding, self._at_once - 1):
            if self._stopped.is_set():
                return
            made = future.result()
            partition.reasons += made.reasons
            if made.block is not None:
                partition.blocks.append(made.block)
            if made.tokens is not None:
                partition.tokens.append(made.tokens)
            self._on_window(len(made.reasons))
            if len(partition.reasons) == len(partition.items):
                yield partition

    def _windows(self, embedder: Embedder, tasks: Iterable[Task]) -> Iterator[tuple[Encoded, list[Future[Outcome]]]]:
        """Every window of every task in order, being decoded from the moment that it is asked for."""
        for partition in self._read(tasks):
            for some in evenly(partition.items, embedder.window, self._at_once):
                yield partition, [self._pool.submit(_decode, embedder, item) for item in some]

    def _read(self, tasks: Iterable[Task]) -> Iterator[Encoded]:
        """The tasks with their contents, the next task being read while one is worked on."""
        for future in self._ahead((self._reader.submit(self._look_up, task) for task in tasks), 1):
            with self._stages.timed("read"):
                partition = future.result()
            yield partition

    def _look_up(self, task: Task) -> Encoded:
        found = self._catalog.get([pending.content_id for pending in task])
        present = [pending for pending in task if pending.content_id in found]
        return Encoded(present, [found[pending.content_id] for pending in present])

    @staticmethod
    def _ahead(source: Iterator[R], count: int) -> Iterator[R]:
        """`source`, taken from `count` steps before it is needed."""
        begun = deque(islice(source, count))
        for step in source:
            begun.append(step)
            yield begun.popleft()
        yield from begun

    def _encode(self, embedder: Embedder, window: Sequence[Future[Outcome]]) -> _Window:
        with self._stages.timed("decode"):
            outcomes = [future.result() for future in window]
        reasons = [str(outcome) if isinstance(outcome, MediaError) else None for outcome in outcomes]
        good = [outcome for outcome in outcomes if not isinstance(outcome, MediaError)]
        if not good:
            return _Window(reasons)
        with self._stages.timed("encode"):
            if embedder.spec.tokens:
                return _Window(reasons, *embedder.encode_tokens(good))
            return _Window(reasons, embedder.encode(good))


def evenly(items: Sequence[T], most: int, at_once: int) -> Iterator[Sequence[T]]:
    """As few parts of at most so many as hold all, of like size and as many for each of those that work `at_once`, so
    that all end together; an empty one of nothing.
    """
    rounds = max(1, -(-len(items) // (most * at_once)))
    parts = max(1, min(rounds * at_once, len(items)))
    for n in range(parts):
        yield items[n * len(items) // parts : (n + 1) * len(items) // parts]


def joined(partition: Encoded, embedder: Embedder) -> tuple[Matrix, Tokens | None]:
    """The vectors of a partition, (n, dim) float32, and its tokens, (n, K, D), where the spec has any."""
    spec = embedder.spec
    matrix = np.concatenate([np.empty((0, spec.dim), np.float32), *partition.blocks])
    if not spec.tokens:
        return matrix, None
    return matrix, np.concatenate([np.empty((0, spec.tokens, spec.token_dim), np.float32), *partition.tokens])


def _decode(embedder: Embedder, item: CatalogItem) -> Outcome:
    try:
        return embedder.decode(item)
    except MediaError as error:
        return error


class _Dealt(Generic[T]):
    """One iterator dealt out in turns to `count` hands, each in a thread of its own, as far as they ask."""

    def __init__(self, source: Iterable[T], count: int) -> None:
        self._source = iter(source)
        self._waiting: list[deque[T]] = [deque() for _ in range(count)]
        self._turn = cycle(range(count))
        self._lock = Lock()

    def hand(self, number: int) -> Iterator[T]:
        """Every `count`-th of the source, from `number` on."""
        mine = self._waiting[number]
        while True:
            with self._lock:
                while not mine:
                    try:
                        dealt = next(self._source)
                    except StopIteration:
                        return
                    self._waiting[next(self._turn)].append(dealt)
                taken = mine.popleft()
            yield taken


class _Lane:
    """A generator that runs in a thread of its own, one step ahead of who takes from it."""

    def __init__(self, source: Iterator[Encoded]) -> None:
        self._made: Queue[Encoded | BaseException | None] = Queue(maxsize=1)
        self._thread = Thread(target=self._work, args=(source,), name="encode", daemon=True)
        self._thread.start()

    def take(self) -> Encoded | None:
        """The next, None after the last. Raises what the generator raised."""
        made = self._made.get()
        if isinstance(made, BaseException):
            raise made
        return made

    def close(self) -> None:
        """Wait for the end of the thread, whose source has been told to stop; what it still makes is dropped."""
        while self._thread.is_alive():
            with suppress(Empty):
                self._made.get(timeout=0.02)
        self._thread.join()

    def _work(self, source: Iterator[Encoded]) -> None:
        try:
            for made in source:
                self._made.put(made)
            self._made.put(None)
        except BaseException as error:
            self._made.put(error)
