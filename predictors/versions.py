"""Versions of predictors on disk: `models/<predictor>/<version>/`, published whole, and the `CURRENT` one.

A version is named by a digest of what it was trained from, so the same data and configuration name the same
version. Its `manifest.json` lists the digest of every file beside it.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from feature_repo.errors import NotFoundError, StateError
from feature_repo.files import digest_file, replacing, write_json
from feature_repo.settings import Settings

MANIFEST = "manifest.json"
CURRENT = "CURRENT"

Manifest = dict[str, Any]


def versions_of(settings: Settings, name: str) -> list[str]:
    """Versions of a predictor that are on disk, by name."""
    folder = settings.models_dir / name
    return sorted(path.parent.name for path in folder.glob(f"[!.]*/{MANIFEST}"))


def find(settings: Settings, name: str, version: str = "current") -> Path:
    """The folder of a version. Raises StateError where none is trained, NotFoundError where not this one."""
    folder = settings.models_dir / name
    wanted = current(settings, name) if version == "current" else version
    if wanted is None:
        raise StateError(f"no predictor {name!r} is trained yet: run `larder train {name}`")
    known = versions_of(settings, name)
    if wanted not in known:
        raise NotFoundError(f"no version {wanted!r} of predictor {name!r}; there are: {', '.join(known) or 'none'}")
    return folder / wanted


def current(settings: Settings, name: str) -> str | None:
    """The version that `CURRENT` names; None where nothing is trained."""
    try:
        return (settings.models_dir / name / CURRENT).read_text().strip()
    except FileNotFoundError:
        return None


def make_current(settings: Settings, name: str, version: str) -> None:
    """Point `CURRENT` at a version in one step."""
    if current(settings, name) != version:
        with replacing(settings.models_dir / name / CURRENT) as beside:
            beside.write_text(version + "\n")


def publish(settings: Settings, name: str, version: str, write: Callable[[Path], Manifest]) -> Path:
    """Let `write` fill a folder and give its manifest, then put the folder into place in one rename."""
    folder = settings.models_dir / name / version
    with replacing(folder) as beside:
        beside.mkdir()
        manifest = write(beside)
        written = sorted(path for path in beside.rglob("*") if path.is_file())
        files = {path.relative_to(beside).as_posix(): digest_file(path) for path in written}
        write_json(beside / MANIFEST, {**manifest, "files": files})
        if folder.exists():  # only a version that failed its check is written again
            shutil.rmtree(folder)
    return folder


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a version. Raises StateError where it cannot be read."""
    try:
        manifest: Manifest = json.loads((folder / MANIFEST).read_text())
    except (OSError, ValueError) as error:
        raise StateError(f"{folder / MANIFEST} cannot be read ({error}); train again") from error
    return manifest


def verify(folder: Path) -> Manifest:
    """The manifest, once every file it lists is found as it was written. Raises StateError."""
    manifest = read_manifest(folder)
    for name, known in manifest.get("files", {}).items():
        try:
            found = digest_file(folder / name)
        except OSError as error:
            raise StateError(f"{folder / name} cannot be read ({error}); train again") from error
        if found != known:
            raise StateError(f"{folder / name} is not the file that was trained (digest {found}, manifest {known})")
    return manifest


def require_agreement(manifest: Manifest, folder: Path, said: Mapping[str, object]) -> None:
    """Raise StateError where the loaded model says anything else of itself than its manifest does."""
    for key, value in said.items():
        if manifest.get(key) != value:
            raise StateError(f"{folder}: the manifest says {key} = {manifest.get(key)!r}, the model {value!r}")
