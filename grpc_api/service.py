"""The scoring service in plain Python: no network, no protobuf. It answers each request from one release."""

from __future__ import annotations

from collections.abc import Callable

from grpc_api import validate
from grpc_api.answers import describe, predict, similar
from grpc_api.calls import Call
from grpc_api.messages.describe import Description, Limits
from grpc_api.messages.predict import Predictions, PredictQuery
from grpc_api.messages.similar import Similarities, SimilarQuery
from predictors.loaded import LoadedRelease


class ScoringService:
    """Answers requests from a release. Thread-safe: each request reads `release` once and stays with it."""

    def __init__(self, release: LoadedRelease, limits: Limits) -> None:
        self.release = release
        self.limits = limits

    def predict(self, query: PredictQuery, call: Call) -> Predictions:
        """Scores of all candidates.

        Raises InputError for a broken request, NotFoundError for an unknown predictor, DeadlineError.
        """
        validate.check_predict(query, self.limits)
        release = self.release
        results = predict.predict(release, query)
        call.check()
        return Predictions(release.version, "", call.request_id, query.candidates, results)

    def similar(self, query: SimilarQuery, call: Call) -> Similarities:
        """The nearest contents, nearest first.

        Raises InputError for a broken request, NotFoundError for an unknown embedding or content, DeadlineError.
        """
        asked, k = validate.check_similar(query, self.limits)
        release = self.release
        indexes, neighbours = similar.similar(release, query, asked, k)
        call.check()
        return Similarities(release.version, call.request_id, indexes, neighbours)

    def describe(self) -> Description:
        """What is loaded, each list by name."""
        return describe.describe(self.release, self.limits)

    def probes(self) -> dict[str, Callable[[], object]]:
        """By part of the release, a cheap call that raises where the part does not answer."""
        return describe.probes(self.release)
