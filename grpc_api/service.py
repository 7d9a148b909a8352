"""The scoring service in plain Python: no network, no protobuf. It answers each request from one release."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from grpc_api import validate
from grpc_api.answers import describe, explain, predict, raw, recommend, similar
from grpc_api.answers.raw import RawLimits
from grpc_api.calls import Call
from grpc_api.exposures import Exposure, ExposureLog
from grpc_api.messages.describe import Description, Limits
from grpc_api.messages.explain import ExplainQuery, Explanation
from grpc_api.messages.predict import Predictions, PredictorScores, PredictQuery
from grpc_api.messages.recommend import Recommendations, RecommendQuery
from grpc_api.messages.similar import Similarities, SimilarQuery
from grpc_api.variants import Chosen, chosen
from predictors.loaded import LoadedRelease


class ScoringService:
    """Answers requests from a release, or from those of an experiment beside it, which `exposures` are told of.

    Thread-safe: each request reads `release` once and stays with it.
    """

    def __init__(
        self,
        release: LoadedRelease,
        limits: Limits,
        raw_limits: RawLimits | None = None,
        exposures: ExposureLog | None = None,
    ) -> None:
        self.release = release
        self.limits = limits
        self._exposures = exposures
        self._raw = raw.RawContents(raw_limits or RawLimits())

    def predict(self, query: PredictQuery, call: Call) -> Predictions:
        """Scores of all candidates.

        Raises InputError for a broken request, NotFoundError for an unknown predictor, DeadlineError.
        """
        validate.check_predict(query, self.limits)
        choice = chosen(self.release, query.user_id, call)
        release = choice.release
        results = predict.predict(release, query) if query.content_ids else ()
        if query.raw_contents:
            results = raw.beside(results, self._raw.predict(release, query, call))
        call.check()
        return self._predictions(query, call, choice, results)

    def predict_many(self, queries: Sequence[PredictQuery], calls: Sequence[Call]) -> list[Predictions]:
        """`predict` of contents of the store for several calls: queries for the same predictors are read and scored as
        one. Deadlines are not looked at. Raises what `predict` would for any of them.
        """
        for query in queries:
            validate.check_predict(query, self.limits)
        release = self.release
        choices = [chosen(release, query.user_id, call) for query, call in zip(queries, calls, strict=True)]
        alike: dict[tuple[str, tuple[str, ...]], list[int]] = {}
        for number, (query, choice) in enumerate(zip(queries, choices, strict=True)):
            alike.setdefault((choice.release.version, query.predictors), []).append(number)
        results: dict[int, tuple[PredictorScores, ...]] = {}
        for numbers in alike.values():
            asked = [queries[number] for number in numbers]
            results |= zip(numbers, predict.predict_many(choices[numbers[0]].release, asked, numbers), strict=True)
        return [
            self._predictions(*one, results[number])
            for number, one in enumerate(zip(queries, calls, choices, strict=True))
        ]

    def _predictions(
        self, query: PredictQuery, call: Call, choice: Chosen, results: tuple[PredictorScores, ...]
    ) -> Predictions:
        found = Predictions(choice.release.version, choice.variant, call.request_id, query.candidates, results)
        for one in results:
            self._expose(choice, call, query.user_id, one.predictor, found.content_ids, one.scores)
        return found

    def similar(self, query: SimilarQuery, call: Call) -> Similarities:
        """The nearest contents, nearest first.

        Raises InputError for a broken request, NotFoundError for an unknown embedding or content, DeadlineError.
        """
        asked, k = validate.check_similar(query, self.limits)
        release = self.release
        indexes, neighbours = similar.similar(release, query, asked, k, call)
        call.check()
        return Similarities(release.version, call.request_id, indexes, neighbours)

    def recommend(self, query: RecommendQuery, call: Call) -> Recommendations:
        """What to show a user, best first.

        Raises InputError for a broken request, NotFoundError for an unknown predictor or embedding, DeadlineError.
        """
        k, pool = validate.check_recommend(query, self.limits)
        choice = chosen(self.release, query.user_id, call)
        found = recommend.recommend(choice.release, query, k, pool, call)
        ids, scores = [one.content_id for one in found.contents], np.array([one.score for one in found.contents])
        self._expose(choice, call, query.user_id, found.predictor, ids, scores, ranked=True)
        return Recommendations(
            choice.release.version,
            choice.variant,
            call.request_id,
            found.predictor,
            found.version,
            found.embedding,
            found.contents,
            found.source,
        )

    def explain(self, query: ExplainQuery, call: Call) -> Explanation:
        """What moved one score.

        Raises InputError for a broken request, NotFoundError for an unknown predictor or content, DeadlineError.
        """
        top = validate.check_explain(query, self.limits)
        release, *_ = chosen(self.release, query.user_id, call)
        found = explain.explain(release, query, top, call)
        call.check()
        return Explanation(
            release.version,
            call.request_id,
            query.predictor,
            found.version,
            found.score,
            found.method,
            found.base,
            found.contributions,
            found.modalities,
        )

    def describe(self) -> Description:
        """What is loaded, each list by name."""
        return describe.describe(self.release, self.limits)

    def _expose(
        self,
        choice: Chosen,
        call: Call,
        user_id: str | None,
        predictor: str,
        content_ids: Sequence[str],
        scores: npt.NDArray[np.float64],
        *,
        ranked: bool = False,
    ) -> None:
        if choice.experiment and self._exposures is not None:
            self._exposures.tell(Exposure(choice, call, user_id, predictor, content_ids, scores, ranked))

    def probes(self) -> dict[str, Callable[[], object]]:
        """By part of the release, a cheap call that raises where the part does not answer."""
        return describe.probes(self.release)
