"""Releases: which models, indexes and embeddings belong together, pinned, and loaded only where they still do."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from embedders.base import load_pinned
from embedders.specs import resolve_spec
from feature_repo.catalog import Catalog
from feature_repo.errors import LarderError, StateError
from feature_repo.facts import read_facts
from feature_repo.settings import Settings
from indexers.search import VectorIndex
from indexers.versions import IndexManifest, resolve
from predictors import experiments, prepared, shelf, user_spaces, versions
from predictors.base import Preparing, load_predictor
from predictors.loaded import Encoders, FeatureReader, LoadedExperiment, LoadedRelease, Model, VersionedReader
from predictors.pins import EmbeddingPin, PredictorPin, ReleaseManifest
from predictors.shelf import CURRENT

T = TypeVar("T")

log = logging.getLogger(__name__)


def create(settings: Settings, catalog: Catalog, predictors: Sequence[str]) -> ReleaseManifest:
    """Pin the current models, indexes and embeddings, and put that release in use; the same parts are a no-op.

    Raises StateError that names every part that is missing or disagrees, each with its mend.
    """
    manifest = pin_current(settings, catalog, predictors)
    shelf.publish(settings, catalog, manifest)
    return manifest


def pin_current(settings: Settings, catalog: Catalog, predictors: Sequence[str]) -> ReleaseManifest:
    """The current models, indexes and embeddings as a release that is not in use; the indexes that users' vectors are
    searched for in are brought up to date for it. Raises StateError as `create`.
    """
    problems = [] if predictors else ["no predictor is named: name at least one to serve"]
    embeddings = _embedding_pins(settings, catalog, problems)
    models = _each("predictor", predictors, lambda name: _load_model(settings, name), problems)
    indexes = _each("index", embeddings, lambda name: resolve(settings, name), problems)
    users = _each(
        "embedding of users",
        catalog.user_ledger.embeddings(),
        lambda name: user_spaces.pin(settings, catalog, name),
        problems,
    )
    manifest = ReleaseManifest(
        embeddings=embeddings,
        indexes={name: index.version for name, index in indexes.items()},
        predictors={
            name: PredictorPin(model.predictor.version, model.predictor.service) for name, model in models.items()
        },
        defaults=_defaults(settings, embeddings),
        users=users,
    )
    _agree("cannot release", problems + disagreements(manifest, models, indexes))
    return manifest


def load(settings: Settings, catalog: Catalog, store: VersionedReader, version: str = CURRENT) -> LoadedRelease:
    """Load what a release pins, whatever newer versions are in use since; embedders wait until they are asked for.

    The current one comes with the arms of the experiment that runs. Raises NotFoundError for an unknown version,
    StateError that names every part that no longer matches.
    """
    if version != CURRENT:
        return assemble(settings, store, shelf.read_manifest(settings, version))
    release = assemble(settings, store, shelf.read_manifest(settings, shelf.current(settings)))
    experiment = experiments.running(settings)
    if experiment is None:
        return release
    loaded = {release.version: release}
    for arm in experiment.arms:
        if arm.release not in loaded:
            manifest = shelf.read_manifest(settings, arm.release)
            loaded[arm.release] = assemble(settings, store, manifest, tuple(loaded.values()))
    arms = tuple(loaded[arm.release] for arm in experiment.arms)
    return replace(release, experiment=LoadedExperiment(experiment, arms))


def assemble(
    settings: Settings, store: VersionedReader, manifest: ReleaseManifest, beside: Sequence[LoadedRelease] = ()
) -> LoadedRelease:
    """Load the parts of a release; what it has in common with those `beside` it is not loaded twice.

    Raises StateError that names every part that no longer matches.
    """
    like = next((one for one in beside if _same_indexes(one.manifest, manifest)), None)
    problems: list[str] = []
    models = _each(
        "predictor", manifest.predictors, lambda n: _load_model(settings, n, manifest.predictors[n].version), problems
    )
    every = manifest.every_index
    indexes = (
        _each("index", every, lambda n: VectorIndex.load(settings, n, every[n]), problems)
        if like is None
        else {**like.indexes, **like.users}
    )
    problems += disagreements(manifest, models, {n: index.manifest for n, index in indexes.items()})
    readers = _each("online", ["store"], lambda _: store.pinned(manifest.specs), problems)
    _agree(f"release {manifest.version} cannot be served", problems)
    models = _each(
        "prepared table of", models, lambda n: _with_prepared(settings, models[n], readers["store"]), problems
    )
    _agree(f"release {manifest.version} cannot be served", problems)
    if like is not None:
        return replace(like, manifest=manifest, store=readers["store"], models=models)
    serving = settings.model_copy(update={"media_seconds": min(settings.media_seconds, settings.raw_seconds)})
    encoders = Encoders(manifest.embeddings, lambda name: load_pinned(name, serving, manifest.specs[name][0]))
    facts = read_facts(settings, {name: index.content_ids for name, index in indexes.items()})
    users = {name: indexes.pop(name) for name in manifest.users}
    return LoadedRelease(manifest, readers["store"], models, indexes, encoders, facts, users)


def prepare(settings: Settings, catalog: Catalog, store: VersionedReader, manifest: ReleaseManifest) -> dict[str, int]:
    """Bring up to date what the release's predictors make of contents ahead of requests, and drop what no release in
    use or to go back to has; how many contents were made anew, by predictor.
    """
    reader = store.pinned(manifest.specs)
    made = {}
    for name, pin in sorted(manifest.predictors.items()):
        predictor = load_predictor(settings, name, pin.version)
        if isinstance(predictor, Preparing):
            ids = (item.content.content_id for item in catalog.items())
            made[name] = prepared.prepare(settings, predictor, reader, ids)
    reach = (manifest, *shelf.in_reach(settings, broken=True))  # a table that is dropped costs time alone
    kept = {(name, pin.version) for one in reach for name, pin in one.predictors.items()}
    prepared.forget(settings, kept)
    return made


def disagreements(
    manifest: ReleaseManifest,
    models: Mapping[str, Model],
    indexes: Mapping[str, IndexManifest],
) -> list[str]:
    """What of the models and the indexes is not as pinned, each with its mend."""
    pins = {name: spec_digest for name, (spec_digest, _) in manifest.specs.items()}
    found = [
        f"index {name} holds vectors of spec {index.spec_digest}, not {pins[name]}: "
        f"run `larder {'release' if name in manifest.users else f'index {name}'}`"
        for name, index in indexes.items()
        if index.spec_digest != pins[name]
    ]
    for name, model in models.items():
        pin, service = manifest.predictors[name], model.predictor.service
        if service != pin.service:
            found.append(f"predictor {name} reads the service {service}, not {pin.service}: run `larder release` again")
        found += [
            f"predictor {name} was trained on {embedding} of spec {spec}, not {pins.get(embedding, 'none')}: "
            f"run `larder train {name}`"
            for embedding, spec in model.predictor.embeddings.items()
            if pins.get(embedding) != spec
        ]
    return found


def _embedding_pins(settings: Settings, catalog: Catalog, problems: list[str]) -> dict[str, EmbeddingPin]:
    """Pins of the registered embeddings; one that this installation would encode otherwise goes to `problems`."""
    pins = {}
    for name, row in catalog.embeddings().items():
        try:
            spec = resolve_spec(name, settings)
        except LarderError as error:
            problems.append(f"embedding {name} is registered, but its embedder cannot be had: {error}")
            continue
        if spec.digest != row.spec_digest:
            problems.append(
                f"embedding {name} is of spec {row.spec_digest}, its embedder makes {spec.digest}: "
                f"run `larder embed {name}`, then `larder apply`"
            )
        pins[name] = EmbeddingPin(row.spec_digest, row.dim, tuple(m.value for m in spec.query_modalities))
    return pins


def _defaults(settings: Settings, pins: Mapping[str, EmbeddingPin]) -> dict[str, str]:
    """By kind of query, the first embedding in the order of the settings that takes it."""
    configured = [name for name in settings.embeddings if name in pins]
    order = configured + [name for name in pins if name not in configured]
    defaults = {"content": order[0]} if order else {}
    for name in order:
        for modality in pins[name].query_modalities:
            defaults.setdefault(modality, name)
    return defaults


def _load_model(settings: Settings, name: str, version: str = CURRENT) -> Model:
    predictor = load_predictor(settings, name, version)
    manifest = versions.read_manifest(versions.find(settings, name, predictor.version))
    return Model(predictor, manifest["metrics"])


def _with_prepared(settings: Settings, model: Model, reader: FeatureReader) -> Model:
    if not isinstance(model.predictor, Preparing):
        return model
    return replace(model, prepared=prepared.prepared(settings, model.predictor, reader))


def _same_indexes(one: ReleaseManifest, other: ReleaseManifest) -> bool:
    return (one.embeddings, one.indexes, one.users) == (other.embeddings, other.indexes, other.users)


def _each(kind: str, names: Iterable[str], load_one: Callable[[str], T], problems: list[str]) -> dict[str, T]:
    """What could be loaded, by name; the other errors' messages go to `problems`."""
    loaded = {}
    for name in sorted(names):
        try:
            loaded[name] = load_one(name)
        except LarderError as error:
            problems.append(str(error))
        except Exception as error:  # what a library makes of a damaged file is anything
            log.debug("%s %s", kind, name, exc_info=True)
            problems.append(f"{kind} {name} cannot be loaded ({type(error).__name__}: {error})")
    return loaded


def _agree(refusal: str, problems: Sequence[str]) -> None:
    if problems:
        raise StateError(f"{refusal}: {'; '.join(problems)}")
