"""What a release pins, and its manifest on disk. No clock in it: the same parts give the same bytes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
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
class UserPin:
    """Which vectors of users: the spec's digest and length, and the version of the index of contents in their space."""

    spec_digest: str
    dim: int
    index: str


@dataclass(frozen=True, slots=True)
class PredictorPin:
    """Which model, and the feature service that it reads."""

    version: str
    service: str


@dataclass(frozen=True, slots=True)
class Smoke:
    """What a release was asked when it was made, and the scores that it gave, by predictor along `content_ids`."""

    content_ids: tuple[str, ...]
    user_id: str | None
    scores: Mapping[str, tuple[float, ...]]


@dataclass(frozen=True, slots=True)
class ReleaseManifest:
    """What a release pins, by name.

    `defaults` gives the embedding that a kind of query (content, text, image) searches, `users` has the embeddings of
    users. `smoke` is no part of it: data move, and the same parts stay the same release.
    """

    embeddings: Mapping[str, EmbeddingPin]
    indexes: Mapping[str, str]
    predictors: Mapping[str, PredictorPin]
    defaults: Mapping[str, str]
    users: Mapping[str, UserPin] = field(default_factory=dict)
    smoke: Smoke | None = field(default=None, compare=False)

    @property
    def every_index(self) -> dict[str, str]:
        """By embedding, of contents and of users, the version of its index."""
        return {**self.indexes, **{name: pin.index for name, pin in self.users.items()}}

    @property
    def specs(self) -> dict[str, tuple[str, int]]:
        """By embedding, of contents and of users, the digest of its spec and the length of its vectors."""
        pins: dict[str, EmbeddingPin | UserPin] = {**self.embeddings, **self.users}
        return {name: (pin.spec_digest, pin.dim) for name, pin in pins.items()}

    @property
    def version(self) -> str:
        """16 hex digits that name exactly these parts."""
        parts = asdict(self)
        del parts["smoke"]
        if not self.users:  # as it is in those made by older versions
            del parts["users"]
        return digest(json.dumps(parts, sort_keys=True), size=8)

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
        users = {k: UserPin(**v) for k, v in said.get("users", {}).items()}
        smoke = said.get("smoke")  # those made by older versions were asked nothing
        if smoke is not None:
            scores = {name: tuple(values) for name, values in smoke["scores"].items()}
            smoke = Smoke(tuple(smoke["content_ids"]), smoke["user_id"], scores)
        manifest = cls(embeddings, said["indexes"], predictors, said["defaults"], users, smoke)
        if manifest.version != said["version"]:
            raise StateError(
                f"release {said['version']} was edited: its parts are those of {manifest.version}; create it again"
            )
        return manifest


@dataclass(frozen=True, slots=True)
class Difference:
    """A part that two releases do not share; empty where one does not have it."""

    kind: str
    name: str
    before: str
    after: str


def differences(before: ReleaseManifest, after: ReleaseManifest) -> list[Difference]:
    """What sets one release apart from another: embeddings, of contents and users, indexes, predictors, services,
    defaults.
    """
    ours, theirs = _parts(before), _parts(after)
    return [
        Difference(kind, name, ours[kind].get(name, ""), theirs[kind].get(name, ""))
        for kind in ours
        for name in sorted(ours[kind].keys() | theirs[kind].keys())
        if ours[kind].get(name) != theirs[kind].get(name)
    ]


def _parts(manifest: ReleaseManifest) -> dict[str, Mapping[str, str]]:
    """By kind and name, what tells a part from another of its name."""
    return {
        "embedding": {name: f"{pin.spec_digest}, {pin.dim} wide" for name, pin in manifest.embeddings.items()},
        "user embedding": {name: f"{pin.spec_digest}, {pin.dim} wide" for name, pin in manifest.users.items()},
        "user index": {name: pin.index for name, pin in manifest.users.items()},
        "index": manifest.indexes,
        "predictor": {name: pin.version for name, pin in manifest.predictors.items()},
        "service": {name: pin.service for name, pin in manifest.predictors.items()},
        "default": manifest.defaults,
    }
