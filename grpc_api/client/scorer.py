"""The client for threads."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, TypeVar, Unpack

import grpc
from grpc_health.v1 import health_pb2

from feature_repo.contracts import Event
from feature_repo.errors import LarderError
from grpc_api.client import codec
from grpc_api.client.base import Client
from grpc_api.client.batches import Steps
from grpc_api.client.codec import Ask, SimilarOptions
from grpc_api.client.retry import Tries
from grpc_api.errors import from_status
from grpc_api.interactions.sending import STREAM_S, send
from grpc_api.messages.describe import Description
from grpc_api.messages.events import Acknowledged
from grpc_api.messages.explain import DEFAULT_TOP, Explanation
from grpc_api.messages.predict import Prediction, Predictions, PredictQuery, RawContent
from grpc_api.messages.recommend import Recommendations, RecommendQuery
from grpc_api.messages.similar import Similarities
from protos.larder.v1 import scoring_pb2 as pb

T = TypeVar("T")


class Scorer(Client):
    """A client that threads may share. Its errors are Larder's kinds."""

    _over = grpc

    def close(self) -> None:
        """Hang up."""
        for channel in self._channels:
            channel.close()

    def __enter__(self) -> Scorer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def predict(
        self, contents: Sequence[str], predictor: str = "popularity", user: str | None = None
    ) -> list[Prediction]:
        """One prediction a content, in order. Raises InputError, NotFoundError, UnavailableError."""
        found = self.predict_columns(contents, [predictor], user)
        return list(found[predictor].rows(found.content_ids))

    def predict_columns(
        self,
        contents: Sequence[str],
        predictors: Sequence[str] = ("popularity",),
        user: str | None = None,
        raw_contents: Sequence[RawContent] = (),
    ) -> Predictions:
        """What each of several predictors says, as columns, which cost less to read; raw contents come last.

        More candidates than one request may name are asked in parts, which are of one release.
        """
        query = PredictQuery(tuple(predictors), list(contents), tuple(raw_contents), user)
        return self._run(self._batches.predict(query))

    def predict_stream(self, queries: Iterable[PredictQuery]) -> Iterator[Predictions | LarderError]:
        """Answers in the order of the queries, which are read ahead on another thread. Nothing is tried again.

        The error of a query that is refused stands in its answer's place. Raises UnavailableError where the stream
        breaks. It has no deadline.
        """
        answers = self._stub().PredictStream(map(codec.streamed, queries), metadata=self._metadata())
        try:
            yield from map(codec.streamed_answer, answers)
        except grpc.RpcError as error:
            raise from_status(error, self.address) from error
        finally:
            answers.cancel()

    def similar(self, **options: Unpack[SimilarOptions]) -> Similarities:
        """Neighbours of the one query that is given. Raises InputError, NotFoundError, UnavailableError."""
        return self._ask(codec.similar(options))

    def recommend(self, query: RecommendQuery) -> Recommendations:
        """What to show a user, best first. Raises InputError, NotFoundError, UnavailableError."""
        return self._ask(codec.recommend(query))

    def explain(
        self, content: str, predictor: str = "popularity", user: str | None = None, top: int = DEFAULT_TOP
    ) -> Explanation:
        """What moved a content's score. Raises InputError, NotFoundError, UnavailableError."""
        return self._ask(codec.explain(content, predictor, user, top))

    def describe(self) -> Description:
        """What the server has loaded. Raises UnavailableError."""
        return self._ask(codec.describe())

    def ready(self, part: str = "") -> bool:
        """Whether the server, or a part of it ("store", "index/minilm", "predictor/popularity"), answers requests."""
        try:
            answer = self._health.Check(health_pb2.HealthCheckRequest(service=part), timeout=self.timeout)
        except grpc.RpcError:
            return False
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    def log(
        self,
        events: Iterable[Event],
        patience_s: float = 30.0,
        told: Callable[[Acknowledged], object] = lambda said: None,
    ) -> Acknowledged:
        """Tell what users did; all of it is durable and in their features when this returns. The sum of all answers.

        `told` hears of each answer. A broken stream is opened again, and goes on from the last acknowledgement; raises
        UnavailableError, OverloadedError or DeadlineError after `patience_s` seconds without one. Sending the same
        events again is always safe.
        """

        def open_stream(requests: Iterator[pb.LogInteractionRequest]) -> Any:
            return self._stub().LogInteraction(requests, timeout=STREAM_S, metadata=self._metadata())

        total = Acknowledged(0, 0, 0)
        for said in send(open_stream, events, self.address, patience_s):
            told(said)
            total = total.then(said)
        return total

    def _ask(self, ask: Ask[T], until: float | None = None) -> T:
        tries = Tries(self.address, until or time.monotonic() + self.timeout, self._budget)
        metadata = self._metadata(ask.request_id)
        while True:
            try:
                said = getattr(self._stub(), ask.method)(ask.request, timeout=tries.remaining_s, metadata=metadata)
            except grpc.RpcError as error:
                pause_s = tries.pause_after(error)
            else:
                self._budget.answered()
                return ask.read(said)
            time.sleep(pause_s)

    def _ask_all(self, asks: Sequence[Ask[Any]], until: float) -> list[Any]:
        if len(asks) == 1:
            return [self._ask(asks[0], until)]
        with ThreadPoolExecutor(len(self._channels)) as threads:
            return list(threads.map(lambda ask: self._ask(ask, until), asks))

    def _run(self, steps: Steps[T]) -> T:
        until = time.monotonic() + self.timeout
        try:
            step = next(steps)
            while True:
                time.sleep(step.pause_s)
                try:
                    answers = self._ask_all(step.asks, until)
                except LarderError as error:
                    step = steps.throw(error)
                else:
                    step = steps.send(answers)
        except StopIteration as done:
            found: T = done.value
            return found
