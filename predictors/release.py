"""Releases: which models, indexes and embeddings belong together, pinned, and loaded only where they still do.

A release's version is the digest of what it pins, so the same parts are the same release. `CURRENT` in the
releases folder lists the versions put in use, the newest first: one file, replaced in one step.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from embedders.base import load_pinned
from embedders.specs import resolve_spec
from feature_repo.catalog import Catalog
from feature_repo.errors import LarderError, NotFoundError, StateError
from feature_repo.files import replacing, sweep, write_json
from feature_repo.settings import Settings
from indexers.search import VectorIndex
from indexers.versions import IndexManifest, resolve
from predictors import versions
from predictors.base import load_predictor
from predictors.loaded import Encoders, LoadedRelease, Model, VersionedReader
from predictors.pins import EmbeddingPin, PredictorPin, ReleaseManifest

T = TypeVar("T")

CURRENT = "current"
_POINTER = "CURRENT"
_KEPT = 20  # versions that the pointer remembers, to go back to


def create(settings: Settings, catalog: Catalog, predictors: Sequence[str]) -> ReleaseManifest:
    """Pin the current models, indexes and embeddings, and put that release in use; the same parts are a no-op.

    Raises StateError that names every part that is missing or disagrees, each with its mend.
    """
    problems = [] if predictors else ["no predictor is named: name at least one to serve"]
    embeddings = _embedding_pins(settings, catalog, problems)
    models = _each(predictors, lambda name: _load_model(settings, name), problems)
    indexes = _each(embeddings, lambda name: resolve(settings, name), problems)
    manifest = ReleaseManifest(
        embeddings=embeddings,
        indexes={name: index.version for name, index in indexes.items()},
        predictors={
            name: PredictorPin(model.predictor.version, model.predictor.service) for name, model in models.items()
        },
        defaults=_defaults(settings, embeddings),
    )
    _agree("cannot release", problems + disagreements(manifest, models, indexes))
    if not _in_use(settings, manifest):
        sweep(settings.releases_dir)
        write_json(_manifest_path(settings, manifest.version), manifest.to_json())
        catalog.record_release(manifest.version, manifest.to_json())
        _use(settings, [manifest.version, *(version for version in history(settings) if version != manifest.version)])
    return manifest


def load(settings: Settings, catalog: Catalog, store: VersionedReader, version: str = CURRENT) -> LoadedRelease:
    """Load what a release pins, whatever newer versions are in use since; embedders wait until they are asked for.

    Raises NotFoundError for an unknown version, StateError that names every part that no longer matches.
    """
    manifest = read_manifest(settings, current(settings) if version == CURRENT else version)
    problems: list[str] = []
    models = _each(manifest.predictors, lambda n: _load_model(settings, n, manifest.predictors[n].version), problems)
    indexes = _each(manifest.indexes, lambda n: VectorIndex.load(settings, n, manifest.indexes[n]), problems)
    problems += disagreements(manifest, models, {n: index.manifest for n, index in indexes.items()})
    pins = {name: (pin.spec_digest, pin.dim) for name, pin in manifest.embeddings.items()}
    readers = _each(["store"], lambda _: store.pinned(pins), problems)
    _agree(f"release {manifest.version} cannot be served", problems)
    encoders = Encoders(manifest.embeddings, lambda name: load_pinned(name, settings, pins[name][0]))
    return LoadedRelease(manifest, readers["store"], models, indexes, encoders, catalog.titles)


def disagreements(
    manifest: ReleaseManifest,
    models: Mapping[str, Model],
    indexes: Mapping[str, IndexManifest],
) -> list[str]:
    """What of the models and the indexes is not as pinned, each with its mend."""
    pins = {name: pin.spec_digest for name, pin in manifest.embeddings.items()}
    found = [
        f"index {name} holds vectors of spec {index.spec_digest}, not {pins[name]}: run `larder index {name}`"
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


def read_manifest(settings: Settings, version: str) -> ReleaseManifest:
    """The manifest of a version. Raises NotFoundError, StateError where it was edited."""
    try:
        said = json.loads(_manifest_path(settings, version).read_text())
    except FileNotFoundError:
        known = ", ".join(releases(settings)) or "none; run `larder release`"
        raise NotFoundError(f"no release {version!r}; there are: {known}") from None
    except ValueError as error:
        raise StateError(f"the manifest of release {version} cannot be read ({error}); create it again") from error
    return ReleaseManifest.from_json(said)


def releases(settings: Settings) -> list[str]:
    """Every release there is, sorted by version."""
    return sorted(path.stem for path in settings.releases_dir.glob("[0-9a-f]*.json"))


def history(settings: Settings) -> list[str]:
    """Versions as they were put in use: the current one, then those before it. Empty where nothing was released."""
    pointer = settings.releases_dir / _POINTER
    return pointer.read_text().split() if pointer.is_file() else []


def current(settings: Settings) -> str:
    """The version in use. Raises StateError where nothing was released."""
    used = history(settings)
    if not used:
        raise StateError("nothing is released yet: run `larder release`")
    return used[0]


def pinned_indexes(settings: Settings, embedding: str) -> set[str]:
    """Versions of an embedding's index that a release in use, or one to go back to, needs: not to be pruned."""
    manifests = (read_manifest(settings, version) for version in history(settings))
    return {manifest.indexes[embedding] for manifest in manifests if embedding in manifest.indexes}


def pinned_specs(settings: Settings) -> dict[str, set[str]]:
    """Digests, by embedding, of the specs that a release in use, or one to go back to, needs: not to be pruned."""
    pinned: dict[str, set[str]] = {}
    for version in history(settings):
        for name, pin in read_manifest(settings, version).embeddings.items():
            pinned.setdefault(name, set()).add(pin.spec_digest)
    return pinned


def rollback(settings: Settings) -> str:
    """Put the release before the current one in use again; its version. Raises StateError where there is none."""
    used = history(settings)
    if len(used) < 2:
        raise StateError("there is no earlier release to go back to")
    read_manifest(settings, used[1])
    _use(settings, used[1:])
    return used[1]


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


def _in_use(settings: Settings, manifest: ReleaseManifest) -> bool:
    """Whether this release is the current one and its manifest is whole."""
    try:
        return read_manifest(settings, current(settings)) == manifest
    except LarderError:
        return False


def _each(names: Iterable[str], load_one: Callable[[str], T], problems: list[str]) -> dict[str, T]:
    """What could be loaded, by name; the other errors' messages go to `problems`."""
    loaded = {}
    for name in sorted(names):
        try:
            loaded[name] = load_one(name)
        except LarderError as error:
            problems.append(str(error))
    return loaded


def _agree(refusal: str, problems: Sequence[str]) -> None:
    if problems:
        raise StateError(f"{refusal}: {'; '.join(problems)}")


def _manifest_path(settings: Settings, version: str) -> Path:
    return settings.releases_dir / f"{version}.json"


def _use(settings: Settings, used: Sequence[str]) -> None:
    with replacing(settings.releases_dir / _POINTER) as beside:
        beside.write_text("".join(f"{version}\n" for version in used[:_KEPT]))
