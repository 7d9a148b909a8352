"""MovieLens in particular, on a small release and on the real one."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pytest

from feature_repo.contracts import EventType, Interaction, Modality, User
from feature_repo.datasets.movielens import MovieLens
from feature_repo.errors import InputError


def test_a_film(movielens: Path) -> None:
    film = next(MovieLens(movielens).contents())
    assert film.title == "Sun, Moon (1995)"
    assert film.description == "Two lines\nof story."
    assert film.tags == ("Comedy", "FilmNoir")
    assert film.attributes == {"year": 1995.0, "duration_s": 4860.0, "language": "en"}
    assert film.counters == {"votes": 10878.0}
    assert film.creator_id is None


def test_publication_is_new_year_not_before_1970_and_not_after_the_first_rating(movielens: Path) -> None:
    films = {film.content_id: film for film in MovieLens(movielens).contents()}
    assert films["1"].published_at == datetime(1995, 1, 1, tzinfo=UTC)
    assert films["2"].published_at == datetime(1970, 1, 1, tzinfo=UTC)
    assert films["2"].attributes == {"year": 1922.0}
    assert films["3"].published_at == datetime.fromtimestamp(874724710, UTC)


def test_without_a_year_publication_is_the_first_rating_of_the_film_or_of_all(movielens: Path) -> None:
    items = movielens / "items.csv"
    items.write_text("movie_id,title,year\n1,Rated,\n4,Not rated,\n5,Not rated (1999),1999\n")
    films = {film.content_id: film.published_at for film in MovieLens(movielens).contents()}
    assert films["1"] == datetime.fromtimestamp(881250949, UTC)
    assert films["4"] == datetime.fromtimestamp(874724710, UTC)
    assert films["5"] == datetime(1999, 1, 1, tzinfo=UTC)


ANNS = """{'id': 2, 'name': ""Ann's"", 'origin_country': 'US'}"""
FEATURES = f"""movie_id,production_companies,release_date
1,"[{{'id': 1, 'name': 'Small', 'origin_country': ''}}, {ANNS}]",1994-11-22
2,"[{ANNS}]",1999-01-01
3,[],soon
"""


def test_what_item_features_adds(movielens: Path) -> None:
    (movielens / "item_features.csv").write_text(FEATURES)
    films = {film.content_id: film for film in MovieLens(movielens).contents()}
    assert films["1"].creator_id == "Ann's", "the studio with the most films"
    assert films["1"].published_at == datetime(1994, 11, 22, tzinfo=UTC)
    assert films["2"].published_at == datetime(1970, 1, 1, tzinfo=UTC), "a day of another year is another film's"
    assert films["3"].creator_id is None


def test_ratings_and_users(movielens: Path) -> None:
    dataset = MovieLens(movielens)
    ratings = list(dataset.interactions())
    when = datetime.fromtimestamp(881250950, UTC)
    assert ratings[1] == Interaction("10", "2", EventType.RATING, when, 3.5)
    assert "rating is not from 0.5 to 5 stars" in {reject.kind for reject in dataset.rejects.kept}
    assert list(dataset.users()) == [
        User("10", {"age": 24.0, "sex": "M", "occupation": "technician", "zip_code": "01234"}),
        User("11", {"age": 53.0, "sex": "F", "occupation": "other", "zip_code": "T8H1N"}),
    ]


def test_bad_users_are_told(movielens: Path) -> None:
    (movielens / "users.csv").write_text("user_id,age\n10,24\n10,25\n11,old\n,5\n12,\n")
    dataset = MovieLens(movielens)
    assert [user.user_id for user in dataset.users()] == ["10", "12"]
    assert [(reject.line, reject.kind) for reject in dataset.rejects.kept] == [
        (3, "duplicate id"),
        (4, "age is not a finite number"),
        (5, "user_id is blank"),
    ]


def test_the_file_of_users_is_required(movielens: Path) -> None:
    (movielens / "users.csv").unlink()
    with pytest.raises(InputError, match=r"no file .*users\.csv"):
        MovieLens(movielens)


@pytest.mark.real
def test_the_real_release(real_data: Path) -> None:
    folder = real_data / "movielens100k"
    if not folder.is_dir():
        pytest.skip(f"no {folder}")
    dataset = MovieLens(folder)
    films = {film.content_id: film for film in dataset.contents()}
    assert len(films) == 1682
    assert dataset.rejects.by_reason() == {("items.csv", "duplicate id"): 64}
    assert dataset.missing_media == Counter({Modality.IMAGE: 19})
    assert {name for film in films.values() for name in film.attributes} == {"year", "duration_s", "language"}
    assert len(list(dataset.users())) == 943
    ratings = list(dataset.interactions())
    assert len(ratings) == 99_815
    assert all(films[rating.content_id].published_at <= rating.timestamp for rating in ratings)
    assert dataset.rejects.total == 64
