"""Explain: what moved one score."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from feature_repo.errors import InputError, NotFoundError
from grpc_api.answers.names import named
from grpc_api.answers.predict import predict
from grpc_api.calls import Call
from grpc_api.messages.explain import ExplainQuery
from grpc_api.messages.predict import PredictQuery, Status
from predictors.explanation import explain as explanations
from predictors.loaded import LoadedRelease


@dataclass(frozen=True, slots=True)
class Explained:
    """See `larder.v1.ExplainResponse`."""

    version: str
    score: float
    method: str
    base: float
    contributions: tuple[tuple[str, float], ...]
    modalities: dict[str, float]


def explain(release: LoadedRelease, query: ExplainQuery, top: int, call: Call) -> Explained:
    """The `top` contributions to the score of one content, and how much of all that moved it each modality did.

    Raises NotFoundError for an unknown predictor or content, InputError for a predictor that nothing explains,
    DeadlineError.
    """
    model = named("predictor", query.predictor, release.models)
    if model.predictor.name not in explanations.EXPLAINERS:
        raise InputError(f"predictor: {query.predictor!r} cannot be explained")
    [said] = predict(release, PredictQuery((query.predictor,), [query.content_id], user_id=query.user_id))
    if said.statuses[0] == Status.UNKNOWN_CONTENT:
        raise NotFoundError(f"content_id: the store has no content {query.content_id!r}")
    columns = release.store.read(model.predictor.service, [query.content_id], query.user_id)
    call.check()
    found = explanations.explain(model.predictor, columns)
    return Explained(
        version=model.predictor.version,
        score=float(said.scores[0]),
        method=found.method,
        base=float(found.base[0]),
        contributions=tuple((feature.name, value) for feature, value in found.top(0, top)),
        modalities=_shares({name: float(values[0]) for name, values in found.by_modality.items()}),
    )


def _shares(added: dict[str, float]) -> dict[str, float]:
    """What each modality moved, either way, as a share of what all of them did; empty where nothing moved."""
    total = float(np.abs(list(added.values())).sum())
    return {name: abs(value) / total for name, value in added.items()} if total else {}
