"""What a release pins, and its manifest on disk. No clock in it: the same parts give the same bytes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from feature_repo.contracts import digest
from feature_repo.errors import StateError


@dataclass(frozen=True, slots=True)
class EmbeddingPin:
    """Which vectors: the spec's digest and length, and what may be encoded into its space."""

    spec_digest: str
    dim: int
    query_modalities: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PredictorPin:
    """Which model, and the feature service that it reads."""

    version: str
    service: str


@dataclass(frozen=True, slots=True)
class ReleaseManifest:
    """What a release pins, by name.

    `defaults` gives the embedding that a kind of query (content, text, image) searches.
    """

    embeddings: Mapping[str, EmbeddingPin]
    indexes: Mapping[str, str]
    predictors: Mapping[str, PredictorPin]
    defaults: Mapping[str, str]

    @property
    def version(self) -> str:
        """16 hex digits that name exactly these parts."""
        return digest(json.dumps(asdict(self), sort_keys=True), size=8)

    def to_json(self) -> dict[str, Any]:
        """As written to disk."""
        return {"version": self.version, **asdict(self)}

    @classmethod
    def from_json(cls, said: Mapping[str, Any]) -> ReleaseManifest:
        """Read back. Raises StateError where the version is not that of the parts."""
        embeddings = {
            k: EmbeddingPin(v["spec_digest"], v["dim"], tuple(v["query_modalities"]))
            for k, v in said["embeddings"].items()
        }
        predictors = {k: PredictorPin(**v) for k, v in said["predictors"].items()}
        manifest = cls(embeddings, said["indexes"], predictors, said["defaults"])
        if manifest.version != said["version"]:
            raise StateError(
                f"release {said['version']} was edited: its parts are those of {manifest.version}; create it again"
            )
        return manifest
