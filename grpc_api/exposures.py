"""Writes down what the arms of an experiment answer, off the way of the calls."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from feature_repo.exposures import SCHEMA
from feature_repo.files import replacing, sweep
from grpc_api.calls import Call
from grpc_api.variants import Chosen

log = logging.getLogger(__name__)

WAITING = 1000  # answers, at some 30 KB where 500 candidates were scored
CONTENTS = 100  # of an answer, the best: what is further down is not shown
TICK_S = 0.2  # the thread looks now and then, for to be woken by each call would cost the calls
SEGMENT_ROWS = 10_000
SEGMENT_S = 30.0


@dataclass(frozen=True, slots=True)
class Exposure:
    """What one predictor said in one answer; `scores` (n,) along `content_ids`, which are `ranked` or as asked for."""

    chosen: Chosen
    call: Call
    user_id: str | None
    predictor: str
    content_ids: Sequence[str]
    scores: npt.NDArray[np.float64]
    ranked: bool
    time: datetime = field(default_factory=lambda: datetime.now(UTC))

    def row(self) -> tuple[object, ...]:
        """As in `SCHEMA`, with the best contents that have a score."""
        order = np.arange(len(self.scores)) if self.ranked else np.argsort(-self.scores, kind="stable")
        best = order[np.isfinite(self.scores[order])][:CONTENTS]
        contents = [self.content_ids[row] for row in best.tolist()]
        method = self.call.method.rpartition("/")[2]
        chosen = self.chosen
        names = (chosen.experiment, chosen.variant, chosen.release.version, method, self.call.request_id)
        return (self.time, *names, self.user_id, self.predictor, contents, self.scores[best].tolist())


class ExposureLog:
    """Segments of exposures in a folder, each written whole; `tell` never waits, the rest happens on a thread.

    A process that is killed loses what it was told in the last half minute.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._waiting: deque[Exposure] = deque()
        self._rows: list[tuple[object, ...]] = []
        self._written = time.monotonic()
        self._closing = threading.Event()
        self._counting = threading.Lock()
        self.dropped = 0
        self._thread = threading.Thread(target=self._work, name="exposures", daemon=True)

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def tell(self, exposure: Exposure) -> None:
        """Keep an exposure; where too many wait it is dropped and counted."""
        if len(self._waiting) < WAITING:
            self._waiting.append(exposure)
        else:
            self._drop(1)

    def close(self) -> None:
        """Write what was told."""
        if self._thread.is_alive():
            self._closing.set()
            self._thread.join()

    def _drop(self, count: int) -> None:
        with self._counting:
            self.dropped += count

    # -- on the thread

    def _work(self) -> None:
        sweep(self._folder)
        while not self._closing.wait(TICK_S):
            self._gather()
            if len(self._rows) >= SEGMENT_ROWS or time.monotonic() - self._written >= SEGMENT_S:
                self._write()
        self._gather()
        self._write()

    def _gather(self) -> None:
        while self._waiting:
            self._rows.append(self._waiting.popleft().row())

    def _write(self) -> None:
        rows, self._rows, self._written = self._rows, [], time.monotonic()
        if not rows:
            return
        try:
            frame = pl.DataFrame(rows, schema=SCHEMA, orient="row")
            with replacing(self._folder / f"{time.time_ns()}-{os.getpid()}.parquet") as beside:
                frame.write_parquet(beside)
        except (OSError, pl.exceptions.PolarsError):
            log.exception("%d exposures could not be written", len(rows))
            self._drop(len(rows))
        if self.dropped:
            log.warning("%d exposures were dropped since the start", self.dropped)
