"""The client for an event loop: the same names, awaited."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Sequence
from dataclasses import asdict
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
from grpc_api.client.scorer import Scorer
from grpc_api.errors import from_status
from grpc_api.messages.describe import Description
from grpc_api.messages.events import Acknowledged
from grpc_api.messages.explain import DEFAULT_TOP, Explanation
from grpc_api.messages.predict import Prediction, Predictions, PredictQuery, RawContent
from grpc_api.messages.recommend import Recommendations, RecommendQuery
from grpc_api.messages.similar import Similarities
from protos.larder.v1 import scoring_pb2 as pb

T = TypeVar("T")


class AsyncScorer(Client):
    """A client for the event loop that it is made on. What its methods say and raise is as of `Scorer`'s."""

    _over = grpc.aio

    async def close(self) -> None:
        """Hang up."""
        await asyncio.gather(*(channel.close() for channel in self._channels))

    async def __aenter__(self) -> AsyncScorer:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def predict(
        self, contents: Sequence[str], predictor: str = "popularity", user: str | None = None
    ) -> list[Prediction]:
        """One prediction a content, in order."""
        found = await self.predict_columns(contents, [predictor], user)
        return list(found[predictor].rows(found.content_ids))

    async def predict_columns(
        self,
        contents: Sequence[str],
        predictors: Sequence[str] = ("popularity",),
        user: str | None = None,
        raw_contents: Sequence[RawContent] = (),
    ) -> Predictions:
        """What each of several predictors says, as columns; raw contents come last."""
        query = PredictQuery(tuple(predictors), list(contents), tuple(raw_contents), user)
        return await self._run(self._batches.predict(query))

    async def predict_stream(self, queries: AsyncIterable[PredictQuery]) -> AsyncIterator[Predictions | LarderError]:
        """Answers in the order of the queries, which are read ahead."""

        async def requests() -> AsyncIterator[pb.PredictStreamRequest]:
            async for query in queries:
                yield codec.streamed(query)

        answers = self._stub().PredictStream(requests(), metadata=self._metadata())
        try:
            async for said in answers:
                yield codec.streamed_answer(said)
        except grpc.RpcError as error:
            raise from_status(error, self.address) from error
        finally:
            answers.cancel()

    async def similar(self, **options: Unpack[SimilarOptions]) -> Similarities:
        """Neighbours of the one query that is given."""
        return await self._ask(codec.similar(options))

    async def recommend(self, query: RecommendQuery) -> Recommendations:
        """What to show a user, best first."""
        return await self._ask(codec.recommend(query))

    async def explain(
        self, content: str, predictor: str = "popularity", user: str | None = None, top: int = DEFAULT_TOP
    ) -> Explanation:
        """What moved a content's score."""
        return await self._ask(codec.explain(content, predictor, user, top))

    async def describe(self) -> Description:
        """What the server has loaded."""
        return await self._ask(codec.describe())

    async def ready(self, part: str = "") -> bool:
        """Whether the server, or a part of it, answers requests."""
        try:
            answer = await self._health.Check(health_pb2.HealthCheckRequest(service=part), timeout=self.timeout)
        except grpc.RpcError:
            return False
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    async def log(
        self,
        events: Iterable[Event],
        patience_s: float = 30.0,
        told: Callable[[Acknowledged], object] = lambda said: None,
    ) -> Acknowledged:
        """Tell what users did, from a thread, on a connection of its own. Cancelled, it goes on unheard."""

        def tell() -> Acknowledged:
            with Scorer(self.address, self.timeout, access=self.access, connections=1) as scorer:
                return scorer.with_options(**asdict(self._said)).log(events, patience_s, told)

        return await asyncio.to_thread(tell)

    async def _ask(self, ask: Ask[T], until: float | None = None) -> T:
        tries = Tries(self.address, until or time.monotonic() + self.timeout, self._budget)
        metadata = self._metadata(ask.request_id)
        while True:
            method = getattr(self._stub(), ask.method)
            try:
                said = await method(ask.request, timeout=tries.remaining_s, metadata=metadata)
            except grpc.RpcError as error:
                pause_s = tries.pause_after(error)
            else:
                self._budget.answered()
                return ask.read(said)
            await asyncio.sleep(pause_s)

    async def _ask_all(self, asks: Sequence[Ask[Any]], until: float) -> list[Any]:
        at_once = asyncio.Semaphore(len(self._channels))

        async def one(ask: Ask[Any]) -> Any:
            async with at_once:
                return await self._ask(ask, until)

        tasks = [asyncio.ensure_future(one(ask)) for ask in asks]
        try:
            return await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()

    async def _run(self, steps: Steps[T]) -> T:
        until = time.monotonic() + self.timeout
        try:
            step = next(steps)
            while True:
                await asyncio.sleep(step.pause_s)
                try:
                    answers = await self._ask_all(step.asks, until)
                except LarderError as error:
                    step = steps.throw(error)
                else:
                    step = steps.send(answers)
        except StopIteration as done:
            found: T = done.value
            return found
