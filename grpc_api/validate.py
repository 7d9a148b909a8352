"""Whether a request can be answered at all; every refusal is an InputError that begins with the field's name."""

from __future__ import annotations

from collections.abc import Sequence
from math import isnan

import numpy as np
import numpy.typing as npt

from feature_repo.errors import InputError
from feature_repo.facts import NUMBER_FACTS, TEXT_FACTS
from grpc_api.messages.describe import Limits
from grpc_api.messages.explain import DEFAULT_TOP, ExplainQuery
from grpc_api.messages.filters import AnyOf, Filter, NoneOf, NumberRange
from grpc_api.messages.predict import PredictQuery, RawContent
from grpc_api.messages.recommend import RecommendQuery
from grpc_api.messages.similar import DEFAULT_K, ByContent, ByContents, ByImage, ByText, ByVector, Query, SimilarQuery

_MOST_FILTERS = 32  # each looks at every content
_LEAST_POOL = 200


def check_predict(request: PredictQuery, limits: Limits) -> None:
    """Raise InputError where a field is empty or too long."""
    if not request.predictors:
        raise InputError("predictors: is empty; Describe lists the predictors")
    if len(set(request.predictors)) < len(request.predictors):
        raise InputError("predictors: names one twice")
    count = len(request.content_ids)
    if not count and not request.raw_contents:
        raise InputError("content_ids: is empty; name the contents to score, or give raw ones")
    if count > limits.candidates:
        raise InputError(f"content_ids: {count} are more than the {limits.candidates} of one request; ask in parts")
    _each_filled("content_ids", request.content_ids)
    _check_user(request.user_id)
    if len(request.raw_contents) > limits.raw_contents:
        raise InputError(
            f"raw_contents: {len(request.raw_contents)} are more than the {limits.raw_contents} of one request; "
            "ask in parts"
        )
    for number, raw in enumerate(request.raw_contents):
        _check_raw(f"raw_contents[{number}]", raw, limits)


def _check_raw(field: str, raw: RawContent, limits: Limits) -> None:
    _filled(f"{field}.content_id", raw.content_id)
    for name, text in (("title", raw.title), ("description", raw.description)):
        if len(text) > limits.text_characters:
            raise InputError(f"{field}.{name}: {len(text)} characters are more than {limits.text_characters}")


def check_recommend(request: RecommendQuery, limits: Limits) -> tuple[int, int]:
    """How many contents it wants, and of how many candidates. Raises InputError where a field is empty or too large."""
    _filled("user_id", request.user_id)
    if request.k > limits.k:
        raise InputError(f"k: {request.k} is more than the {limits.k} contents of one request")
    if request.pool > limits.pool:
        raise InputError(f"pool: {request.pool} is more than the {limits.pool} candidates of one request")
    if not 0 <= request.diversity <= 1:
        raise InputError(f"diversity: {request.diversity} is not from 0 to 1")
    _check_filters(request.filters)
    k = request.k or DEFAULT_K
    return k, max(k, request.pool or min(max(10 * k, _LEAST_POOL), limits.pool))


def check_explain(request: ExplainQuery, limits: Limits) -> int:
    """How many contributions it wants. Raises InputError where a field is empty or too large."""
    _filled("predictor", request.predictor, "Describe lists the predictors")
    _filled("content_id", request.content_id)
    _check_user(request.user_id)
    if request.top > limits.k:
        raise InputError(f"top: {request.top} is more than the {limits.k} contributions of one request")
    return request.top or DEFAULT_TOP


def check_similar(request: SimilarQuery, limits: Limits) -> tuple[Query, int]:
    """The query and how many neighbours it wants. Raises InputError where a field is empty, too large or not finite."""
    if request.k > limits.k:
        raise InputError(f"k: {request.k} is more than the {limits.k} neighbours of one request")
    if request.query is None:
        raise InputError("query: give one of content_id, text, image, vector and contents")
    _check_embeddings(request.embeddings)
    _check_query(request.query, len(request.embeddings), limits)
    _check_filters(request.filters)
    return request.query, request.k or DEFAULT_K


def _check_query(query: Query, embeddings: int, limits: Limits) -> None:
    match query:
        case ByContent(content_id):
            _filled("content_id", content_id)
        case ByText(text):
            _filled("text", text.strip())
            if len(text) > limits.text_characters:
                raise InputError(f"text: {len(text)} characters are more than {limits.text_characters}")
        case ByImage(image):
            _filled("image", image)
        case ByVector(vector):
            _check_vector(vector)
            if embeddings != 1:
                raise InputError("embeddings: name the one embedding that the vector is of")
        case ByContents(content_ids):
            _filled("contents.ids", "".join(content_ids), "name contents")
            _each_filled("contents.ids", content_ids)
            if len(content_ids) > limits.candidates:
                raise InputError(f"contents.ids: {len(content_ids)} are more than {limits.candidates}")


def _check_embeddings(embeddings: Sequence[tuple[str, float]]) -> None:
    names = [name for name, _ in embeddings]
    for number, (name, weight) in enumerate(embeddings):
        _filled(f"embeddings[{number}].name", name, "Describe lists the embeddings")
        if not 0 < weight < float("inf"):
            raise InputError(f"embeddings[{number}].weight: {weight} is no number above 0")
    if len(set(names)) < len(names):
        raise InputError("embeddings: names one twice")


def _check_filters(filters: Sequence[Filter]) -> None:
    if len(filters) > _MOST_FILTERS:
        raise InputError(f"filters: {len(filters)} are more than the {_MOST_FILTERS} of one request")
    for number, one in enumerate(filters):
        _check_filter(f"filters[{number}]", one)


def _check_filter(field: str, one: Filter) -> None:
    if one.field not in TEXT_FACTS + NUMBER_FACTS:
        facts = ", ".join(TEXT_FACTS + NUMBER_FACTS)
        raise InputError(f"{field}.field: {one.field!r} is no fact of contents; there are: {facts}")
    match one.condition:
        case None:
            raise InputError(f"{field}: give one of any_of, none_of and range")
        case AnyOf(texts) | NoneOf(texts):
            if one.field not in TEXT_FACTS:
                raise InputError(f"{field}: {one.field} is a number; give a range")
            if not texts:
                raise InputError(f"{field}: names no texts to compare with; give some")
        case NumberRange(at_least, below):
            if one.field not in NUMBER_FACTS:
                raise InputError(f"{field}: {one.field} is a text; give any_of or none_of")
            if any(end is not None and isnan(end) for end in (at_least, below)):
                raise InputError(f"{field}.range: has an end that is no number")
            if at_least is not None and below is not None and at_least >= below:
                raise InputError(f"{field}.range: holds nothing, as {at_least:g} is not below {below:g}")


def _check_vector(vector: npt.NDArray[np.float32]) -> None:
    _filled("vector", vector.tobytes())
    if not np.isfinite(vector).all():
        raise InputError("vector: has values that are not finite")
    if not vector.any():
        raise InputError("vector: is all zeros, which is near nothing")


def check_dim(vector: npt.NDArray[np.float32], embedding: str, dim: int) -> None:
    """Raise InputError where the vector is not of the embedding's length."""
    given = len(vector)
    if given != dim:
        raise InputError(f"vector: has {given} values where {embedding!r} has {dim}")


def _check_user(user_id: str | None) -> None:
    if user_id == "":
        raise InputError("user_id: is empty; leave it out to score for no one in particular")


def _each_filled(field: str, values: Sequence[str]) -> None:
    if "" in values:
        raise InputError(f"{field}: number {values.index('')} is empty")


def _filled(field: str, value: str | bytes, mend: str = "give it a value") -> None:
    if not value:
        raise InputError(f"{field}: is empty; {mend}")
