"""Describe, and the probes that health asks: what a release holds and whether it answers."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from grpc_api.messages.describe import Description, EmbeddingInfo, IndexInfo, Limits, PredictorInfo
from indexers.versions import IndexManifest
from predictors.loaded import LoadedRelease, Model


def describe(release: LoadedRelease, limits: Limits) -> Description:
    """What is loaded, each list by name."""
    return Description(
        release=release.version,
        predictors=tuple(_predictor_info(name, model) for name, model in sorted(release.models.items())),
        embeddings=tuple(
            EmbeddingInfo(name, pin.dim, pin.spec_digest, pin.query_modalities)
            for name, pin in sorted(release.manifest.embeddings.items())
        ),
        indexes=tuple(_index_info(index.manifest) for _, index in sorted(release.indexes.items())),
        limits=limits,
    )


def probes(release: LoadedRelease) -> dict[str, Callable[[], object]]:
    """By part of the release, a cheap call that raises where the part does not answer."""
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
