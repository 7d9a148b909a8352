"""Describe, and the probes that health asks: what a release holds and whether it answers."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from grpc_api.messages.describe import Description, EmbeddingInfo, IndexInfo, Limits, PredictorInfo
from grpc_api.variants import variants
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
        indexes=tuple(_index_info(index.manifest) for _, index in sorted({**release.indexes, **release.users}.items())),
        limits=limits,
        variants=variants(release),
    )


def probes(release: LoadedRelease) -> dict[str, Callable[[], object]]:
    """By part of the release, a cheap call that raises where the part does not answer; parts of other releases, of an
    experiment's arms, are named by their version first.
    """
    _, *others = release.every
    return _probes(release, "") | {k: v for one in others for k, v in _probes(one, f"{one.version}/").items()}


def _probes(release: LoadedRelease, prefix: str) -> dict[str, Callable[[], object]]:
    nobody = ["larder-health"]
    services = sorted({pin.service for pin in release.manifest.predictors.values()})
    models, indexes = release.models.items(), {**release.indexes, **release.users}.items()
    return {
        f"{prefix}store": lambda: [release.store.read(service, nobody) for service in services],
        **{f"{prefix}index/{name}": partial(index.vectors_of, nobody) for name, index in indexes},
        **{f"{prefix}predictor/{name}": partial(getattr, model, "class_count") for name, model in models},
    }


def _predictor_info(name: str, model: Model) -> PredictorInfo:
    predictor = model.predictor
    return PredictorInfo(
        name, predictor.version, predictor.service, tuple(predictor.features), model.class_count, model.metrics
    )


def _index_info(manifest: IndexManifest) -> IndexInfo:
    return IndexInfo(manifest.embedding, manifest.version, manifest.kind, manifest.count, manifest.recall)
