"""Every Feast type, in and out of columns, against Feast's own conversion."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from feast import FeatureView, Field, FileSource, ValueType
from feast.protos.feast.types.Value_pb2 import FloatList, Value
from feast.type_map import feast_value_type_to_python_type, python_values_to_proto_values
from hypothesis import given
from hypothesis import strategies as st

from feature_repo.columnar.layout import CREATED, Place, ViewLayout, codec_for
from feature_repo.columnar.lists import Vector, common_width, pack_rows
from feature_repo.columnar.scalars import Opaque
from feature_repo.columnar.storage import Column
from feature_repo.columnar.values import Cells, Raw
from feature_repo.errors import StateError
from tests.feature_repo.columnar.pair import FIELDS, kinds_table


def cells(value_type: ValueType, raw: Raw) -> Cells:
    """What was stored, as if read back."""
    codec = codec_for(value_type)
    if isinstance(raw, list):
        return Cells(codec, raw)
    values, mask = raw
    if value_type.name.endswith("LIST"):
        return Cells(codec, pack_rows(raw))
    return Cells(codec, values, np.ones(len(values), np.bool_) if mask is None else mask)


@pytest.mark.parametrize("name", FIELDS)
def test_arrow_and_protobuf_give_the_same_column(name: str) -> None:
    value_type = FIELDS[name].to_value_type()
    column = kinds_table().column(name).combine_chunks()
    protos = python_values_to_proto_values(column.to_numpy(zero_copy_only=False), value_type)
    codec = codec_for(value_type)
    from_protos = cells(value_type, codec.from_protos(protos))
    assert from_protos.protos() == protos
    assert from_protos.python() == [feast_value_type_to_python_type(proto, value_type) for proto in protos]
    direct = codec.from_arrow(column)
    assert (direct is None) == isinstance(codec, Opaque)
    if direct is not None:
        assert cells(value_type, direct).protos() == protos


@pytest.mark.parametrize("name", FIELDS)
def test_numpy_and_arrow_agree_with_python(name: str) -> None:
    value_type = FIELDS[name].to_value_type()
    column = kinds_table().column(name).combine_chunks()
    protos = python_values_to_proto_values(column.to_numpy(zero_copy_only=False), value_type)
    found = cells(value_type, codec_for(value_type).from_protos(protos))
    assert found.valid.tolist() == [value is not None for value in found.python()]
    assert found.arrow().is_valid().to_pylist() == found.valid.tolist()
    assert len(found.numpy()) == len(protos)
    assert found.where(np.zeros(4, np.bool_)).python() == [None] * 4


def test_slices_and_large_and_fixed_lists_are_read_alike() -> None:
    codec = codec_for(ValueType.FLOAT_LIST)
    rows = [[9.0, 9.0], [1.0, 2.0], None, [3.0, 4.0]]
    expected = [None if row is None else np.array(row, np.float32).tobytes() for row in rows[1:]]
    for kind in (pa.list_(pa.float32()), pa.large_list(pa.float64()), pa.list_(pa.float32(), 2)):
        raw = codec.from_arrow(pa.array(rows, kind).slice(1))
        assert raw is not None
        assert pack_rows(raw) == expected


def test_nulls_inside_lists_are_left_to_feast() -> None:
    column = pa.array([[1.0, None]], pa.list_(pa.float32()))
    assert codec_for(ValueType.FLOAT_LIST).from_arrow(column) is None


def test_lossless_integers_beside_nulls() -> None:
    raw = codec_for(ValueType.INT64).from_arrow(pa.array([2**62 + 1, None], pa.int64()))
    assert raw is not None
    assert cells(ValueType.INT64, raw).python() == [2**62 + 1, None]


def test_an_integer_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="not in range"):
        codec_for(ValueType.INT32).from_arrow(pa.array([2**40], pa.int64()))


@given(st.lists(st.none() | st.lists(st.floats(width=32, allow_nan=False), max_size=4), max_size=8), st.integers(1, 4))
def test_split_loses_no_vector(rows: list[list[float] | None], width: int) -> None:
    codec = codec_for(ValueType.FLOAT_LIST)
    protos = [Value() if row is None else Value(float_list_val=FloatList(val=row)) for row in rows]
    raw = codec.from_protos(protos)
    place = Place.of(Field(name="v", dtype=FIELDS["vector"]))
    vector = Vector(codec.value_type, codec.field, "f4", pa.float32(), FloatList, width)
    (matrix, mask), others = vector.split(raw)
    assert matrix.shape == (len(rows), width)
    assert place.ragged is not None
    joined: list[Any] = list(others or [None] * len(rows))
    for row, packed in enumerate(pack_rows((matrix, mask))):
        joined[row] = packed if packed is not None else joined[row]
    assert Cells(codec, joined).protos() == protos


@given(st.lists(st.none() | st.lists(st.text(max_size=3), max_size=4), max_size=6), st.integers(0, 3))
def test_lists_of_texts_and_blobs_lose_nothing(rows: list[list[str] | None], start: int) -> None:
    blobs = [None if row is None else [text.encode("utf-16") for text in row] for row in rows]
    for value_type, values, item in (
        (ValueType.STRING_LIST, rows, pa.string()),
        (ValueType.STRING_LIST, rows, pa.large_string()),
        (ValueType.BYTES_LIST, blobs, pa.binary()),
    ):
        codec, expected = codec_for(value_type), values[start:]
        for kind in (pa.list_(item), pa.large_list(item)):
            raw = codec.from_arrow(pa.array(values, kind).slice(start))
            assert isinstance(raw, list)
            found = Cells(codec, raw)
            assert found.python() == expected
            assert found.arrow().to_pylist() == expected
            assert codec.from_protos(found.protos()) == raw


def test_fixed_size_lists_of_texts_with_null_rows() -> None:
    codec = codec_for(ValueType.STRING_LIST)
    raw = codec.from_arrow(pa.array([["a", "b"], None, ["c", "dd"]], pa.list_(pa.string(), 2)))
    assert isinstance(raw, list)
    assert Cells(codec, raw).python() == [["a", "b"], None, ["c", "dd"]]


@pytest.mark.parametrize("column", [pa.array([["a", None]]), pa.array([[1]]), pa.array(["a"])])
def test_what_is_no_plain_list_of_texts_is_left_to_feast(column: pa.Array) -> None:
    assert codec_for(ValueType.STRING_LIST).from_arrow(column) is None


def test_a_column_of_an_older_version_is_told() -> None:
    view = FeatureView(
        name="v", schema=[Field(name="words", dtype=FIELDS["words"])], source=FileSource(path="unread.parquet")
    )
    before, today = Column("words:STRING_LIST", "bytes"), Column("words:STRING_LIST:items", "bytes")
    with pytest.raises(StateError, match="words:STRING_LIST: stored by an older version; run `feast apply`"):
        ViewLayout(view, [before]).names(["words"])
    assert ViewLayout(view, [before]).desired() == [today, CREATED]
    assert ViewLayout(view, [before, today]).names(["words"]) == [today.name]


@pytest.mark.parametrize(
    ("rows", "width"),
    [([b"12345678", None, b"12345678"], 2), ([b"1234", b"12345678"], None), ([None], 0), ([b""], None)],
)
def test_the_common_width(rows: list[bytes | None], width: int | None) -> None:
    assert common_width(rows, itemsize=4) == width
