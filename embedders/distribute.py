"""The same partitions on a Ray cluster: actors encode them and write their files, this process plans and records.

Nothing is lost and nothing counted twice when a node dies: rows are recorded only once their file is in place, what
an actor took with it is handed to another, and a file's name says what is in it, so doing it again changes nothing.
The workspace and the media lie on a file system that all nodes share, under the same paths, and Larder is installed
on each node. Actors do not write to the catalog, so it may be SQLite.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, cast

from embedders.pipeline import Stages, Task
from embedders.runner import PartitionWorker
from embedders.specs import resolve_spec
from feature_repo.catalog import Catalog
from feature_repo.catalog_rows import CatalogItem, LedgerRow
from feature_repo.contracts import EmbeddingSpec
from feature_repo.errors import ConfigurationError, LarderError, UnavailableError
from feature_repo.settings import Settings

_AHEAD = 2  # partitions that an actor has: the one that it works on, and the next
_LIVES = 4  # actors that one partition may bring down, or that may fail to start in a row
_PATIENCE_S = 120.0  # for the first actor to start where the cluster is busy
_LOOK_S = 1.0  # how often to see whether nodes have come or gone

logger = logging.getLogger(__name__)

Answer = tuple[list[LedgerRow], dict[str, float]]


class RayEngine:
    """Runs partitions on the cluster at `address`; empty: `RAY_ADDRESS`, a cluster that runs here, or one of its own.

    An actor takes a CPU, or a GPU where the cluster has any and the settings do not say `cpu`.
    """

    def __init__(self, address: str = "") -> None:
        self._address = address

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
        """Rows of the partitions as they are recorded, in whatever order they are done; stages sum over all actors.

        `total` is how many contents the tasks have together. Raises ConfigurationError without Ray, UnavailableError
        where the cluster does not answer or keeps losing actors, and what an embedder raises.
        """
        spec = resolve_spec(name, settings)
        with _connected(self._address) as ray, _Fleet(ray, spec, settings, catalog, stages) as fleet:
            for rows in fleet.run(iter(tasks), -(-total // settings.partition_size)):
                on_window(len(rows))
                yield rows


class _Actor:
    """What lives on a node: an embedder, loaded once."""

    def __init__(self, name: str, settings: Settings) -> None:
        self._name = name
        self._settings = settings

    def start(self, sample: Sequence[CatalogItem]) -> None:
        """Load the embedder; apart from the constructor, whose errors Ray does not hand on as they are."""
        folder = self._settings.embeddings_dir / self._name
        if not folder.is_dir():
            raise ConfigurationError(
                f"node {os.uname().nodename} does not see {folder}: put LARDER_HOME on a file system that all nodes "
                "share, under the same path"
            )
        from embedders.precision import load_settled  # torch, which the driver does without

        self._stages = Stages()
        self._handed = _Handed()  # a partition asks no more of a catalog
        lanes = load_settled(self._name, self._settings, sample)
        self._worker = PartitionWorker(lanes, self._settings, cast(Catalog, self._handed), self._stages)

    def run_partition(self, task: Task, items: Mapping[str, CatalogItem]) -> Answer:
        """Encode a partition and write its file; the rows to record, and the seconds that it took by stage."""
        self._stages.seconds.clear()
        self._handed.items = items
        return self._worker.run_partition(task), dict(self._stages.seconds)


@dataclass(slots=True)
class _Handed:
    """The catalog as a partition needs it: its contents came with it, its rows go back with the answer."""

    items: Mapping[str, CatalogItem] = field(default_factory=dict)

    def get(self, content_ids: Sequence[str]) -> dict[str, CatalogItem]:
        """The contents of the partition."""
        return {content_id: self.items[content_id] for content_id in content_ids if content_id in self.items}

    def record(self, embedding: str, spec_digest: str, rows: Sequence[LedgerRow]) -> None:
        """Left to the driver."""


@dataclass(eq=False, slots=True)
class _Job:
    task: Task
    lives: int = _LIVES


@dataclass(eq=False, slots=True)
class _Member:
    """An actor, and the jobs that it has by the reference of their answer."""

    actor: Any
    starting: Any
    jobs: dict[Any, _Job] = field(default_factory=dict)

    @property
    def ready(self) -> bool:
        return self.starting is None


class _Fleet:
    """As many actors as the cluster has room for and the work needs; one that dies is replaced."""

    def __init__(self, ray: Any, spec: EmbeddingSpec, settings: Settings, catalog: Catalog, stages: Stages) -> None:
        self._ray = ray
        self._spec, self._settings, self._catalog, self._stages = spec, settings, catalog, stages
        self._members: list[_Member] = []
        self._line: deque[_Job] = deque()
        self._sample: list[CatalogItem] = []
        self._false_starts = 0

    def __enter__(self) -> _Fleet:
        return self

    def __exit__(self, *_: object) -> None:
        for member in list(self._members):
            self._dismiss(member)

    def run(self, tasks: Iterator[Task], count: int) -> Iterator[list[LedgerRow]]:
        """Rows of each of the `count` tasks, recorded. Tasks are asked for as there is room for them."""
        heard = time.monotonic()
        if self._queue(tasks):
            self._sample = list(self._items_of(self._line[0]).values())
        while self._queue(tasks) or any(member.jobs for member in self._members):
            self._recruit(count)
            self._hand_out(tasks)
            waited = [ref for m in self._members for ref in (m.jobs if m.ready else [m.starting])]
            for ref in self._ray.wait(waited, timeout=_LOOK_S)[0] if waited else ():
                heard = time.monotonic()
                rows = self._take(ref)
                if rows is not None:
                    count -= 1
                    yield rows
            if not any(member.ready for member in self._members):
                self._require_patience(heard)

    def _queue(self, tasks: Iterator[Task]) -> bool:
        """Whether a job is in line; one that was lost with its actor comes before new ones."""
        if not self._line and (task := next(tasks, None)) is not None:
            self._line.append(_Job(task))
        return bool(self._line)

    def _recruit(self, work: int) -> None:
        """Ask for an actor for each free place, no more than there are partitions to do."""
        room = self._ray.cluster_resources()
        gpus = int(room.get("GPU", 0)) if self._settings.device != "cpu" else 0
        each = {"num_gpus": 1, "num_cpus": 0} if gpus else {"num_cpus": 1}
        settings = self._settings if gpus else self._settings.model_copy(update={"workers": 1})
        kind = self._ray.remote(_Actor).options(max_restarts=0, max_task_retries=0, **each)
        for _ in range(min(gpus or int(room.get("CPU", 0)), work) - len(self._members)):
            actor = kind.remote(self._spec.name, settings)
            self._members.append(_Member(actor, actor.start.remote(self._sample)))

    def _hand_out(self, tasks: Iterator[Task]) -> None:
        """Fill up the actors' hands."""
        for member in self._members:
            while member.ready and len(member.jobs) < _AHEAD and self._queue(tasks):
                job = self._line.popleft()
                member.jobs[member.actor.run_partition.remote(job.task, self._items_of(job))] = job

    def _items_of(self, job: _Job) -> dict[str, CatalogItem]:
        with self._stages.timed("read"):
            return self._catalog.get([pending.content_id for pending in job.task])

    def _require_patience(self, heard: float) -> None:
        if time.monotonic() - heard > _PATIENCE_S:
            raise UnavailableError(
                f"the Ray cluster started no actor in {_PATIENCE_S:.0f} s: it has no free CPU or GPU, see `ray status`"
            )
        if not self._members:  # no node is there at the moment
            time.sleep(_LOOK_S)

    def _take(self, ref: Any) -> list[LedgerRow] | None:
        """The rows that an actor answers, recorded; None where it has only started, or was lost."""
        member = next((m for m in self._members if ref == m.starting or ref in m.jobs), None)
        if member is None:  # lost with its actor a moment ago, and in line again
            return None
        try:
            answer: Answer | None = self._ray.get(ref)
        except self._ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, LarderError):
                raise error.cause from None  # what Ray adds is where it came from, many lines of it
            raise
        except self._ray.exceptions.RayError as error:
            self._lose(member, error)
            return None
        self._false_starts = 0
        if answer is None:
            member.starting = None
            return None
        del member.jobs[ref]
        return self._record(*answer)

    def _record(self, rows: list[LedgerRow], seconds: Mapping[str, float]) -> list[LedgerRow]:
        for stage, spent in seconds.items():
            self._stages.seconds[stage] = self._stages.seconds.get(stage, 0.0) + spent
        with self._stages.timed("record"):
            self._catalog.record(self._spec.name, self._spec.digest, rows)
        return rows

    def _lose(self, member: _Member, error: Exception) -> None:
        """Put what an actor had back in line, the first of it with one life less: that is what it worked on."""
        logger.warning("an actor was lost: %s", error)
        self._dismiss(member)
        self._false_starts += not member.ready
        for position, job in enumerate(member.jobs.values()):
            job.lives -= position == 0
        if self._false_starts >= _LIVES or any(not job.lives for job in member.jobs.values()):
            raise UnavailableError(f"{_LIVES} actors in a row were lost over the same work: {error}") from error
        self._line.extendleft(reversed(member.jobs.values()))

    def _dismiss(self, member: _Member) -> None:
        self._members.remove(member)
        with contextlib.suppress(self._ray.exceptions.RayError):
            self._ray.kill(member.actor)


@contextmanager
def _connected(address: str) -> Iterator[Any]:
    """Ray, connected; left as it was found. Raises ConfigurationError, UnavailableError.

    What Ray has to say of nodes that die it prints; standard output is for results, so that goes to standard error.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is told to anyone unless it is asked for
    try:
        import ray
    except ImportError as error:
        raise ConfigurationError("engine ray needs Ray: pip install -e '.[ray]', on every node") from error
    if ray.is_initialized():
        yield ray
        return
    with contextlib.redirect_stdout(sys.stderr):
        try:
            ray.init(address=address or None, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise UnavailableError(f"no Ray cluster answers at {address or 'RAY_ADDRESS'}: {error}") from error
        try:
            yield ray
        finally:
            ray.shutdown()
