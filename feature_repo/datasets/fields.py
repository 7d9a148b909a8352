"""Typed values out of a row. Each raises ValueError with `<column> is …: <value>`, the form of a reject's reason."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from feature_repo.datasets.rows import Row

T = TypeVar("T")

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_END_S = datetime(2100, 1, 1, tzinfo=UTC).timestamp()
_LEAST_MS = 1e11  # as seconds this is the year 5138; as milliseconds, March 1973


def text(row: Row, column: str) -> str:
    """The stripped text, which must not be blank."""
    value = row.values[column].strip()
    if not value:
        raise ValueError(f"{column} is blank")
    return value


def text_or_blank(row: Row, column: str) -> str:
    """The stripped text; empty where it is blank or the file has no such column."""
    return row.values.get(column, "").strip()


def number(row: Row, column: str) -> float:
    """A finite number, as data files write it: `float` also takes 1_000, which is no number there."""
    value = text(row, column)
    try:
        parsed = math.nan if "_" in value else float(value)
    except ValueError:
        parsed = math.nan
    if not math.isfinite(parsed):
        raise _wrong(column, "not a finite number", value)
    return parsed


def integer(row: Row, column: str) -> int:
    """A whole number; 3.0 is one."""
    parsed = number(row, column)
    if not parsed.is_integer():
        raise _wrong(column, "not a whole number", text(row, column))
    return int(parsed)


def count(row: Row, column: str) -> float:
    """A number that is not negative."""
    parsed = number(row, column)
    if parsed < 0:
        raise _wrong(column, "negative", text(row, column))
    return parsed


def seconds(row: Row, column: str) -> datetime:
    """A UTC time from seconds since 1970, before 2100."""
    return _time(row, column, number(row, column))


def milliseconds(row: Row, column: str) -> datetime:
    """A UTC time from milliseconds since 1970, before 2100."""
    return _time(row, column, number(row, column) / 1000)


def seconds_or_milliseconds(row: Row, column: str) -> datetime:
    """A UTC time from either; the size tells, because seconds before 2100 are under 1e11 and so too small."""
    return milliseconds(row, column) if number(row, column) >= _LEAST_MS else seconds(row, column)


def date(row: Row, column: str) -> datetime:
    """The start of a day in UTC, from YYYYMMDD between 1970 and 2100."""
    value = text(row, column)
    try:
        parsed = datetime.strptime(value, "%Y%m%d").replace(tzinfo=UTC)
    except ValueError:
        parsed = None
    if parsed is None or not 1970 <= parsed.year < 2100:
        raise _wrong(column, "not a date YYYYMMDD from 1970 to 2100", value)
    return parsed


def optional(parse: Callable[[Row, str], T], row: Row, column: str) -> T | None:
    """`parse`, or None where the value is blank or the file has no such column."""
    return parse(row, column) if text_or_blank(row, column) else None


def counters(row: Row, columns: dict[str, str]) -> dict[str, float]:
    """The counts that are there, by name; `columns` maps a name to its column."""
    found = {name: optional(count, row, column) for name, column in columns.items()}
    return {name: value for name, value in found.items() if value is not None}


def shown(value: str) -> str:
    """A value as a message shows it: quoted, and cut where it is long."""
    return repr(value if len(value) <= 60 else value[:57] + "...")


def _time(row: Row, column: str, since: float) -> datetime:
    if not 0 <= since < _END_S:
        raise _wrong(column, "not a time from 1970 to 2100", text(row, column))
    return EPOCH + timedelta(seconds=since)


def _wrong(column: str, what: str, value: str) -> ValueError:
    return ValueError(f"{column} is {what}: {shown(value)}")
