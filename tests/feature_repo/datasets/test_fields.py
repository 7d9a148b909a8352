"""Typed values and their messages, which become the reasons of rejects."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from feature_repo.datasets import fields
from feature_repo.datasets.rows import Row

Parse = Callable[[Row, str], object]


def row(value: str) -> Row:
    return Row(7, {"x": value})


NEW_YEAR = datetime(2020, 1, 1, tzinfo=UTC)
GOOD: list[tuple[Parse, str, object]] = [
    (fields.text, " a ", "a"),
    (fields.text_or_blank, " ", ""),
    (fields.number, "-1.5e3", -1500.0),
    (fields.integer, "1995.0", 1995),
    (fields.count, "0", 0.0),
    (fields.seconds, "1577836800", NEW_YEAR),
    (fields.seconds, "1577836800.25", NEW_YEAR.replace(microsecond=250_000)),
    (fields.seconds, "0", fields.EPOCH),
    (fields.milliseconds, "1577836800001", NEW_YEAR.replace(microsecond=1000)),
    (fields.seconds_or_milliseconds, "1577836800", NEW_YEAR),
    (fields.seconds_or_milliseconds, "1577836800000.0", NEW_YEAR),
]
BAD: list[tuple[Parse, str, str]] = [
    (fields.text, " ", "x is blank"),
    (fields.number, "", "x is blank"),
    (fields.number, "abc", "x is not a finite number: 'abc'"),
    (fields.number, "nan", "x is not a finite number: 'nan'"),
    (fields.number, "-inf", "x is not a finite number: '-inf'"),
    (fields.number, "1e999", "x is not a finite number: '1e999'"),
    (fields.number, "1_000", "x is not a finite number: '1_000'"),
    (fields.number, "9" * 5000, "x is not a finite number: '" + "9" * 57 + "...'"),
    (fields.integer, "1.5", "x is not a whole number: '1.5'"),
    (fields.count, "-1", "x is negative: '-1'"),
    (fields.seconds, "-1", "x is not a time from 1970 to 2100: '-1'"),
    (fields.seconds, "4102444800", "x is not a time from 1970 to 2100: '4102444800'"),
    (fields.seconds, "1577836800000", "x is not a time from 1970 to 2100: '1577836800000'"),
    (fields.milliseconds, "1e300", "x is not a time from 1970 to 2100: '1e300'"),
]


@pytest.mark.parametrize(("parse", "value", "expected"), GOOD)
def test_good_values(parse: Parse, value: str, expected: object) -> None:
    assert parse(row(value), "x") == expected


@pytest.mark.parametrize(("parse", "value", "message"), BAD)
def test_bad_values_name_the_column_and_show_the_value(parse: Parse, value: str, message: str) -> None:
    with pytest.raises(ValueError, match=r"^x is ") as caught:
        parse(row(value), "x")
    assert str(caught.value) == message


def test_an_optional_value_may_be_blank_or_have_no_column_but_not_be_wrong() -> None:
    assert fields.optional(fields.number, row(" "), "x") is None
    assert fields.optional(fields.number, row("1"), "y") is None
    assert fields.optional(fields.number, row("1"), "x") == 1
    with pytest.raises(ValueError, match="x is not a finite number"):
        fields.optional(fields.number, row("one"), "x")


def test_counters_leave_out_what_is_not_there() -> None:
    assert fields.counters(Row(2, {"a": "3", "b": ""}), {"likes": "a", "views": "b", "shares": "c"}) == {"likes": 3.0}
