"""How far each version of each embedding is, which of them is in use, and which ones nobody needs any more.

A version is a spec: another model, another setting or another fit is another one. It is filled beside the one in use,
in a folder of its own; until `switch` nothing that reads vectors sees it.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from embedders.derived import readiness
from embedders.ledger import Ledger, State, Stock, take_stock
from embedders.specs import SPECS, resolve_spec
from feature_repo.catalog import Catalog
from feature_repo.catalog_rows import CatalogItem
from feature_repo.contracts import EmbeddingSpec, Modality
from feature_repo.errors import LarderError
from feature_repo.files import only_writer
from feature_repo.settings import Settings
from feature_repo.vectors import vectors_dir


@dataclass(frozen=True, slots=True)
class Version:
    """One spec of an embedding. `in_use`: features and indexes are made of it; `chosen`: the settings resolve to it."""

    name: str
    digest: str
    modality: Modality
    in_use: bool
    chosen: bool


@dataclass(frozen=True, slots=True)
class Switch:
    """An embedding whose settings choose another version than was in use: that one took its place, unless contents
    still wait to be encoded.
    """

    name: str
    before: str
    after: str
    waiting: int


def versions(settings: Settings, catalog: Catalog) -> list[Version]:
    """Every version that is in use, chosen, in the ledger or on disk, by name; the one in use comes first."""
    registered = {name: str(row.spec_digest) for name, row in catalog.embeddings().items()}
    tried = catalog.spec_digests()
    found = []
    for name in sorted({*registered, *tried, *settings.embeddings} & SPECS.keys()):
        used, spec = registered.get(name), chosen(name, settings)
        lying = (path.name for path in (settings.embeddings_dir / name).glob("[!.]*") if path.is_dir())
        digests = {*tried.get(name, ()), *lying, *filter(None, [used, spec and spec.digest])}
        for digest in sorted(digests, key=lambda digest: (digest != used, digest)):
            is_chosen = spec is not None and digest == spec.digest
            found.append(Version(name, digest, SPECS[name].modality, digest == used, is_chosen))
    return found


def stock_of(settings: Settings, catalog: Catalog, wanted: Collection[Version]) -> list[Stock]:
    """How the catalog's contents stand under each of the versions, media looked at as a run would."""
    catalog.refresh_media()
    return take_stock(catalog.items(), [_ledger(settings, catalog, version) for version in wanted])


def chosen(name: str, settings: Settings) -> EmbeddingSpec | None:
    """The spec that the settings resolve to; None where they name one that cannot be had, or that is not fitted yet."""
    try:
        return resolve_spec(name, settings)
    except LarderError:
        return None


def switch(settings: Settings, catalog: Catalog) -> list[Switch]:
    """Put in use every chosen version that is complete; what is not, or has no vector, stays beside the old one.

    Indexes and models follow when they are made again, and a server once there is a release of them.
    """
    known = versions(settings, catalog)
    before = {version.name: version.digest for version in known if version.in_use}
    waiting = [v for v in known if v.chosen and not v.in_use and v.name in before and catalog.ledger(v.name, v.digest)]
    made = []
    for version, stock in zip(waiting, stock_of(settings, catalog, waiting) if waiting else [], strict=True):
        spec = chosen(version.name, settings)
        if spec is None or not stock.states[State.FRESH]:
            continue
        if not stock.waiting:
            catalog.register_embedding(spec)
        made.append(Switch(version.name, before[version.name], version.digest, stock.waiting))
    return made


def prune(settings: Settings, catalog: Catalog, keep: Mapping[str, Collection[str]]) -> list[Version]:
    """Remove the versions that are neither in use nor chosen nor in `keep` (digests by name); those that were.

    Vectors go first and the ledger after: killed in between, the next call finds the rest. Raises UnavailableError
    while a run fills one of them.
    """
    gone = [v for v in versions(settings, catalog) if not (v.in_use or v.chosen or v.digest in keep.get(v.name, ()))]
    for version in gone:
        folder = vectors_dir(settings, version.name, version.digest)
        with only_writer(folder):
            shutil.rmtree(folder, ignore_errors=True)
            catalog.forget_spec(version.name, version.digest)
            for beside in folder.parent.glob(f".{folder.name}.*"):
                beside.unlink()
    return gone


def _ledger(settings: Settings, catalog: Catalog, version: Version) -> Ledger:
    folder = vectors_dir(settings, version.name, version.digest)
    known = catalog.ledger(version.name, version.digest)
    return Ledger(
        version, known, {path.stem for path in folder.glob("*.parquet")}, _readiness(settings, catalog, version)
    )


def _readiness(settings: Settings, catalog: Catalog, version: Version) -> Callable[[CatalogItem], bool]:
    """As a run has it, for what a run would fill; an old version is only told from the newer one."""
    spec = chosen(version.name, settings) if version.chosen else None
    return (lambda item: True) if spec is None else readiness(spec, settings, catalog)
