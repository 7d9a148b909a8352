"""Parquet behind a `FileSource`: a file, a folder or a glob, read whole by column or streamed in file order.

Rows are numbered through all files in the order of their paths. Hidden files and folders (a name that starts with a
dot or an underscore) are another writer's unfinished work and are passed over. Folders named `column=value` give a
text column, as Hive does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from urllib.parse import urlparse

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from feast.data_format import ParquetFormat
from feast.data_source import DataSource
from feast.infra.offline_stores.file_source import FileSource

from feature_repo.errors import InputError

_READ_BUFFER = 1 << 20
_WILD = frozenset("*?[")


@dataclass(frozen=True, slots=True)
class Part:
    """A run of a source's rows: `first` is the number of the first one."""

    first: int
    batch: pa.RecordBatch


@dataclass(frozen=True)
class ParquetSource:
    """The rows of some Parquet files. `renames` maps names in the files to those that features go by."""

    place: str
    files: tuple[Path, ...]
    renames: Mapping[str, str]
    hive: tuple[Mapping[str, str], ...]

    @classmethod
    def of(cls, source: DataSource, repo_path: Path | None) -> ParquetSource:
        """The files behind a Feast source. Raises InputError where they are not local Parquet or there are none."""
        if not isinstance(source, FileSource):
            raise InputError(f"{source.name}: PolarsOfflineStore reads FileSource, not {type(source).__name__}")
        if not isinstance(source.file_format, ParquetFormat | None):
            raise InputError(f"{source.name}: PolarsOfflineStore reads Parquet, not {source.file_format}")
        return cls.at(source.path, repo_path, source.field_mapping)

    @classmethod
    def at(cls, place: str, repo_path: Path | None, renames: Mapping[str, str] | None = None) -> ParquetSource:
        """The files at a path relative to `repo_path`. Raises InputError where there are none."""
        root = local_path(place, repo_path)
        files = sorted(find_parquet(root))
        if not files:
            raise InputError(f"{root}: no Parquet there; write it first, or mend the path of the source")
        return cls(place, tuple(files), renames or {}, tuple(_hive_values(root, file) for file in files))

    @cached_property
    def schema(self) -> pa.Schema:
        """Every column of any of the files, by its name there; the first file that has it sets its type."""
        fields: dict[str, pa.Field] = {}
        for file, values in zip(self.files, self.hive, strict=True):
            for field in (*pq.read_schema(file), *(pa.field(name, pa.string()) for name in values)):
                fields.setdefault(field.name, field)
        return pa.schema(list(fields.values()))

    def column(self, name: str) -> str:
        """What the files call a column that may have been renamed. Raises InputError where they have none."""
        for old in (*(old for old, new in self.renames.items() if new == name), name):
            if old in self.schema.names:
                return old
        raise InputError(f"{self.place}: no column {name!r}; there are: {', '.join(self.schema.names)}")

    def read(self, columns: Sequence[str]) -> pl.DataFrame:
        """All rows of the named columns (as the files call them); null where a file lacks one."""
        if self._uniform:
            scan = pl.scan_parquet(list(self.files), hive_partitioning=False).select(columns)
            return scan.collect().rechunk()  # a gather from chunks costs ten times as much
        table = pa.Table.from_batches((part.batch for part in self.parts(columns)), self._schema_of(columns))
        return pl.DataFrame(table).rechunk()

    def parts(
        self, columns: Sequence[str], rows: int = 1 << 16, needed: npt.NDArray[np.bool_] | None = None
    ) -> Iterator[Part]:
        """Stream the named columns in runs of at most `rows`; row groups with no `needed` row are passed over.

        Only one run and the pages under it are in memory at a time, however large the row groups are.
        """
        first = 0
        for file, values in zip(self.files, self.hive, strict=True):
            with pq.ParquetFile(file, buffer_size=_READ_BUFFER, pre_buffer=False) as parquet:
                for group in range(parquet.num_row_groups):
                    after = first + parquet.metadata.row_group(group).num_rows
                    if needed is None or needed[first:after].any():
                        yield from self._parts_of(parquet, group, first, values, columns, rows)
                    first = after

    def _parts_of(
        self,
        parquet: pq.ParquetFile,
        group: int,
        first: int,
        values: Mapping[str, str],
        columns: Sequence[str],
        rows: int,
    ) -> Iterator[Part]:
        schema = self._schema_of(columns)
        held = [name for name in columns if name in parquet.schema_arrow.names]
        left = parquet.metadata.row_group(group).num_rows
        if not held:
            runs: Iterator[pa.RecordBatch | None] = iter([None] * -(-left // rows))
        else:
            runs = parquet.iter_batches(rows, row_groups=[group], columns=held, use_threads=len(held) > 1)
        for run in runs:
            size = min(rows, left) if run is None else run.num_rows
            arrays = [_array(run, field, values, size) for field in schema]
            yield Part(first, pa.RecordBatch.from_arrays(arrays, schema=schema))
            first, left = first + size, left - size

    @cached_property
    def _uniform(self) -> bool:
        """Whether all files have the same columns, and none comes from a folder's name."""
        first = pq.read_schema(self.files[0]).remove_metadata()
        same = all(pq.read_schema(file).remove_metadata().equals(first) for file in self.files[1:])
        return same and not any(self.hive)

    def _schema_of(self, columns: Sequence[str]) -> pa.Schema:
        return pa.schema([self.schema.field(name) for name in columns])


def local_path(place: str, repo_path: Path | None) -> Path:
    """A source's path on this machine. Raises InputError for one that is elsewhere."""
    parsed = urlparse(place)
    if parsed.scheme == "file":
        return Path(parsed.path)
    if parsed.scheme and parsed.netloc:
        raise InputError(f"{place}: PolarsOfflineStore reads local paths; for {parsed.scheme} use Feast's own stores")
    return (repo_path or Path()) / place


def find_parquet(root: Path) -> Iterator[Path]:
    """The Parquet files at a path: itself, those anywhere under a folder, or those that a glob matches."""
    if root.is_file():
        yield root
    elif root.is_dir():
        yield from (file for file in root.rglob("*.parquet") if file.is_file() and not _hidden(file, root))
    elif is_glob(root):
        base = glob_base(root)
        for found in base.glob(str(root.relative_to(base))):
            if not _hidden(found, base):
                yield from find_parquet(found)


def is_glob(path: Path) -> bool:
    """Whether a path has wildcards."""
    return bool(_WILD & set(str(path)))


def glob_base(path: Path) -> Path:
    """The longest folder of a glob that has no wildcard."""
    return next(parent for parent in path.parents if not is_glob(parent))


def _hidden(file: Path, root: Path) -> bool:
    """Whether it is one of the files that writers keep to themselves; `_column=value` is a partition."""
    return any(part[0] == "." or (part[0] == "_" and "=" not in part) for part in file.relative_to(root).parts)


def _hive_values(root: Path, file: Path) -> dict[str, str]:
    base = glob_base(root) if is_glob(root) else root
    if not file.is_relative_to(base) or file == base:
        return {}
    pairs = (part.partition("=") for part in file.relative_to(base).parent.parts)
    return {name: value for name, equals, value in pairs if equals}


def _array(run: pa.RecordBatch | None, field: pa.Field, values: Mapping[str, str], size: int) -> pa.Array:
    """One column of a run in the source's type: from the file, from the folder's name, or null."""
    if run is not None and field.name in run.schema.names:
        array = run.column(field.name)
        return array if array.type == field.type else pc.cast(array, field.type)
    if field.name in values:
        return pa.repeat(pa.scalar(values[field.name], field.type), size)
    return pa.nulls(size, field.type)
