"""Encoders fitted on the catalog itself: `<home>/encoders/<encoder>/<version>/`, never changed, and `CURRENT`.

A version is named by the digest of its weights. `CURRENT` holds the name of the one in use and is replaced whole, so a
fit that is killed has changed nothing. Imports no torch.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load_file, save

from feature_repo.errors import StateError
from feature_repo.files import digest_file, replacing, sweep, write_json
from feature_repo.settings import Settings

WEIGHTS_FILE = "weights.safetensors"
MANIFEST_FILE = "manifest.json"
CURRENT_FILE = "CURRENT"

Weights = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True, slots=True)
class FittedVersion:
    """One fit: `weights` is the digest of its file, `facts` what it was fitted on and how well it does."""

    encoder: str
    version: str
    weights: str
    facts: Mapping[str, Any]
    folder: Path


def encoder_dir(settings: Settings, encoder: str) -> Path:
    """Where the versions of one encoder lie."""
    return settings.home / "encoders" / encoder


def publish(settings: Settings, encoder: str, weights: Weights, facts: Mapping[str, object]) -> FittedVersion:
    """Write a version, then put it in use. Weights that are there already are not written again."""
    data, named = packed(weights)
    parent = encoder_dir(settings, encoder)
    folder = parent / named[:16]
    with _exclusive(parent):
        sweep(parent)
        if not _is_whole(folder):
            shutil.rmtree(folder, ignore_errors=True)
            with replacing(folder) as beside:
                beside.mkdir()
                (beside / WEIGHTS_FILE).write_bytes(data)
                write_json(beside / MANIFEST_FILE, {"encoder": encoder, "weights": named, "facts": facts})
        with replacing(parent / CURRENT_FILE) as beside:
            beside.write_text(folder.name + "\n")
    return _read(folder, encoder)


def packed(weights: Weights) -> tuple[bytes, str]:
    """The file of these weights, and the digest that names them."""
    data = save({key: np.array(value, order="C") for key, value in sorted(weights.items())})
    return data, hashlib.blake2b(data, digest_size=16).hexdigest()


def current(settings: Settings, encoder: str) -> FittedVersion | None:
    """The version in use, or the one that the settings name; None where none was fitted.

    Raises StateError where it cannot be read.
    """
    parent = encoder_dir(settings, encoder)
    try:
        named = settings.fitted.get(encoder) or (parent / CURRENT_FILE).read_text().strip()
    except FileNotFoundError:
        return None
    return _read(parent / named, encoder)


def versions(settings: Settings, encoder: str) -> list[str]:
    """Names of all versions of one encoder."""
    return sorted(path.parent.name for path in encoder_dir(settings, encoder).glob(f"[!.]*/{MANIFEST_FILE}"))


def load_weights(version: FittedVersion) -> Weights:
    """The arrays of a version by name. Raises StateError where its file is not the one that was published."""
    path = version.folder / WEIGHTS_FILE
    if not path.is_file() or digest_file(path) != version.weights:
        raise _damaged(version.folder, version.encoder, "its weights are not those that were published")
    return load_file(path)


def _read(folder: Path, encoder: str) -> FittedVersion:
    try:
        manifest = json.loads((folder / MANIFEST_FILE).read_bytes())
        return FittedVersion(encoder, folder.name, manifest["weights"], manifest["facts"], folder)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _damaged(folder, encoder, f"{type(error).__name__}: {error}") from error


def _damaged(folder: Path, encoder: str, why: str) -> StateError:
    return StateError(f"{folder} holds no readable encoder ({why}): fit it again with `larder train {encoder}`")


def _is_whole(folder: Path) -> bool:
    try:
        return bool(digest_file(folder / WEIGHTS_FILE) == json.loads((folder / MANIFEST_FILE).read_bytes())["weights"])
    except (OSError, ValueError, KeyError, TypeError):
        return False


@contextmanager
def _exclusive(folder: Path) -> Iterator[None]:
    """Hold off other processes that would publish here; the system lets go if this one dies."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
