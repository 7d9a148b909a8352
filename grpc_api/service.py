"""The scoring service in plain Python: no network, no protobuf. It answers from one release at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from feature_repo.columns import Columns, Mask
from feature_repo.errors import InputError, MediaError, NotFoundError
from feature_repo.schema import VIEWS
from grpc_api import validate
from grpc_api.messages import (
    ByContent,
    ByImage,
    ByText,
    ByVector,
    Description,
    EmbeddingInfo,
    IndexInfo,
    Limits,
    Predictions,
    PredictorInfo,
    PredictQuery,
    Query,
    Similarities,
    SimilarQuery,
    Status,
    TitledNeighbour,
)
from indexers.versions import IndexManifest
from predictors.base import Predictor, Scores
from predictors.loaded import LoadedRelease, Model

T = TypeVar("T")
_KIND = {ByContent: "content", ByText: "text", ByImage: "image", ByVector: "vector"}
# What a read gives whether or not there is such a content: what was asked, and the user's features
_ASKED = frozenset({"content_id", "user_id", "event_timestamp"})
_OF_THE_USER = frozenset(name for entity, features in VIEWS.values() if entity == "user" for name in features)


class ScoringService:
    """Answers requests from a release. Thread-safe: each request reads `release` once and stays with it."""

    def __init__(self, release: LoadedRelease, limits: Limits) -> None:
        self.release = release
        self.limits = limits

    def predict(self, request: PredictQuery) -> Predictions:
        """Scores of all candidates after one read of the store.

        Raises InputError for a broken request, NotFoundError for an unknown predictor.
        """
        validate.check_predict(request, self.limits)
        release = self.release
        model = _named("predictor", request.predictor, release.models)
        columns = release.store.read(model.predictor.service, request.content_ids, request.user_id)
        known = _known(columns)
        missing = _missing(model.predictor, columns, known)
        statuses = np.where(known, Status.OK, Status.UNKNOWN_CONTENT).astype(np.int32)
        for rows in missing.values():
            statuses[rows] = Status.INCOMPLETE
        scores = _score(model.predictor, columns, known)
        return Predictions(
            release=release.version,
            predictor=request.predictor,
            predictor_version=model.predictor.version,
            content_ids=request.content_ids,
            statuses=statuses,
            scores=scores.score,
            probabilities=scores.probabilities,
            classes=scores.classes,
            missing=missing,
        )

    def similar(self, request: SimilarQuery) -> Similarities:
        """The nearest contents, nearest first.

        Raises InputError for a broken request, NotFoundError for an unknown embedding or content.
        """
        query, k = validate.check_similar(request, self.limits)
        release = self.release
        name = request.embedding or _default(release, query)
        index = _named("embedding", name, release.indexes)
        excluded = [query.content_id] if isinstance(query, ByContent) and not query.include_self else []
        [found] = index.search(_vector(release, name, query), k, exclude=[excluded])
        titles = release.titles([n.content_id for n in found])
        neighbours = [TitledNeighbour(n.content_id, n.score, titles.get(n.content_id, "")) for n in found]
        return Similarities(release.version, name, index.manifest.version, neighbours)

    def describe(self) -> Description:
        """What is loaded, each list by name."""
        release = self.release
        return Description(
            release=release.version,
            predictors=tuple(_predictor_info(name, model) for name, model in sorted(release.models.items())),
            embeddings=tuple(
                EmbeddingInfo(name, pin.dim, pin.spec_digest, pin.query_modalities)
                for name, pin in sorted(release.manifest.embeddings.items())
            ),
            indexes=tuple(_index_info(index.manifest) for _, index in sorted(release.indexes.items())),
            limits=self.limits,
        )

    def probes(self) -> dict[str, Callable[[], object]]:
        """By part of the release, a cheap call that raises where the part does not answer."""
        release = self.release
        nobody = ["larder-health"]
        services = sorted({pin.service for pin in release.manifest.predictors.values()})
        return {
            "store": lambda: [release.store.read(service, nobody) for service in services],
            "catalog": lambda: release.titles(nobody),
            **{f"index/{name}": partial(index.vectors_of, nobody) for name, index in release.indexes.items()},
            **{f"predictor/{name}": partial(getattr, model, "class_count") for name, model in release.models.items()},
        }


def _predictor_info(name: str, model: Model) -> PredictorInfo:
    predictor = model.predictor
    return PredictorInfo(
        name, predictor.version, predictor.service, tuple(predictor.features), model.class_count, model.metrics
    )


def _index_info(manifest: IndexManifest) -> IndexInfo:
    return IndexInfo(manifest.embedding, manifest.version, manifest.kind, manifest.count, manifest.recall)


def _named(kind: str, name: str, table: Mapping[str, T]) -> T:
    try:
        return table[name]
    except KeyError:
        loaded = ", ".join(sorted(table)) or "none"
        raise NotFoundError(f"{kind}: {name!r} is not in this release; there are: {loaded}") from None


def _known(columns: Columns) -> Mask:
    """Contents that the store has: (n,) bool. What is equal on every row says nothing of them."""
    masks = [mask for name, mask in columns.present.items() if name not in _OF_THE_USER | _ASKED]
    return np.logical_or.reduce(masks) if masks else np.zeros(columns.rows, bool)


def _missing(predictor: Predictor, columns: Columns, known: Mask) -> dict[str, npt.NDArray[np.intp]]:
    """The embeddings that the predictor reads and known contents lack, and the rows that lack them."""
    nowhere = np.zeros(columns.rows, bool)
    rows = {e: np.flatnonzero(known & ~columns.present.get(e, nowhere)) for e in sorted(predictor.embeddings)}
    return {embedding: lacking for embedding, lacking in rows.items() if len(lacking)}


def _score(predictor: Predictor, columns: Columns, known: Mask) -> Scores:
    """Scores of all rows, of which the predictor sees the known ones only: the others get NaN, and class -1."""
    if known.all():
        return predictor.score(columns)
    rows = np.flatnonzero(known)
    found = predictor.score(columns.take(rows))

    def spread(part: npt.NDArray[Any], empty: float) -> npt.NDArray[Any]:
        full = np.full((columns.rows, *part.shape[1:]), empty, part.dtype)
        full[rows] = part
        return full

    return Scores(spread(found.score, np.nan), spread(found.probabilities, np.nan), spread(found.classes, -1))


def _default(release: LoadedRelease, query: Query) -> str:
    """The release's embedding for this kind of query; for a content that is not in its index, one that has it.

    Raises InputError where there is none.
    """
    kind = _KIND[type(query)]
    try:
        name = release.manifest.defaults[kind]
    except KeyError:
        raise InputError(f"embedding: this release has none that is searched by {kind}") from None
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
            return _encode(release, name, query)[None, :]


def _encode(release: LoadedRelease, name: str, query: ByText | ByImage) -> npt.NDArray[np.float32]:
    """The query's vector, (dim,). Raises InputError where the embedding takes no such query or it cannot be read."""
    modality, pins = _KIND[type(query)], release.manifest.embeddings
    if modality not in pins[name].query_modalities:
        fit = ", ".join(sorted(n for n, pin in pins.items() if modality in pin.query_modalities)) or "none"
        raise InputError(f"embedding: {name!r} cannot be searched by {modality}; those that can: {fit}")
    encoder = release.encoders.get(name)
    try:
        return encoder.embed_text(query.text) if isinstance(query, ByText) else encoder.embed_image(query.image)
    except MediaError as error:
        raise InputError(f"{modality}: {error}") from error
