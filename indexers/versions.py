"""Published indexes on disk: `<indexes>/<embedding>/<version>/`, never changed once there, and `CURRENT`.

`CURRENT` lists versions, a line each: the first is served, those below are what was served before it, the latest
first. It is one small file, replaced whole, so a switch or a rollback has either happened or not.
"""

from __future__ import annotations

import fcntl
import json
import shutil
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from feature_repo.contracts import digest
from feature_repo.errors import InputError, NotFoundError, StateError
from feature_repo.files import BESIDE, digest_file, replacing, write_json
from feature_repo.settings import Settings

INDEX_FILE = "index.faiss"
IDS_FILE = "content_ids.json"
MANIFEST_FILE = "manifest.json"
CURRENT_FILE = "CURRENT"


@dataclass(frozen=True, slots=True)
class IndexManifest:
    """What an index is. Equal input gives an equal manifest, so times are in the catalog and not here."""

    embedding: str
    spec_digest: str
    version: str
    kind: str
    params: Mapping[str, int]
    metric: str
    dim: int
    count: int
    skipped: int
    recall: float
    recall_k: int
    recall_sample: int
    seed: int
    faiss: str
    files: Mapping[str, str]


def embedding_dir(settings: Settings, embedding: str) -> Path:
    """Where the versions of one embedding lie."""
    return settings.indexes_dir / embedding


def version_dir(settings: Settings, embedding: str, version: str) -> Path:
    """Where one version lies."""
    return embedding_dir(settings, embedding) / version


@contextmanager
def exclusive(settings: Settings, embedding: str) -> Iterator[None]:
    """Hold off other processes that would change this embedding's versions; the system lets go if this one dies."""
    folder = embedding_dir(settings, embedding)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def write_manifest(folder: Path, manifest: IndexManifest) -> None:
    """Write a manifest with its own digest in it."""
    values = asdict(manifest)
    write_json(folder / MANIFEST_FILE, values | {"digest": _digest(values)})


def read_manifest(folder: Path, verify: bool = True) -> IndexManifest:
    """The manifest of a version, its files compared with the digests in it unless `verify` is false.

    Raises StateError where the manifest or a file is missing, damaged or another's. The manifest's own digest is
    compared always.
    """
    mend = "build it again with `larder index` (that of users: `larder release`), or `larder index --rollback`"
    try:
        values = json.loads((folder / MANIFEST_FILE).read_bytes())
        if values.pop("digest") != _digest(values):
            raise ValueError("the manifest is not as it was written")
        manifest = IndexManifest(**values)
        if manifest.version != folder.name:
            raise ValueError(f"it is of version {manifest.version}")
        for name in (INDEX_FILE, IDS_FILE):
            if verify and digest_file(folder / name) != manifest.files[name]:
                raise StateError(f"{folder / name} is not the file that was published: {mend}")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise StateError(f"{folder} holds no readable index ({type(error).__name__}: {error}): {mend}") from error
    return manifest


def history(settings: Settings, embedding: str) -> list[str]:
    """Versions as they were switched to: the current one, then the ones before it. Empty where none is published."""
    try:
        return (embedding_dir(settings, embedding) / CURRENT_FILE).read_text().split()
    except FileNotFoundError:
        return []


def current(settings: Settings, embedding: str) -> str:
    """The version that is served. Raises StateError where none is published."""
    switched = history(settings, embedding)
    if not switched:
        raise StateError(f"no index of {embedding!r} is published yet: run `larder index {embedding}`")
    return switched[0]


def published(settings: Settings, embedding: str) -> list[IndexManifest]:
    """Every readable version, the current one first, then by last use; file digests are not compared."""
    folder = embedding_dir(settings, embedding)
    switched = history(settings, embedding)
    names = [f.name for f in folder.iterdir() if f.is_dir() and not f.name.startswith(BESIDE)] if switched else []
    found = []
    for name in sorted(names, key=lambda n: (switched.index(n) if n in switched else len(switched), n)):
        try:
            found.append(read_manifest(folder / name, verify=False))
        except StateError:
            continue
    return found


def resolve(settings: Settings, embedding: str, version: str = "current") -> IndexManifest:
    """The verified manifest of a version. Raises NotFoundError for an unknown one, StateError for a damaged one."""
    name = current(settings, embedding) if version == "current" else version
    if name != Path(name).name or not (embedding_dir(settings, embedding) / name).is_dir():
        valid = ", ".join(m.version for m in published(settings, embedding)) or "none"
        raise NotFoundError(f"no version {name!r} of the index of {embedding!r}; published: {valid}")
    return read_manifest(version_dir(settings, embedding, name))


def switch(settings: Settings, embedding: str, version: str) -> None:
    """Make `version` the current one; the caller holds `exclusive` and has verified it."""
    switched = history(settings, embedding)
    if switched[:1] != [version]:
        _write_history(settings, embedding, [version, *(v for v in switched if v != version)])


def rollback(settings: Settings, embedding: str, to: str | None = None) -> IndexManifest:
    """Serve the version that was served before the current one, or `to`; gives its manifest.

    Raises StateError where there is none before it or it is damaged, NotFoundError where `to` is unknown. The
    current version stays current then.
    """
    current(settings, embedding)
    with exclusive(settings, embedding):
        switched = history(settings, embedding)
        if to is not None:
            manifest = resolve(settings, embedding, to)
            switch(settings, embedding, manifest.version)
            return manifest
        if len(switched) < 2:
            others = ", ".join(m.version for m in published(settings, embedding) if m.version != switched[0]) or "none"
            raise StateError(
                f"the index of {embedding!r} has no version before {switched[0]}; others to name: {others}"
            )
        manifest = resolve(settings, embedding, switched[1])
        _write_history(settings, embedding, switched[1:])
        return manifest


def prune(settings: Settings, embedding: str, keep: int, pinned: Collection[str] = ()) -> list[str]:
    """Delete all but the `keep` latest versions of the history and the `pinned`; gives what was deleted, sorted.

    Raises InputError for `keep` below 1, StateError where nothing is published.
    """
    if keep < 1:
        raise InputError(f"keep must be at least 1, not {keep}: the current version is served")
    current(settings, embedding)
    with exclusive(settings, embedding):
        switched = history(settings, embedding)
        kept = {*switched[:keep], *pinned}
        gone = sorted(m.version for m in published(settings, embedding) if m.version not in kept)
        _write_history(settings, embedding, [v for v in switched if v not in gone])
        for version in gone:
            shutil.rmtree(version_dir(settings, embedding, version))
    return gone


def _digest(values: Mapping[str, object]) -> str:
    return digest(json.dumps(values, sort_keys=True))


def _write_history(settings: Settings, embedding: str, switched: list[str]) -> None:
    with replacing(embedding_dir(settings, embedding) / CURRENT_FILE) as beside:
        beside.write_text("".join(f"{version}\n" for version in switched))
