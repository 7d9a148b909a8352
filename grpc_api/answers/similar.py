"""Similar: the nearest contents to a content, a text, a picture or a vector."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from feature_repo.errors import InputError, MediaError, NotFoundError
from grpc_api import validate
from grpc_api.answers.names import named
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
from predictors.loaded import LoadedRelease

_KIND = {ByContent: "content", ByContents: "content", ByText: "text", ByImage: "image", ByVector: "vector"}


def similar(
    release: LoadedRelease, query: SimilarQuery, asked: Query, k: int
) -> tuple[tuple[SearchedIndex, ...], list[TitledNeighbour]]:
    """What was searched, and the nearest contents, nearest first.

    Raises InputError for a query that has no place in an embedding, NotFoundError for an unknown embedding or content.
    """
    name = query.embeddings[0][0] if query.embeddings else _default(release, asked)
    index = named("embedding", name, release.indexes)
    excluded = [asked.content_id] if isinstance(asked, ByContent) and not asked.include_self else []
    [found] = index.search(_vector(release, name, asked), k, exclude=[excluded])
    titles = release.titles([n.content_id for n in found])
    neighbours = [TitledNeighbour(n.content_id, n.score, titles.get(n.content_id, "")) for n in found]
    return (SearchedIndex(name, index.manifest.version, 1.0),), neighbours


def _default(release: LoadedRelease, query: Query) -> str:
    """The release's embedding for this kind of query; for a content that is not in its index, one that has it.

    Raises InputError where there is none.
    """
    kind = _KIND[type(query)]
    try:
        name = release.manifest.defaults[kind]
    except KeyError:
        raise InputError(f"embeddings: this release has none that is searched by {kind}") from None
    if isinstance(query, ByContent) and query.content_id not in release.indexes[name]:
        return next((n for n, index in sorted(release.indexes.items()) if query.content_id in index), name)
    return name


def _vector(release: LoadedRelease, name: str, query: Query) -> npt.NDArray[np.float32]:
    """The query in the embedding's space, (1, dim). Raises InputError or NotFoundError where it has no place there."""
    match query:
        case ByContent(content_id):
            matrix, found = release.indexes[name].vectors_of([content_id])
            if not found[0]:
                raise NotFoundError(f"content_id: the index of {name!r} has no content {content_id!r}")
            return matrix
        case ByVector(vector):
            validate.check_dim(vector, name, release.manifest.embeddings[name].dim)
            return vector[None, :]
        case ByText() | ByImage():
            return encode(release, name, query)[None, :]
        case ByContents():
            raise InputError("contents: not taken yet")


def encode(release: LoadedRelease, name: str, query: ByText | ByImage) -> npt.NDArray[np.float32]:
    """The query's vector, (dim,). Raises InputError where the embedding takes no such query or it cannot be read."""
    modality, pins = _KIND[type(query)], release.manifest.embeddings
    if modality not in pins[name].query_modalities:
        fit = ", ".join(sorted(n for n, pin in pins.items() if modality in pin.query_modalities)) or "none"
        raise InputError(f"embeddings: {name!r} cannot be searched by {modality}; those that can: {fit}")
    encoder = release.encoders.get(name)
    try:
        return encoder.embed_text(query.text) if isinstance(query, ByText) else encoder.embed_image(query.image)
    except MediaError as error:
        raise InputError(f"{modality}: {error}") from error
