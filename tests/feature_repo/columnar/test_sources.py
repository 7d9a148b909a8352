"""What counts as a source's files, and reading them whole or in runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from feast import FileSource, PushSource
from feast.data_format import DeltaFormat
from polars.testing import assert_frame_equal

from feature_repo.columnar.sources import ParquetSource, local_path
from feature_repo.errors import InputError


def write(path: Path, numbers: list[int], **more: list[object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pl.DataFrame({"n": numbers, **more}).write_parquet(path, row_group_size=2)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path / "b.parquet", [3, 4, 5])
    write(tmp_path / "a.parquet", [1, 2])
    write(tmp_path / "deep" / "c.parquet", [6])
    write(tmp_path / ".writing-1-x.d" / "a.parquet", [100])
    write(tmp_path / "_tmp" / "a.parquet", [101])
    write(tmp_path / ".hidden.parquet", [102])
    (tmp_path / "notes.txt").write_text("no rows")
    return tmp_path


@pytest.mark.parametrize(
    ("place", "numbers"),
    [
        ("", [1, 2, 3, 4, 5, 6]),
        ("b.parquet", [3, 4, 5]),
        ("*.parquet", [1, 2, 3, 4, 5]),
        ("**/*.parquet", [1, 2, 3, 4, 5, 6]),
        ("d*", [6]),
    ],
)
def test_files_of_a_path(folder: Path, place: str, numbers: list[int]) -> None:
    for source in (ParquetSource.at(str(folder / place), None), ParquetSource.at(place, folder)):
        assert source.read(["n"])["n"].to_list() == numbers


def test_runs_are_numbered_through_all_files(folder: Path) -> None:
    source = ParquetSource.at(str(folder), None)
    runs = [(part.first, part.batch["n"].to_pylist()) for part in source.parts(["n"], 2)]
    assert runs == [(0, [1, 2]), (2, [3, 4]), (4, [5]), (5, [6])]
    needed = np.array([False, False, True, False, False, False])
    assert [part.first for part in source.parts(["n"], 2, needed)] == [2]


def test_files_of_different_columns(tmp_path: Path) -> None:
    """A column that came later is null before; one whose type changed takes the first one's."""
    write(tmp_path / "0.parquet", [1])
    pl.DataFrame({"n": pl.Series([2], dtype=pl.Int16), "late": ["x"]}).write_parquet(tmp_path / "1.parquet")
    source = ParquetSource.at(str(tmp_path), None)
    assert source.read(["n", "late"]).rows() == [(1, None), (2, "x")]
    assert source.read(["late"]).rows() == [(None,), ("x",)]


def test_columns_in_the_names_of_folders(tmp_path: Path) -> None:
    write(tmp_path / "day=1" / "0.parquet", [1, 2, 3])
    write(tmp_path / "day=2" / "0.parquet", [4])
    source = ParquetSource.at(str(tmp_path), None)
    assert source.read(["day", "n"]).rows() == [("1", 1), ("1", 2), ("1", 3), ("2", 4)]
    assert source.read(["day"])["day"].to_list() == ["1", "1", "1", "2"]


def test_wide_rows_go_by_in_runs(tmp_path: Path) -> None:
    """However large the row groups are."""
    vectors = np.arange(40, dtype=np.float32).reshape(10, 4)
    table = pa.table({"v": pa.FixedSizeListArray.from_arrays(vectors.ravel(), 4)})
    pq.write_table(table, tmp_path / "v.parquet", row_group_size=10)
    source = ParquetSource.at(str(tmp_path / "v.parquet"), None)
    parts = list(source.parts(["v"], 3))
    assert [part.batch.num_rows for part in parts] == [3, 3, 3, 1]
    assert_frame_equal(pl.DataFrame(pa.Table.from_batches([part.batch for part in parts])), source.read(["v"]))


def test_names(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", [1])
    source = ParquetSource.of(FileSource(path=str(tmp_path), timestamp_field="t", field_mapping={"n": "number"}), None)
    assert source.column("number") == source.column("n") == "n"
    with pytest.raises(InputError, match="no column 'm'; there are: n"):
        source.column("m")


def test_places_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no Parquet there; write it first, or mend the path"):
        ParquetSource.at("nothing", tmp_path)
    with pytest.raises(InputError, match="reads local paths; for s3 use"):
        ParquetSource.at("s3://bucket/rows.parquet", None)
    with pytest.raises(InputError, match="reads Parquet, not"):
        ParquetSource.of(FileSource(path=str(tmp_path), timestamp_field="t", file_format=DeltaFormat()), None)
    with pytest.raises(InputError, match="reads FileSource, not PushSource"):
        ParquetSource.of(PushSource(name="push", batch_source=FileSource(path="x", timestamp_field="t")), None)
    assert local_path("file:///data/rows.parquet", tmp_path) == Path("/data/rows.parquet")
