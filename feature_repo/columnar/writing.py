"""Parquet written so that readers see whole files only: beside, in a hidden folder, then moved into place."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq


def replace_parquet(path: Path, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> None:
    """Write a file (a path that ends in `.parquet`) or else a folder with one, in place of what is there."""
    with _beside(path) as hidden:
        made = hidden / path.name
        if path.suffix == ".parquet":
            _write(made, schema, batches)
        else:
            made.mkdir()
            _write(made / "part-0.parquet", schema, batches)
        if path.is_dir():
            path.rename(hidden / "replaced")
        made.replace(path)


def add_parquet(
    folder: Path, schema: pa.Schema, batches: Iterable[pa.RecordBatch], partition_by: Sequence[str] = ()
) -> None:
    """Add one new file to a folder, or one a partition to folders `column=value` below it; nothing is rewritten."""
    with _beside(folder / "rows") as hidden:
        ds.write_dataset(
            pa.RecordBatchReader.from_batches(schema, batches),
            hidden,
            basename_template=f"{uuid.uuid4().hex}-{{i}}.parquet",
            format="parquet",
            partitioning=ds.partitioning(pa.schema([schema.field(name) for name in partition_by]), flavor="hive"),
            use_threads=False,
        )
        for file in sorted(hidden.rglob("*.parquet")):
            target = folder / file.relative_to(hidden)
            target.parent.mkdir(parents=True, exist_ok=True)
            file.replace(target)


def _write(path: Path, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> None:
    with pq.ParquetWriter(path, schema) as writer:
        for batch in batches:
            writer.write_batch(batch)


@contextmanager
def _beside(path: Path) -> Iterator[Path]:
    hidden = path.parent / f".writing-{os.getpid()}-{uuid.uuid4().hex}"
    hidden.mkdir(parents=True)
    try:
        yield hidden
    finally:
        shutil.rmtree(hidden, ignore_errors=True)
