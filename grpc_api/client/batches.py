"""More candidates than one request may name: asked in parts, all of one release, and joined in order.

What is to be asked is yielded and its answers are sent back, so that the clients share all of it but the waiting.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, TypeVar

import numpy as np

from feature_repo.errors import InputError, UnavailableError
from grpc_api.calls import new_id
from grpc_api.client import codec
from grpc_api.client.codec import Ask
from grpc_api.messages.describe import Limits
from grpc_api.messages.predict import Predictions, PredictorScores, PredictQuery
from protos.larder.v1 import scoring_pb2 as pb

ROUNDS = 7  # in which parts may come to be of one release: 1.3 s in all
FIRST_PAUSE_S = 0.02
_FRAME = 8  # bytes that a candidate takes in a message beside its own, at most

T = TypeVar("T")


class Step(NamedTuple):
    """To be asked at the same time, after a pause."""

    asks: Sequence[Ask[Any]]
    pause_s: float = 0.0


Steps = Generator[Step, list[Any], T]


class Batches:
    """Cuts Predict requests to what the server takes, which is learnt from Describe when a request is refused."""

    def __init__(self) -> None:
        self._limits: Limits | None = None

    def predict(self, query: PredictQuery) -> Steps[Predictions]:
        """All candidates' scores. Raises InputError, NotFoundError, UnavailableError."""
        request = codec.predict_request(query)
        parts = self._parts(request)
        while True:
            try:
                return (yield from _of_one_release(parts))
            except InputError:
                if len(request.content_ids) + len(request.raw_contents) < 2:
                    raise
                [found] = yield Step([codec.describe()])
                self._limits = found.limits
                finer = self._parts(request)
                if len(finer) <= len(parts):
                    raise
                parts = finer

    def _parts(self, request: pb.PredictRequest) -> list[pb.PredictRequest]:
        return [request] if self._limits is None else list(cut(request, self._limits))


def cut(request: pb.PredictRequest, limits: Limits) -> Iterator[pb.PredictRequest]:
    """Requests for the same candidates in order, within the limits except where one candidate alone is above them."""
    empty = _copy(request)
    empty.ClearField("content_ids")
    empty.ClearField("raw_contents")
    part, size = _copy(empty), empty.ByteSize()
    candidates: list[str | pb.RawContent] = [*request.content_ids, *request.raw_contents]
    for one in candidates:
        grown = size + _FRAME + (len(one.encode()) if isinstance(one, str) else one.ByteSize())
        ids, raws = len(part.content_ids), len(part.raw_contents)
        full = ids + raws == limits.candidates or (raws == limits.raw_contents and not isinstance(one, str))
        if ids + raws and (full or grown > limits.payload_bytes):
            yield part
            grown += empty.ByteSize() - size
            part = _copy(empty)
        if isinstance(one, str):
            part.content_ids.append(one)
        else:
            part.raw_contents.append(one)
        size = grown
    yield part


def _copy(request: pb.PredictRequest) -> pb.PredictRequest:
    copied = pb.PredictRequest()
    copied.CopyFrom(request)
    return copied


def join(parts: Sequence[Predictions]) -> Predictions:
    """The parts of one release as one answer."""
    if len(parts) == 1:
        return parts[0]
    starts = np.cumsum([0, *(len(part.content_ids) for part in parts[:-1])]).tolist()
    results = zip(*(part.results for part in parts), strict=True)
    return replace(
        parts[0],
        content_ids=[content_id for part in parts for content_id in part.content_ids],
        results=tuple(_join_scores(one, starts) for one in results),
    )


def _join_scores(parts: Sequence[PredictorScores], starts: Sequence[int]) -> PredictorScores:
    def column(name: str) -> Any:
        return np.concatenate([getattr(part, name) for part in parts])

    names = dict.fromkeys(name for part in parts for name in part.missing)
    nobody = np.empty(0, np.intp)
    missing = {
        name: np.concatenate(
            [part.missing.get(name, nobody) + start for part, start in zip(parts, starts, strict=True)]
        )
        for name in names
    }
    return replace(
        parts[0],
        statuses=column("statuses"),
        scores=column("scores"),
        probabilities=column("probabilities"),
        classes=column("classes"),
        missing=missing,
    )


def _of_one_release(parts: Sequence[pb.PredictRequest]) -> Steps[Predictions]:
    """Ask the parts, and again those whose release is not that of the latest answer."""
    # One id for all, so that outcomes are joined to one call, and arms that go by it are the same
    request_id = new_id() if len(parts) > 1 else ""
    asks = [Ask("Predict", part, codec.predictions, request_id) for part in parts]
    answers: list[Predictions] = yield Step(asks)
    latest = answers[-1]
    for number in range(ROUNDS):
        stale = [place for place, one in enumerate(answers) if _origin(one) != _origin(latest)]
        if not stale:
            return join(answers)
        again: list[Predictions] = yield Step([asks[place] for place in stale], FIRST_PAUSE_S * 2**number)
        for place, one in zip(stale, again, strict=True):
            answers[place] = one
        latest = again[-1]
    raise UnavailableError(
        "parts of the answer come from several releases: ask again once all workers have the new one"
    )


def _origin(one: Predictions) -> tuple[str, str]:
    return one.release, one.variant
