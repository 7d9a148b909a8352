"""Whether a request can be answered at all; every refusal is an InputError that begins with the field's name."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from feature_repo.errors import InputError
from grpc_api.messages.describe import Limits
from grpc_api.messages.predict import PredictQuery
from grpc_api.messages.similar import DEFAULT_K, ByContent, ByContents, ByImage, ByText, ByVector, Query, SimilarQuery


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
    if "" in request.content_ids:
        raise InputError(f"content_ids: number {request.content_ids.index('')} is empty")
    if request.user_id == "":
        raise InputError("user_id: is empty; leave it out to score for no one in particular")


def check_similar(request: SimilarQuery, limits: Limits) -> tuple[Query, int]:
    """The query and how many neighbours it wants. Raises InputError where a field is empty, too large or not finite."""
    if request.k > limits.k:
        raise InputError(f"k: {request.k} is more than the {limits.k} neighbours of one request")
    match request.query:
        case None:
            raise InputError("query: give one of content_id, text, image, vector and contents")
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
            if len(request.embeddings) != 1:
                raise InputError("embeddings: name the one embedding that the vector is of")
        case ByContents(content_ids):
            _filled("contents", b"" if "" in content_ids else "".join(content_ids), "name contents")
    return request.query, request.k or DEFAULT_K


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


def _filled(field: str, value: str | bytes, mend: str = "give it a value") -> None:
    if not value:
        raise InputError(f"{field}: is empty; {mend}")
