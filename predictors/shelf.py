"""The releases on disk, and which of them were put in use.

A release's version is the digest of what it pins, so the same parts are the same release. `CURRENT` in the
releases folder lists the versions put in use, the newest first: one file, replaced in one step.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from feature_repo.catalog import Catalog
from feature_repo.errors import LarderError, NotFoundError, StateError
from feature_repo.files import replacing, sweep, write_json
from feature_repo.settings import Settings
from predictors import experiments
from predictors.pins import ReleaseManifest

CURRENT = "current"
_POINTER = "CURRENT"
_KEPT = 20  # versions that the pointer remembers, to go back to


def publish(settings: Settings, catalog: Catalog, manifest: ReleaseManifest) -> None:
    """Write a release and put it in use; one that is in use already, its manifest whole, is left alone."""
    if not _in_use(settings, manifest):
        sweep(settings.releases_dir)
        write_json(_manifest_path(settings, manifest.version), manifest.to_json())
        catalog.record_release(manifest.version, manifest.to_json())
        _put_in_use(settings, manifest.version)


def use(settings: Settings, version: str) -> ReleaseManifest:
    """Put a release in use that was made before. Raises as `read_manifest` does."""
    manifest = read_manifest(settings, version)
    _put_in_use(settings, version)
    return manifest


def rollback(settings: Settings) -> str:
    """Put the release before the current one in use again; its version. Raises StateError where there is none."""
    used = history(settings)
    if len(used) < 2:
        raise StateError("there is no earlier release to go back to")
    read_manifest(settings, used[1])
    _point(settings, used[1:])
    return used[1]


def read_manifest(settings: Settings, version: str) -> ReleaseManifest:
    """The manifest of a version. Raises NotFoundError, StateError where it was edited or is damaged."""
    try:
        manifest = ReleaseManifest.from_json(json.loads(_manifest_path(settings, version).read_text()))
    except FileNotFoundError:
        known = ", ".join(releases(settings)) or "none; run `larder release`"
        raise NotFoundError(f"no release {version!r}; there are: {known}") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise StateError(
            f"the manifest of release {version} cannot be read ({type(error).__name__}: {error}); create it again"
        ) from error
    if manifest.version != version:
        raise StateError(f"the manifest of release {version} is that of {manifest.version}; create it again")
    return manifest


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


def in_reach(settings: Settings, *, broken: bool = False) -> list[ReleaseManifest]:
    """The release in use, those to go back to, and the arms of the experiment that runs: their parts are kept.

    Raises as `read_manifest`, unless `broken` ones may be left out.
    """
    experiment = experiments.running(settings)
    arms = [arm.release for arm in experiment.arms] if experiment else []
    found = []
    for version in dict.fromkeys([*history(settings), *arms]):
        try:
            found.append(read_manifest(settings, version))
        except LarderError:
            if not broken:
                raise
    return found


def pinned_indexes(settings: Settings, embedding: str) -> set[str]:
    """Versions of an embedding's index that a release in reach needs: not to be pruned."""
    return {one.every_index[embedding] for one in in_reach(settings) if embedding in one.every_index}


def pinned_specs(settings: Settings) -> dict[str, set[str]]:
    """Digests, by embedding, of the specs that a release in reach needs: not to be pruned."""
    pinned: dict[str, set[str]] = {}
    for manifest in in_reach(settings):
        for name, (spec_digest, _) in manifest.specs.items():
            pinned.setdefault(name, set()).add(spec_digest)
    return pinned


def _in_use(settings: Settings, manifest: ReleaseManifest) -> bool:
    """Whether this release is the current one, its manifest is whole, and it knows what to be asked."""
    try:
        found = read_manifest(settings, current(settings))
    except LarderError:
        return False
    return found == manifest and (found.smoke is not None or manifest.smoke is None)


def _manifest_path(settings: Settings, version: str) -> Path:
    return settings.releases_dir / f"{version}.json"


def _put_in_use(settings: Settings, version: str) -> None:
    _point(settings, [version, *(other for other in history(settings) if other != version)])


def _point(settings: Settings, used: Sequence[str]) -> None:
    with replacing(settings.releases_dir / _POINTER) as beside:
        beside.write_text("".join(f"{version}\n" for version in used[:_KEPT]))
