"""How a workspace stands: what is ingested, embedded, indexed, trained and released."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from embedders import fitted, stock
from embedders.ledger import State
from embedders.user_ledger import UserState
from embedders.user_specs import USER_SPECS, resolve_user_spec
from feature_repo.catalog import Catalog
from feature_repo.settings import Settings
from indexers import versions
from larder.encoders import ENCODERS
from predictors import shelf
from predictors.base import PREDICTORS
from predictors.versions import current


@dataclass(frozen=True, slots=True)
class EmbeddingStatus:
    """How far one version of an embedding is, as a run would find it; `missing` contents were never tried.

    `in_use`: features and indexes are made of it; `chosen`: it is what the settings say, and what a run fills.
    """

    name: str
    spec_digest: str
    in_use: bool
    chosen: bool
    fresh: int
    stale: int
    failed: int
    missing: int
    reasons: dict[str, int]

    @property
    def state(self) -> str:
        """In a word: in use, beside it (a new version), or old."""
        return "in use" if self.in_use else "new" if self.chosen else "old"


@dataclass(frozen=True, slots=True)
class EncoderStatus:
    """An encoder fitted on the catalog: the version in use, and what it was fitted on."""

    version: str
    facts: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Status:
    """A workspace at a glance; None where a thing does not exist yet."""

    home: str
    contents: int
    users: int
    embeddings: list[EmbeddingStatus]
    indexes: dict[str, str | None]
    models: dict[str, str]
    encoders: dict[str, EncoderStatus]
    releases: list[str] = field(default_factory=list)
    current_release: str | None = None


def read_status(settings: Settings, catalog: Catalog) -> Status:
    """Look at the catalog and the version pointers; loads no model and no index."""
    registered = catalog.embeddings()
    return Status(
        home=str(settings.home),
        contents=catalog.count_contents(),
        users=catalog.count_users(),
        embeddings=_embeddings(settings, catalog) + _user_embeddings(settings, catalog),
        indexes={
            name: next(iter(versions.history(settings, name)), None)
            for name in [*registered, *catalog.user_ledger.embeddings()]
        },
        models={name: model for name in PREDICTORS if (model := current(settings, name))},
        encoders={
            name: EncoderStatus(version.version, version.facts)
            for name in ENCODERS
            if (version := fitted.current(settings, name)) is not None
        },
        releases=[version for version, _ in catalog.releases()],
        current_release=next(iter(shelf.history(settings)), None),
    )


def _embeddings(settings: Settings, catalog: Catalog) -> list[EmbeddingStatus]:
    known = stock.versions(settings, catalog)
    return [
        EmbeddingStatus(
            name=version.name,
            spec_digest=version.digest,
            in_use=version.in_use,
            chosen=version.chosen,
            fresh=found.states[State.FRESH],
            stale=found.states[State.STALE],
            failed=found.states[State.FAILED],
            missing=found.states[State.MISSING],
            reasons=dict(found.reasons.most_common()),
        )
        for version, found in zip(known, stock.stock_of(settings, catalog, known), strict=True)
    ]


def _user_embeddings(settings: Settings, catalog: Catalog) -> list[EmbeddingStatus]:
    """Those that are fitted: as a run would find the users; none of them can fail."""
    found = []
    for name in USER_SPECS:
        if fitted.current(settings, name) is None:
            continue
        from embedders.user_runner import count_users, dated_by  # torch

        spec_digest = resolve_user_spec(name, settings, dated_by(name, catalog)).digest
        used = catalog.user_ledger.embeddings().get(name)
        in_use = used is not None and used.spec_digest == spec_digest
        states = count_users(name, settings, catalog)
        fresh, stale, missing = (states[state] for state in (UserState.FRESH, UserState.STALE, UserState.MISSING))
        found.append(EmbeddingStatus(name, spec_digest, in_use, True, fresh, stale, 0, missing, {}))
    return found
