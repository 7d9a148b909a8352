"""MovieLens with posters: `items.csv`, `ratings.csv`, `users.csv`, `posters/<movie_id>.jpg` and `item_features.csv`.

The tables are those of ML-100K (Harper and Konstan 2015, doi:10.1145/2827872) with text from TMDB. Of an item's
audience only `vote_count` is taken, and as a counter; averages, popularity and revenue are not read at all. Of
`item_features.csv`, which may be absent, the day of release and the studios are taken: a film's creator is the studio
with the most films.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from feature_repo.contracts import Content, EventType, Interaction, Modality, User
from feature_repo.datasets.base import unreported
from feature_repo.datasets.fields import (
    EPOCH,
    counters,
    integer,
    number,
    optional,
    seconds,
    shown,
    text,
    text_or_blank,
)
from feature_repo.datasets.rows import Row, Table
from feature_repo.datasets.tabular import FirstEvents, TabularDataset

GENRES = (
    "Action", "Adventure", "Animation", "Children", "Comedy", "Crime", "Documentary", "Drama", "Fantasy",
    "FilmNoir", "Horror", "IMAX", "Musical", "Mystery", "Romance", "SciFi", "Thriller", "War", "Western",
)  # fmt: skip
"""Columns that are 1 where the film has the genre. `genre_unknown` is no genre."""

_STUDIO = re.compile(r"'name': ['\"](.+?)['\"], 'origin_country'")
"""The names in a cell, which is a list of records as Python writes them."""

_YEARS = range(1874, 2101)  # from the oldest film that there is


class MovieLens(TabularDataset):
    """Films, their raters and their ratings.

    A film is published on the day of its release, or where none is given on 1 January of its year; but not before
    1970, where Unix time begins, and not after its own first rating, because a film that is rated is in the catalog.
    Without a year it is published with its first rating, and without both with the first rating of all.
    `attributes["year"]` is the true year in any case.
    """

    name = "movielens"

    def __init__(self, path: Path) -> None:
        folder = path.absolute()
        super().__init__(
            Table.open(folder / "items.csv", ("movie_id", "title", "year")),
            Table.open(folder / "ratings.csv", ("user_id", "movie_id", "rating", "unix_timestamp")),
            {Modality.IMAGE: [folder / "posters"]},
        )
        self._users = Table.open(folder / "users.csv", ("user_id",))
        self._films = _films(folder / "item_features.csv")

    def users(self) -> Iterator[User]:
        """The rows of `users.csv`, each id once; a rating by somebody else is an event all the same."""
        report = self.rejects.reading(self._users.path.name)
        seen: set[str] = set()
        for row in self._users.rows(report):
            try:
                user = _user(row)
            except ValueError as error:
                report(row.line, str(error))
                continue
            if user.user_id in seen:
                report(row.line, f"duplicate id: {shown(user.user_id)}")
            else:
                seen.add(user.user_id)
                yield user

    def _content(self, row: Row, first: FirstEvents) -> Content:
        content_id = text(row, "movie_id")
        film = self._films.get(content_id, _Film())
        return Content(
            content_id=content_id,
            title=text_or_blank(row, "title"),
            creator_id=film.studio,
            published_at=_published(optional(_year, row, "year"), film.released, content_id, first),
            description=text_or_blank(row, "overview"),
            tags=tuple(genre for genre in GENRES if optional(integer, row, genre) == 1),
            attributes=_attributes(row),
            counters=counters(row, {"votes": "vote_count"}),
        )

    def _interactions(self, row: Row) -> Sequence[Interaction]:
        user_id, content_id = text(row, "user_id"), text(row, "movie_id")
        when = seconds(row, "unix_timestamp")
        return [Interaction(user_id, content_id, EventType.RATING, when, _stars(row))]


@dataclass(frozen=True, slots=True)
class _Film:
    """What `item_features.csv` adds to a film."""

    studio: str | None = None
    released: datetime | None = None


def _films(path: Path) -> dict[str, _Film]:
    """By id. Of a film's studios the one with the most films counts, the first by name of equals."""
    if not path.is_file():
        return {}
    rows = list(Table.open(path, ("movie_id", "production_companies", "release_date")).rows(unreported))
    named = [sorted(set(_STUDIO.findall(row.values["production_companies"]))) for row in rows]
    films = Counter(studio for studios in named for studio in studios)
    return {
        row.values["movie_id"]: _Film(
            max(studios, key=lambda studio: films[studio], default=None), _date(row.values["release_date"])
        )
        for row, studios in zip(rows, named, strict=True)
    }


def _date(said: str) -> datetime | None:
    try:
        return datetime.strptime(said, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        return None


def _published(year: int | None, released: datetime | None, content_id: str, first: FirstEvents) -> datetime:
    if year is None:
        return first[content_id]
    known = released is not None and abs(released.year - year) <= 1  # else it is another film's
    date = max(released if known and released else datetime(year, 1, 1, tzinfo=UTC), EPOCH)
    return min(date, first.of.get(content_id, date))


def _attributes(row: Row) -> dict[str, float | str]:
    year, minutes = optional(_year, row, "year"), optional(number, row, "runtime")
    language = text_or_blank(row, "original_language")
    attributes: dict[str, float | str] = {}
    if year is not None:
        attributes["year"] = float(year)
    if minutes is not None and minutes > 0:  # TMDB writes 0 where it does not know
        attributes["duration_s"] = minutes * 60
    if language:
        attributes["language"] = language
    return attributes


def _year(row: Row, column: str) -> int:
    year = integer(row, column)
    if year not in _YEARS:
        raise ValueError(f"{column} is not a film's year: {year}")
    return year


def _stars(row: Row) -> float:
    stars = number(row, "rating")
    if not 0.5 <= stars <= 5:
        raise ValueError(f"rating is not from 0.5 to 5 stars: {stars}")
    return stars


def _user(row: Row) -> User:
    age = optional(number, row, "age")
    attributes: dict[str, float | str] = {} if age is None else {"age": age}
    for column in ("sex", "occupation", "zip_code"):
        if value := text_or_blank(row, column):
            attributes[column] = value
    return User(text(row, "user_id"), attributes)
