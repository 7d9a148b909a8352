"""Which views are online as they are on disk, so that materializing again costs nothing."""

from __future__ import annotations

import json
from pathlib import Path

from feature_repo.contracts import digest
from feature_repo.files import sweep, write_json


def source_digest(folder: Path) -> str:
    """Changes whenever a Parquet file of `folder` is added, removed or replaced."""
    said = []
    for file in sorted(folder.glob("*.parquet")):
        stat = file.stat()
        said.append(f"{file.name} {stat.st_size} {stat.st_mtime_ns}")
    return digest(*said)


class Marks:
    """What each view's source looked like when it was last brought online, in the file at `path`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        sweep(path.parent)
        self._marks: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}

    def get(self, view: str) -> str | None:
        """The mark of a view, None where there is none."""
        return self._marks.get(view)

    def put(self, view: str, mark: str) -> None:
        """Remember that a view is online as `mark` says."""
        self._marks[view] = mark
        write_json(self._path, self._marks)
