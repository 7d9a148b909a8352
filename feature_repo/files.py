"""Files that are whole or absent: written beside, flushed, renamed into place."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from stat import S_ISREG
from typing import Any, BinaryIO

from feature_repo.errors import UnavailableError

BESIDE = ".writing-"
_OPEN: set[Path] = set()  # folders that this process writes in at the moment


@contextmanager
def replacing(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """Yield a path to write a file or folder to; on success it takes `path`'s place in one step, else it is removed.

    It has `path`'s name inside a hidden folder beside it, so no pattern over the folder finds it half-written.
    `durable=False` skips the flush to disk, for what can be made again.
    """
    holder = path.parent / f"{BESIDE}{os.getpid()}-{path.name}.d"
    holder.mkdir(parents=True, exist_ok=True)
    _OPEN.add(holder)
    beside = holder / path.name
    try:
        yield beside
        if durable:
            _flush(beside)
        beside.replace(path)
        if durable:
            _sync(path.parent)
    finally:
        shutil.rmtree(holder, ignore_errors=True)
        _OPEN.discard(holder)


@contextmanager
def scratch(parent: Path, name: str) -> Iterator[Path]:
    """Yield an empty folder in `parent` for the block's own use; `sweep` removes what a killed process left of one."""
    folder = parent / f"{BESIDE}{os.getpid()}-{name}.d"
    folder.mkdir(parents=True)
    _OPEN.add(folder)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        _OPEN.discard(folder)


@contextmanager
def only_writer(folder: Path) -> Iterator[None]:
    """Keep every other process from writing in `folder`. Raises UnavailableError where one does."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / f".{folder.name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UnavailableError(f"another run is writing {folder}; wait for it to end") from error
        yield


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON with sorted keys, whole or not at all."""
    with replacing(path) as beside:
        beside.write_text(json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n")


def sweep(folder: Path) -> None:
    """Remove what killed writers left beside the files of `folder`; those that are at work keep theirs."""
    for left in folder.glob(f"{BESIDE}*") if folder.is_dir() else ():
        writer = int(left.name.removeprefix(BESIDE).partition("-")[0])
        if left not in _OPEN if writer == os.getpid() else not _runs(writer):
            shutil.rmtree(left, ignore_errors=True)


def open_plain(path: Path) -> BinaryIO:
    """A file to read bytes from. Raises OSError, also for a pipe or a device: opening those might never end."""
    if not S_ISREG(path.stat().st_mode):
        raise OSError(errno.EINVAL, "it is a directory, a pipe or a device", str(path))
    return path.open("rb")


def digest_file(path: Path) -> str:
    """Hex BLAKE2b-128 of a file's bytes. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _flush(path: Path) -> None:
    """Fsync a file, or a folder with all below it."""
    for entry in sorted(path.rglob("*")) if path.is_dir() else ():
        _sync(entry)
    _sync(path)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
