"""Every step in a row, then a server of its own, asked through the client, and a report."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np

from feature_repo.contracts import Modality
from feature_repo.errors import NotFoundError, StateError, UnavailableError
from grpc_api.client import Scorer
from grpc_api.messages.predict import Prediction
from grpc_api.messages.similar import Similarities
from larder import show, steps
from larder.report import Latency, Neighbours, ReportData, write_report
from predictors.config import TrainConfig

T = TypeVar("T")

PREDICTOR = "popularity"
CANDIDATES = 100  # contents a timed Predict names
SHEET_ROWS = 6  # queries on the contact sheet
SHEET_COLUMNS = 8  # neighbours of each
START_S = 120.0
STOP_S = 30.0


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """What the demo runs on and where its report goes."""

    dataset: str
    path: Path | None
    contents: int
    users: int
    seed: int
    report: Path
    calls: int


@dataclass(slots=True)
class _Clock:
    """Seconds of each stage, in order."""

    seconds: dict[str, float] = field(default_factory=dict)

    def time(self, stage: str, run: Callable[[], T]) -> T:
        """Run and time one stage."""
        start = time.perf_counter()
        result = run()
        self.seconds[stage] = time.perf_counter() - start
        return result


def run(space: steps.Workspace, options: DemoOptions) -> None:
    """The main job from files to answers. Raises what its steps raise; the server is stopped in any case."""
    clock = _Clock()
    data = _prepare(space, options, clock)
    with _server(space, clock) as scorer:
        data.release = scorer.describe().release
        ids = _sample(space, options.seed)
        predictions = scorer.predict(ids, PREDICTOR)
        titles = space.catalog.titles(ids)
        _print_predictions(space, predictions, titles)
        data.predictions = [(titles[p.content_id], p) for p in predictions]
        data.sheet = list(_sheet(space, scorer, options.seed))
        _print_neighbours(space, data.sheet)
        data.latencies = clock.time("timed calls", lambda: _latencies(scorer, ids, options.calls))
    rows = [(x.what, x.calls, x.p50_ms, x.p99_ms) for x in data.latencies]
    space.display.table("milliseconds, through gRPC, server in a process of its own", ("call", "n", "p50", "p99"), rows)
    data.seconds = clock.seconds
    write_report(space, data, options.report)
    space.display.table("seconds a stage", ("stage", "s"), list(clock.seconds.items()))
    space.display.note(f"report: {options.report}")
    space.display.note(f"go on by hand:\n  export LARDER_HOME={space.settings.home}\n  larder status\n  larder serve")


def _prepare(space: steps.Workspace, options: DemoOptions, clock: _Clock) -> ReportData:
    size: dict[str, object] = {}
    if options.dataset == "synthetic":
        size = {"contents": options.contents, "users": options.users, "seed": options.seed}
    ingested = clock.time("ingest", lambda: steps.ingest(space, options.dataset, options.path, **size))
    show.ingest(space.display, ingested, as_json=False)
    embedded = [clock.time(f"embed {n}", lambda n=n: steps.embed(space, n)) for n in space.settings.embeddings]  # type: ignore[misc]
    show.embed(space.display, embedded, (), as_json=False)
    clock.time("apply", lambda: steps.apply(space))
    clock.time("materialize", lambda: steps.materialize(space))
    indexed = [clock.time(f"index {n}", lambda n=n: steps.index(space, n)) for n in space.settings.embeddings]  # type: ignore[misc]
    show.index(space.display, indexed, as_json=False)
    trained = clock.time("train", lambda: steps.train(space, PREDICTOR, TrainConfig(seed=options.seed)))
    show.train(space.display, trained, as_json=False)
    clock.time("release", lambda: steps.release(space, [PREDICTOR]))
    return ReportData(options.dataset, ingested, embedded, indexed, trained)


@contextmanager
def _server(space: steps.Workspace, clock: _Clock) -> Iterator[Scorer]:
    """`larder serve` as a process of its own on a free port; stopped by SIGTERM, which must end it cleanly."""
    with tempfile.TemporaryDirectory() as folder:
        port_file = Path(folder) / "port"
        log = Path(folder) / "log"
        command = [sys.executable, "-m", "larder", "serve", "--port", "0", "--port-file", str(port_file)]
        environment = {**os.environ, "LARDER_HOME": str(space.settings.home)}
        with log.open("w") as output, subprocess.Popen(command, env=environment, stderr=output) as process:
            try:
                port = clock.time("server start", lambda: _await_port(process, port_file, log))
                with Scorer.of(space.settings, f"{space.settings.host}:{port}") as scorer:
                    yield scorer
            finally:
                process.send_signal(signal.SIGTERM)
                try:
                    code = process.wait(STOP_S)
                except subprocess.TimeoutExpired:
                    process.kill()
                    raise
        if code:
            raise StateError(f"the server ended with {code}: {log.read_text()[-2000:]}")


def _await_port(process: subprocess.Popen[bytes], port_file: Path, log: Path) -> int:
    deadline = time.monotonic() + START_S
    while not port_file.exists():
        if process.poll() is not None:
            raise UnavailableError(f"the server did not start: {log.read_text()[-2000:]}")
        if time.monotonic() > deadline:
            raise UnavailableError(f"the server was not ready in {START_S:.0f} s")
        time.sleep(0.05)
    return int(port_file.read_text())


def _sample(space: steps.Workspace, seed: int) -> list[str]:
    """Candidates for the timed calls: a seeded choice of the catalog."""
    ids = [item.content.content_id for item in space.catalog.items()]
    return random.Random(seed).sample(ids, min(CANDIDATES, len(ids)))


def _sheet(space: steps.Workspace, scorer: Scorer, seed: int) -> Iterator[Neighbours]:
    """Neighbours by every embedding for half the most engaging contents with a picture, half a seeded choice."""
    pictured = [item for item in space.catalog.items() if Modality.IMAGE in item.media]
    pictured.sort(key=lambda item: (-sum(item.content.counters.values()), item.content.content_id))
    half = SHEET_ROWS // 2
    rest = pictured[half:]
    chosen = pictured[:half] + random.Random(seed).sample(rest, min(SHEET_ROWS - half, len(rest)))
    for item in chosen:
        content = item.content
        by: dict[str, Similarities] = {}
        for embedding in space.settings.embeddings:
            with suppress(NotFoundError):  # broken media has no vector
                by[embedding] = scorer.similar(content_id=content.content_id, embedding=embedding, k=SHEET_COLUMNS)
        yield Neighbours(content.content_id, content.title, by)


def _latencies(scorer: Scorer, ids: Sequence[str], calls: int) -> list[Latency]:
    def timed(what: str, call: Callable[[int], object]) -> Latency:
        spent = np.empty(calls)
        for number in range(-10, calls):
            start = time.perf_counter()
            call(number)
            if number >= 0:
                spent[number] = (time.perf_counter() - start) * 1000
        p50, p99 = np.percentile(spent, [50, 99])
        return Latency(what, calls, float(p50), float(p99))

    return [
        timed("Predict, 1 content", lambda n: scorer.predict_columns([ids[n % len(ids)]], [PREDICTOR])),
        timed(f"Predict, {len(ids)} contents", lambda n: scorer.predict_columns(ids, [PREDICTOR])),
        timed("Similar to a content, k=10", lambda n: scorer.similar(content_id=ids[n % len(ids)])),
    ]


def _print_predictions(space: steps.Workspace, rows: Sequence[Prediction], titles: dict[str, str]) -> None:
    best = sorted(rows, key=lambda row: -row.score)
    table = [(titles[r.content_id], r.score, r.predicted_class) for r in (*best[:5], *best[-3:])]
    space.display.table(f"popularity of {len(rows)} contents, highest and lowest", ("title", "score", "class"), table)


def _print_neighbours(space: steps.Workspace, sheet: Sequence[Neighbours]) -> None:
    rows = [
        (row.title, embedding, "; ".join(n.title for n in found.neighbours[:3]))
        for row in sheet[:3]
        for embedding, found in row.by.items()
    ]
    space.display.table("nearest contents", ("of", "by", "are"), rows)
