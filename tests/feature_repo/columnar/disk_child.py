"""Fills a small disk of its own through the online store, frees it, makes it read-only; says what happened as JSON.

Runs as root of its own name spaces: `unshare -rm python disk_child.py FOLDER`, where FOLDER is outside the disk.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
from feast import FeatureStore, FeatureView, Field, FileSource
from feast.types import Array, Float32, String

from feature_repo.columnar.online import ColumnarOnlineStore
from feature_repo.errors import LarderError
from tests.feature_repo.columnar.pair import DAY, FOREVER, OURS, content, open_store

ROWS, WIDTH, BALLAST = 500, 64, 3 << 20


def vectors() -> FeatureView:
    """A view whose rows are 256 bytes of vector and some text."""
    return FeatureView(
        name="v",
        entities=[content],
        ttl=FOREVER,
        schema=[
            Field(name="content_id", dtype=String),
            Field(name="text", dtype=String),
            Field(name="vector", dtype=Array(Float32), vector_length=WIDTH),
        ],
        source=FileSource(name="v_file", path="unread.parquet", timestamp_field="at"),
    )


class Writer:
    """Writes batches of rows; the n-th holds contents n * ROWS on."""

    def __init__(self, store: FeatureStore) -> None:
        self.store = store
        self.view = store.get_feature_view("v")
        self.done = 0

    @property
    def online(self) -> ColumnarOnlineStore:
        """The online store."""
        found = self.store._get_provider().online_store
        assert isinstance(found, ColumnarOnlineStore)
        return found

    def put(self) -> None:
        """Write the next batch."""
        ids = [f"c{self.done * ROWS + row}" for row in range(ROWS)]
        flat = pa.array([float(self.done)] * ROWS * WIDTH, pa.float32())
        columns = {
            "content_id": ids,
            "text": ["some text of a row"] * ROWS,
            "vector": pa.FixedSizeListArray.from_arrays(flat, WIDTH),
            "at": pa.array([DAY] * ROWS, pa.timestamp("us", "UTC")),
        }
        self.online.write_arrow(self.store.config, self.view, pa.table(columns))
        self.done += 1

    def refused(self) -> list[str]:
        """Write a batch, which must fail: the kind of error and what it says."""
        try:
            self.put()
        except LarderError as error:
            return [type(error).__name__, str(error)]
        return []

    def held(self) -> list[int]:
        """How many rows are read of those written, and of the next batch's."""
        ids = [f"c{number}" for number in range((self.done + 1) * ROWS)]
        read = self.online.read_columns(self.store.config, self.view, ids)
        whole = read.present & (read.values["text"] == "some text of a row")
        return [int(whole[: self.done * ROWS].sum()), int(read.present[self.done * ROWS :].sum())]


def scene(folder: Path, disk: Path) -> dict[str, Any]:
    """All of it, in order."""
    (disk / "ballast").write_bytes(bytes(BALLAST))
    stores = {**OURS, "online_store": {**OURS["online_store"], "path": str(disk / "online")}}
    store = open_store(folder, stores)
    store.apply([content, vectors()])
    writer = Writer(store)
    said: dict[str, Any] = {}
    while not (full := writer.refused()):
        pass
    said["full"], said["written"], said["held_when_full"] = full, writer.done * ROWS, writer.held()
    said["full_again"], said["held_in_a_new_process"] = writer.refused(), elsewhere(writer)
    (disk / "ballast").unlink()
    writer.put()
    said["held_when_freed"] = writer.held()
    asyncio.run(writer.online.close())
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    said["read_only"], said["held_when_read_only"] = writer.refused(), writer.held()
    return said


def elsewhere(writer: Writer) -> list[int]:
    """What a process reads that opens the store only now."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        asyncio.run(writer.online.close())
        os.write(writing, json.dumps(writer.held()).encode())
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    found: list[int] = json.loads(os.read(reading, 1000))
    return found


if __name__ == "__main__":
    here = Path(sys.argv[1])
    (here / "disk").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(here / "disk")], check=True)
    print(json.dumps(scene(here / "repo", here / "disk")))
