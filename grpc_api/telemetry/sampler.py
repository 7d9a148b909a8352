"""Samples: what predictors read and said in a share of the calls, as Parquet, off the way of the calls.

The features are read again on a thread of the sampler's own, a moment after the call: a predictor whose contents are
prepared does not read them. Raw contents are not sampled. Segments, whole, are `samples/<predictor>/<version>/`.
"""

from __future__ import annotations

import logging
import os
import random
import threading
import time
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime
from queue import Empty, Full, Queue

import polars as pl

from feature_repo.files import replacing, sweep
from feature_repo.settings import Settings
from grpc_api.telemetry.record import Record, Said
from predictors import samples
from predictors.loaded import Model

log = logging.getLogger(__name__)

WAITING = 256  # calls
ROWS_A_CALL = 32  # taken at random: more of one call would say little more
SEGMENT_ROWS = 20_000
SEGMENT_S = 60.0

Key = tuple[str, str]
"""Predictor and version."""


@dataclass(slots=True)
class _Segment:
    """Rows that are not written yet, of one predictor's version."""

    began: float = field(default_factory=time.monotonic)
    parts: list[pl.DataFrame] = field(default_factory=list)

    @property
    def rows(self) -> int:
        return sum(part.height for part in self.parts)

    @property
    def due(self) -> bool:
        return self.rows >= SEGMENT_ROWS or time.monotonic() - self.began >= SEGMENT_S


class Sampler:
    """Keeps samples. `offer` never waits; the rest happens on a thread."""

    def __init__(self, settings: Settings) -> None:
        self._folder = settings.samples_dir
        self._days, self._bytes = settings.samples_days, settings.samples_mb * 2**20
        self._waiting: Queue[Record | None] = Queue(WAITING)
        self._open: dict[Key, _Segment] = defaultdict(_Segment)
        self._written = 0
        self._thread = threading.Thread(target=self._work, name="sampler", daemon=True)
        self._thread.start()

    def offer(self, record: Record) -> bool:
        """Keep what the call scored; False where too much waits and it is let go."""
        try:
            self._waiting.put_nowait(record)
        except Full:
            return False
        return True

    def close(self) -> None:
        """Write what was taken."""
        self._waiting.put(None)
        self._thread.join()

    # -- on the thread

    def _work(self) -> None:
        working = True
        while working:
            try:
                record = self._waiting.get(timeout=SEGMENT_S / 4)
                if record is None:
                    working = False
                else:
                    self._take(record)
            except Empty:
                pass
            except Exception:
                log.exception("a sample was not kept")
            self._write_due(everything=not working)

    def _take(self, record: Record) -> None:
        for said in record.said:
            picked = sorted(random.sample(range(len(said.content_ids)), min(ROWS_A_CALL, len(said.content_ids))))
            for scores in said.scores:
                model = said.release.models[scores.predictor]
                frame = _read(said, model, picked).with_columns(
                    pl.Series(samples.SCORE, scores.scores[picked], pl.Float64).fill_nan(None),
                    pl.Series("class", scores.classes[picked], pl.Int64),
                    time=pl.lit(datetime.now(UTC)),
                    request_id=pl.lit(record.call.request_id),
                    release=pl.lit(said.release.version),
                    variant=pl.lit(record.variant),
                )
                self._open[scores.predictor, scores.version].parts.append(frame)

    def _write_due(self, *, everything: bool) -> None:
        due = [key for key, segment in self._open.items() if everything or segment.due]
        for key in due:
            try:
                self._write(key, pl.concat(self._open.pop(key).parts))
            except (OSError, pl.exceptions.PolarsError):
                log.exception("samples of %s were not kept", key[0])
        if due:
            samples.prune(self._folder, self._days, self._bytes)

    def _write(self, key: Key, frame: pl.DataFrame) -> None:
        folder = self._folder.joinpath(*key)
        sweep(folder)
        self._written += 1
        with replacing(folder / f"{time.time_ns()}-{os.getpid()}-{self._written}.parquet", durable=False) as beside:
            frame.write_parquet(beside)


def _read(said: Said, model: Model, picked: list[int]) -> pl.DataFrame:
    """What the store says of these candidates of everything that the model was trained on."""
    ids = [said.content_ids[row] for row in picked]
    wanted = samples.wanted(model.predictor)
    columns = said.release.store.read(model.predictor.service, ids, said.user_id, wanted=wanted)
    return samples.frame_of(columns, model.predictor).with_columns(pl.Series(samples.CONTENT, ids, pl.String))
