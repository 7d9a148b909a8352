"""What is made of contents ahead of requests: from the table, anew where the store has changed, the same always."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import polars as pl
import pytest
from hypothesis import given
from hypothesis import settings as settings_of
from hypothesis import strategies as st

from feature_repo.columns import Columns, Users, Wanted, stamp
from feature_repo.settings import Settings, load_settings
from predictors.base import Preparing, Scores
from predictors.prepared import Prepared, forget, prepare, prepared

IDS = [f"c{number}" for number in range(9)]


class Squares:
    """Makes of a content its year and the square of it; counts what it makes."""

    name = "squares"
    service = "any"
    features = ("published_year",)
    embeddings: Mapping[str, str] = {}
    width = 2
    prepared = ("published_year",)
    live = Wanted(frozenset())

    def __init__(self, version: str = "v1") -> None:
        self.version = version
        self.made: list[str] = []

    def prepare(self, contents: Columns) -> npt.NDArray[np.float32]:
        self.made += contents.objects("content_id").tolist()
        year = contents.numbers("published_year")
        return np.column_stack([year, year**2]).astype(np.float32)

    def score(self, columns: Columns) -> Scores:
        return self.score_prepared(columns, self.prepare(columns), np.empty((0, 2), np.float32))

    def score_prepared(
        self, columns: Columns, contents: npt.NDArray[np.float32], met: npt.NDArray[np.float32]
    ) -> Scores:
        score = contents.sum(axis=1).astype(np.float64) + met.sum()
        return Scores(score, np.ones((columns.rows, 1)), np.zeros(columns.rows, np.int64))


class Years:
    """The store: the year of each content, and how often it was written, which is its stamp."""

    def __init__(self) -> None:
        self.rows: dict[str, tuple[float, int]] = {content_id: (float(n), 1) for n, content_id in enumerate(IDS)}

    def write(self, content_id: str, year: float) -> None:
        self.rows[content_id] = year, self.rows.get(content_id, (0.0, 0))[1] + 1

    def read(
        self,
        service: str,
        content_ids: Sequence[str],
        user_id: Users = None,
        *,
        wanted: Wanted | None = None,
        described: pl.DataFrame | None = None,
    ) -> Columns:
        years, stamps = zip(*(self.rows.get(one, (np.nan, 0)) for one in content_ids), strict=True)
        told = {"content_id": np.array(content_ids, object), "published_year": np.array(years)}
        if wanted is not None and "content_meta" in wanted.stamps:
            told[stamp("content_meta")] = np.array(stamps, np.int64)
        if wanted is not None and "published_year" not in wanted.features:
            del told["published_year"]
        return Columns(len(content_ids), told, {name: np.ones(len(content_ids), bool) for name in told})


@pytest.fixture
def squares() -> Squares:
    return Squares()


def ask(model: Preparing, numbers: Prepared, reader: Years, ids: list[str]) -> npt.NDArray[np.float64]:
    return numbers.score(reader.read(model.service, ids, wanted=numbers.wanted)).score


def test_contents_of_the_table_are_not_made_again(settings: Settings, squares: Squares) -> None:
    reader = Years()
    assert prepare(settings, squares, reader, IDS) == len(IDS)
    assert prepare(settings, squares, reader, IDS) == 0
    squares.made.clear()
    said = ask(squares, prepared(settings, squares, reader), reader, IDS[::-1])
    assert squares.made == []
    np.testing.assert_array_equal(said, squares.score(reader.read("any", IDS[::-1])).score)


def test_a_content_that_changed_is_made_once_more_on_the_spot(settings: Settings, squares: Squares) -> None:
    reader = Years()
    prepare(settings, squares, reader, IDS)
    numbers = prepared(settings, squares, reader)
    squares.made.clear()
    reader.write("c3", 50.0)
    reader.write("new", 7.0)
    for _ in range(2):
        assert ask(squares, numbers, reader, ["c2", "c3", "new"]).tolist() == [6.0, 50.0 + 2500.0, 56.0]
    assert squares.made == ["c3", "new"]
    assert prepare(settings, squares, reader, [*IDS, "new"]) == 2  # only these are written to the table


def test_a_release_without_a_table_answers_alike(settings: Settings, squares: Squares) -> None:
    reader = Years()
    assert ask(squares, prepared(settings, squares, reader), reader, ["c1", "c2"]).tolist() == [2.0, 6.0]
    whole = reader.read("any", ["c1", "c2"])  # as a store gives it that has no stamps
    assert prepared(settings, squares, reader).score(whole).score.tolist() == [2.0, 6.0]


def test_tables_of_versions_that_no_release_has_are_dropped(settings: Settings, squares: Squares) -> None:
    reader, newer = Years(), Squares("v2")
    for model in (squares, newer):
        prepare(settings, model, reader, IDS)
    forget(settings, {("squares", "v2")})
    for model in (squares, newer):
        model.made.clear()
        ask(model, prepared(settings, model, reader), reader, IDS)
    assert squares.made == IDS
    assert newer.made == []


@settings_of(max_examples=20)  # each writes tables to the disk
@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["write", "refresh", "ask"]), st.lists(st.sampled_from([*IDS, "new"]), min_size=1)),
        max_size=12,
    )
)
def test_numbers_are_those_of_the_store_whatever_happened(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, list[str]]]
) -> None:
    settings = load_settings(home=tmp_path_factory.mktemp("prepared"))
    reader, squares = Years(), Squares()
    prepare(settings, squares, reader, IDS[:5])
    numbers = prepared(settings, squares, reader)
    for number, (what, ids) in enumerate(steps):
        if what == "write":
            for content_id in ids:
                reader.write(content_id, 100.0 + number)
        elif what == "refresh":
            prepare(settings, squares, reader, dict.fromkeys(ids))
        else:
            said = ask(squares, numbers, reader, ids)
            np.testing.assert_array_equal(said, squares.score(reader.read("any", ids)).score)
