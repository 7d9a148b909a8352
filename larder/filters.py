"""Filters as they are typed: `language=en,de`, `creator!=spam`, `duration_s=..60`, `published_at=2024-01-01..`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from feature_repo.errors import InputError

if TYPE_CHECKING:
    from grpc_api.messages.filters import Filter

HELP = (
    "Only contents with FACT=TEXT,… (one of these), FACT!=TEXT,… (none of these) or FACT=FROM..BELOW (either end may "
    "be left out); repeatable. Facts: creator, language, tags; published_year, published_at (a date), duration_s."
)


def parse_filters(said: Sequence[str]) -> tuple[Filter, ...]:
    """Raises InputError for what is none."""
    return tuple(map(_parse, said))


def _parse(said: str) -> Filter:
    from feature_repo.facts import NUMBER_FACTS
    from grpc_api.messages.filters import AnyOf, Filter, NoneOf, NumberRange

    name, equals, value = said.partition("=")
    if not equals or not name.strip("! ") or not value:
        raise InputError(f"filter {said!r}: write FACT=TEXT, FACT!=TEXT or FACT=FROM..BELOW")
    fact = name.removesuffix("!").strip()
    if fact in NUMBER_FACTS and not name.endswith("!"):
        least, dots, below = value.partition("..")
        if not dots:
            raise InputError(
                f"filter {said!r}: {fact} is a number; write {fact}=FROM..BELOW, either end may be left out"
            )
        return Filter(fact, NumberRange(_end(said, least), _end(said, below)))
    texts = tuple(text.strip() for text in value.split(","))
    return Filter(fact, NoneOf(texts) if name.endswith("!") else AnyOf(texts))


def _end(said: str, text: str) -> float | None:
    """A number, or the seconds since 1970 of a date, which is of UTC; None where it is open."""
    if not text:
        return None
    try:
        return float(text)
    except ValueError:
        pass
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise InputError(f"filter {said!r}: {text!r} is neither a number nor a date like 2024-01-31") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
