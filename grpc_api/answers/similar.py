"""Similar: the nearest contents to contents, a text, a picture or a vector."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from feature_repo.columns import Mask
from feature_repo.errors import InputError, MediaError, NotFoundError
from grpc_api import validate
from grpc_api.answers.blend import Part, blended
from grpc_api.answers.filters import along, meeting
from grpc_api.answers.names import named
from grpc_api.calls import Call
from grpc_api.messages.similar import (
    ByContent,
    ByContents,
    ByImage,
    ByText,
    ByVector,
    Query,
    SearchedIndex,
    SimilarQuery,
    TitledNeighbour,
)
from grpc_api.telemetry.record import stage
from predictors.loaded import LoadedRelease

_KIND = {ByContent: "content", ByContents: "content", ByText: "text", ByImage: "image", ByVector: "vector"}


def similar(
    release: LoadedRelease, query: SimilarQuery, asked: Query, k: int, call: Call
) -> tuple[tuple[SearchedIndex, ...], list[TitledNeighbour]]:
    """What was searched, and the nearest contents, nearest first: k of them wherever so many meet the filters.

    Raises InputError for a query that has no place in an embedding, NotFoundError for an unknown embedding or content,
    DeadlineError.
    """
    given = query.embeddings or ((_default(release, asked), 1.0),)
    total = sum(weight for _, weight in given)
    parts = [
        Part(named("embedding", name, release.indexes), weight / total, _vector(release, name, asked))
        for name, weight in given
    ]
    with stage("search"):
        found = blended(parts, k, _without(asked), _allowed(release, query), call)
    titles = release.facts.titles(content_id for content_id, _ in found)
    searched = tuple(SearchedIndex(p.name, p.index.manifest.version, p.weight) for p in parts)
    return searched, [TitledNeighbour(*one, title) for one, title in zip(found, titles, strict=True)]


def _allowed(release: LoadedRelease, query: SimilarQuery) -> Mapping[str, Mask] | None:
    """By index, which of its contents may be found; None: all of them."""
    if not query.filters:
        return None
    mask = meeting(release.facts, query.filters)
    return {name: along(release.facts, mask, name) for name in release.indexes}


def _ids(query: Query) -> tuple[str, ...]:
    """The contents that neighbours are asked of."""
    match query:
        case ByContent(content_id):
            return (content_id,)
        case ByContents(content_ids):
            return content_ids
    return ()


def _without(query: Query) -> tuple[str, ...]:
    """Contents that are not to be found."""
    return () if isinstance(query, ByContent | ByContents) and query.include_self else _ids(query)


def _default(release: LoadedRelease, query: Query) -> str:
    """The release's embedding for this kind of query; for contents that are not in its index, one that has them.

    Raises InputError where there is none.
    """
    kind = _KIND[type(query)]
    try:
        name = release.manifest.defaults[kind]
    except KeyError:
        raise InputError(f"embeddings: this release has none that is searched by {kind}") from None
    fit = (n for n in (name, *sorted(release.indexes)) if all(c in release.indexes[n] for c in _ids(query)))
    return next(fit, name)


def _vector(release: LoadedRelease, name: str, query: Query) -> npt.NDArray[np.float32]:
    """The query in the embedding's space, (dim,) of length 1.

    Raises InputError or NotFoundError where it has no place there.
    """
    match query:
        case ByContent() | ByContents():
            return _centre(release, name, query)
        case ByVector(vector):
            validate.check_dim(vector, name, release.manifest.embeddings[name].dim)
            return _unit(release, name, vector)
        case ByText() | ByImage():
            return _unit(release, name, encode(release, name, query))


def _unit(release: LoadedRelease, name: str, vector: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    unit: npt.NDArray[np.float32] = release.indexes[name].unit(vector[np.newaxis])[0]
    return unit


def _centre(release: LoadedRelease, name: str, query: ByContent | ByContents) -> npt.NDArray[np.float32]:
    """The direction of the mean of the contents' unit vectors, (dim,)."""
    ids, index = _ids(query), release.indexes[name]
    if len(ids) == 1 and (vector := index.vector_of(ids[0])) is not None:
        return vector
    matrix, found = index.vectors_of(ids)
    field = "content_id" if isinstance(query, ByContent) else "contents"
    if not found.all():
        unknown = ids[int(np.argmin(found))]
        raise NotFoundError(f"{field}: the index of {name!r} has no content {unknown!r}")
    mean = matrix.mean(axis=0)
    if np.linalg.norm(mean) < 1e-6:  # float32 sums of unit vectors that cancel out
        raise InputError(f"{field}: their vectors of {name!r} cancel out, so nothing is near to all of them")
    return _unit(release, name, mean)


def encode(release: LoadedRelease, name: str, query: ByText | ByImage) -> npt.NDArray[np.float32]:
    """The query's vector, (dim,). Raises InputError where the embedding takes no such query or it cannot be read."""
    modality, pins = _KIND[type(query)], release.manifest.embeddings
    if modality not in pins[name].query_modalities:
        fit = ", ".join(sorted(n for n, pin in pins.items() if modality in pin.query_modalities)) or "none"
        raise InputError(f"embeddings: {name!r} cannot be searched by {modality}; those that can: {fit}")
    encoder = release.encoders.get(name)
    try:
        with stage("encode"):
            return encoder.embed_text(query.text) if isinstance(query, ByText) else encoder.embed_image(query.image)
    except MediaError as error:
        raise InputError(f"{modality}: {error}") from error
