"""Row keys: the same from every door, different for different entities."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from feast import ValueType
from feast.protos.feast.types.Value_pb2 import Value
from feast.type_map import python_values_to_proto_values
from hypothesis import given
from hypothesis import strategies as st

from feature_repo.columnar.keys import encode_arrow, encode_integers, encode_protos, encode_texts, row_keys

TEXTS = st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=12), max_size=8)
INTEGERS = st.lists(st.integers(-(2**63), 2**63 - 1), max_size=8)


@given(TEXTS)
def test_texts_are_the_same_from_every_door(texts: list[str]) -> None:
    protos = encode_protos("k", [Value(string_val=text) for text in texts])
    assert encode_texts(texts) == protos
    assert encode_arrow("k", pa.array(texts, pa.string()), ValueType.STRING) == protos


@given(INTEGERS)
def test_integers_are_the_same_from_every_door(numbers: list[int]) -> None:
    protos = encode_protos("k", [Value(int64_val=number) for number in numbers])
    assert encode_integers(np.array(numbers, np.int64)) == protos
    assert encode_arrow("k", pa.array(numbers, pa.int64()), ValueType.INT64) == protos


def test_int32_and_int64_of_one_number_are_one_key() -> None:
    assert encode_protos("k", [Value(int32_val=-5)]) == encode_protos("k", [Value(int64_val=-5)])


def test_arrow_of_another_type_is_converted_as_feast_does() -> None:
    numbers = pa.array([1, 22], pa.int64())
    assert encode_arrow("k", numbers, ValueType.STRING) == encode_texts(["1", "22"])
    moments = pa.array([0, 10**6], pa.timestamp("us", "UTC"))
    expected = python_values_to_proto_values(moments.to_numpy(zero_copy_only=False), ValueType.UNIX_TIMESTAMP)
    assert encode_arrow("k", moments, ValueType.UNIX_TIMESTAMP) == encode_protos("k", expected)


@given(st.lists(st.tuples(st.text("ab", max_size=3), st.text("ab", max_size=3)), unique=True, max_size=12))
def test_composite_keys_are_distinct(pairs: list[tuple[str, str]]) -> None:
    left, right = [a for a, _ in pairs], [b for _, b in pairs]
    keys = row_keys({"a": encode_texts(left), "b": encode_texts(right)})
    assert len(set(keys)) == len(pairs)


def test_keys_hang_on_the_names_of_the_join_keys_and_not_on_their_order() -> None:
    one, two = encode_texts(["1"]), encode_texts(["2"])
    assert row_keys({"a": one, "b": two}) == row_keys({"b": two, "a": one})
    assert row_keys({"a": one}) != row_keys({"b": one})
    assert row_keys({"a": one, "b": two}) != row_keys({"a": two, "b": one})


def test_long_keys_stay_distinct_within_the_room_that_storage_has() -> None:
    keys = row_keys({"url": encode_texts(["x" * 600 + "1", "x" * 600 + "2", "x" * 60])})
    assert len(set(keys)) == 3
    assert max(map(len, keys)) <= 480


def test_a_null_or_a_kind_that_is_no_key_is_told_with_its_row() -> None:
    with pytest.raises(ValueError, match="'k', row 1: the value is null"):
        encode_protos("k", [Value(string_val="a"), Value()])
    with pytest.raises(ValueError, match="'k', row 1: the value is null"):
        encode_arrow("k", pa.array(["a", None]), ValueType.STRING)
    with pytest.raises(ValueError, match="float_val cannot be a key"):
        encode_protos("k", [Value(float_val=1.0)])
