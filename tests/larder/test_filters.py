"""Filters as they are typed."""

from __future__ import annotations

import pytest

from feature_repo.errors import InputError
from grpc_api.messages.filters import AnyOf, Filter, NoneOf, NumberRange
from larder.filters import parse_filters


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("language=en,de", Filter("language", AnyOf(("en", "de")))),
        ("creator!=spam", Filter("creator", NoneOf(("spam",)))),
        ("tags=a=b", Filter("tags", AnyOf(("a=b",)))),
        ("duration_s=..60", Filter("duration_s", NumberRange(None, 60.0))),
        ("published_year=2000..2010.5", Filter("published_year", NumberRange(2000.0, 2010.5))),
        ("published_at=2024-01-01..", Filter("published_at", NumberRange(1704067200.0, None))),
        ("published_at=2024-01-01T01:00+01:00..", Filter("published_at", NumberRange(1704067200.0, None))),
        ("published_at=..", Filter("published_at", NumberRange(None, None))),
        ("weather=fine", Filter("weather", AnyOf(("fine",)))),  # the server knows its facts, and says them
        ("duration_s!=60", Filter("duration_s", NoneOf(("60",)))),
    ],
)
def test_what_is_meant(said: str, meant: Filter) -> None:
    assert parse_filters([said]) == (meant,)


@pytest.mark.parametrize("said", ["language", "=en", "!=en", "language=", "duration_s=60", "duration_s=a..b"])
def test_what_is_none_is_refused_with_the_mend(said: str) -> None:
    with pytest.raises(InputError, match=f"filter '{said}': "):
        parse_filters([said])
