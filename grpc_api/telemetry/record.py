"""What one call does: stages and counts are noted where they happen, and told once the call is over."""

from __future__ import annotations

from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from time import perf_counter
from typing import TYPE_CHECKING

import grpc
import numpy as np
from google.protobuf.message import Message

from grpc_api.calls import Call

if TYPE_CHECKING:
    from grpc_api.messages.predict import PredictorScores
    from predictors.loaded import LoadedRelease

_UNDER_WAY: ContextVar[tuple[Record, ...]] = ContextVar("_UNDER_WAY", default=())


@dataclass(frozen=True, slots=True)
class Said:
    """What predictors said of contents for a user; the arrays of `scores` are shared with the answer."""

    release: LoadedRelease
    content_ids: Sequence[str]
    user_id: str | None
    scores: Sequence[PredictorScores]


@dataclass(slots=True)
class Record:
    """One call to an RPC, from when it was received. `stages` are names with their begin and end.

    Times are seconds of `time.perf_counter`. `candidates` were to be scored, `unknown` of them are not in the store.
    `said` is kept where the call is `sampled`.
    """

    rpc: str
    call: Call
    sampled: bool = False
    began: float = field(default_factory=perf_counter)
    ended: float = 0.0
    code: grpc.StatusCode = grpc.StatusCode.OK
    stages: list[tuple[str, float, float]] = field(default_factory=list)
    candidates: int = 0
    unknown: int = 0
    missing: dict[str, int] = field(default_factory=dict)
    release: str = ""
    variant: str = ""
    said: list[Said] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """What the call took."""
        return self.ended - self.began

    def note_release(self, answer: Message) -> None:
        """The release and the variant that an answer names, and a stream's answer holds."""
        said = getattr(answer, "response", answer)
        self.release, self.variant = getattr(said, "release", ""), getattr(said, "variant", "")

    @property
    def stages_ms(self) -> dict[str, float]:
        """Milliseconds by stage."""
        spent: dict[str, float] = {}
        for name, start, end in self.stages:
            spent[name] = round(spent.get(name, 0.0) + 1e3 * (end - start), 3)
        return spent


class under_way:  # noqa: N801  # a context manager
    """The block is work on calls: what this thread notes in it belongs to them. They waited since `waited`, or else
    since they began. Where the work on several fails, nothing is noted: each is done again.
    """

    def __init__(self, *records: Record, waited: float | None = None) -> None:
        self._records, self._waited = records, waited

    def __enter__(self) -> None:
        self._token = _UNDER_WAY.set(self._records)
        now = perf_counter()
        for record in self._records:
            record.stages.append(("queue", record.began if self._waited is None else self._waited, now))

    def __exit__(self, error: object, *_: object) -> None:
        _UNDER_WAY.reset(self._token)
        if error is not None and len(self._records) > 1:
            for record in self._records:
                record.stages.clear()


class stage:  # noqa: N801  # a context manager; a class, since a generator costs three times as much
    """The block is a stage of the calls under way, if there are any: read, score, search, encode or serialise."""

    __slots__ = ("_name", "_start")

    def __init__(self, name: str) -> None:
        self._name = name

    def __enter__(self) -> None:
        self._start = perf_counter()

    def __exit__(self, *_: object) -> None:
        spent = self._name, self._start, perf_counter()
        for record in _UNDER_WAY.get():
            record.stages.append(spent)


def note_scores(
    release: LoadedRelease,
    content_ids: Sequence[str],
    user_id: str | None,
    scores: Sequence[PredictorScores],
    number: int,
) -> None:
    """Of the calls under way that with this number scored these contents of the store."""
    records = _UNDER_WAY.get()
    if not records or not scores:
        return
    record = records[number]
    record.candidates += len(content_ids)
    record.unknown += int(np.count_nonzero(scores[0].classes < 0))
    lacking = {name: len(rows) for one in scores for name, rows in one.missing.items()}  # of each embedding once
    for name, rows in lacking.items():
        record.missing[name] = record.missing.get(name, 0) + rows
    if record.sampled:
        record.said.append(Said(release, content_ids, user_id, scores))
