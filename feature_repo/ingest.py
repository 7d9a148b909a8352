"""A dataset into the workspace: contents and users to the catalog, events to the log, then the statistics."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from itertools import islice
from typing import TypeVar

from feature_repo.catalog import Catalog
from feature_repo.catalog_rows import UpsertCounts
from feature_repo.datasets.base import Dataset
from feature_repo.events import EventLog
from feature_repo.files import replacing, sweep
from feature_repo.settings import Settings
from feature_repo.statistics import write_statistics

BATCH = 1000

T = TypeVar("T")
Progress = Callable[[str, int], None]


@dataclass(slots=True)
class IngestReport:
    """What came in, what was refused and why."""

    dataset: str
    contents: UpsertCounts = field(default_factory=UpsertCounts)
    users: int = 0
    events: int = 0
    missing_media: dict[str, int] = field(default_factory=dict)
    rejected: int = 0
    rejected_by_reason: list[tuple[str, str, int]] = field(default_factory=list)
    rejects_file: str = ""


def ingest(settings: Settings, catalog: Catalog, dataset: Dataset, on_progress: Progress | None = None) -> IngestReport:
    """Read `dataset` once; doing it again adds nothing. `on_progress(step, count)` is told of every batch.

    Refused rows go to `<workspace>/rejects/<dataset>.jsonl`, each with its file, line and reason.
    """
    rejects_file = settings.home / "rejects" / f"{dataset.name}.jsonl"
    sweep(rejects_file.parent)
    with replacing(rejects_file) as beside, beside.open("w") as sink:
        dataset.rejects.sink = sink.write
        report = _read(settings, catalog, dataset, on_progress or (lambda step, count: None))
    report.missing_media = {modality.value: count for modality, count in dataset.missing_media.items()}
    report.rejected = dataset.rejects.total
    report.rejected_by_reason = [(file, kind, rows) for (file, kind), rows in dataset.rejects.by_reason().items()]
    report.rejects_file = str(rejects_file)
    return report


def _read(settings: Settings, catalog: Catalog, dataset: Dataset, tell: Progress) -> IngestReport:
    report = IngestReport(dataset.name)
    seen = 0
    for contents in _batches(dataset.contents()):
        counts = catalog.upsert_contents(contents, dataset.name)
        for name, value in asdict(counts).items():
            setattr(report.contents, name, getattr(report.contents, name) + value)
        seen += len(contents)
        tell("contents", seen)
    for users in _batches(dataset.users()):
        catalog.upsert_users(users)
        report.users += len(users)
        tell("users", report.users)
    for written in EventLog(settings.interactions_dir).append(dataset.interactions()):
        report.events = written
        tell("events", written)
    for done, _view in enumerate(write_statistics(settings, catalog), start=1):
        tell("feature views", done)
    return report


def _batches(rows: Iterable[T]) -> Iterator[list[T]]:
    source = iter(rows)
    while batch := list(islice(source, BATCH)):
        yield batch
