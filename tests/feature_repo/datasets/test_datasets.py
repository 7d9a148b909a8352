"""What every file adapter promises, on a small release of its own with bad rows among the good ones."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator
from datetime import UTC
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import pytest

from feature_repo.contracts import Modality
from feature_repo.datasets import ADAPTERS, open_dataset
from feature_repo.datasets.base import Dataset
from feature_repo.errors import ConfigurationError, InputError


class Case(NamedTuple):
    """One release and what is true of it: ids of its items, of its events' items in order, its users and bad rows."""

    name: str
    folder: Path
    ids: tuple[str, ...] = ("1", "2", "3")
    events: tuple[str, ...] = ()
    users: int = 0
    bad_items: int = 3
    bad_events: int = 0

    @property
    def bad(self) -> int:
        return self.bad_items + self.bad_events

    def open(self) -> Dataset:
        return open_dataset(self.name, self.folder)


class TableCase(NamedTuple):
    """A release of tables: which file holds the items, which the events, and what stands before an item's number."""

    name: str
    folder: Path
    items: str
    events: str
    prefix: str = ""

    def open(self) -> Dataset:
        return open_dataset(self.name, self.folder)

    def ids(self, *numbers: int) -> tuple[str, ...]:
        return tuple(f"{self.prefix}{number}" for number in numbers)


TABLES = {
    "movielens": ("items.csv", "ratings.csv", ""),
    "pixelrec": ("item_info.csv", "interaction.csv", "i"),
    "microlens": ("MicroLens-50k_titles.csv", "MicroLens-50k_pairs.csv", ""),
}
FOLDERS = ("video_folder",)


@pytest.fixture(params=[*TABLES, *FOLDERS])
def case(request: pytest.FixtureRequest) -> Case:
    folder = request.getfixturevalue(request.param)
    if request.param in FOLDERS:
        return Case(request.param, folder)
    ids = TableCase(request.param, folder, *TABLES[request.param]).ids
    return Case(request.param, folder, ids(1, 2, 3), ids(1, 2, 3, 1), users=2, bad_events=4)


@pytest.fixture(params=TABLES)
def table(request: pytest.FixtureRequest) -> TableCase:
    return TableCase(request.param, request.getfixturevalue(request.param), *TABLES[request.param])


def test_every_adapter_that_needs_a_path_is_in_the_suite() -> None:
    assert {name for name, adapter in ADAPTERS.items() if adapter.needs_path} == {*TABLES, *FOLDERS}


def test_good_rows_survive_the_bad_ones_around_them(case: Case) -> None:
    dataset = case.open()
    assert tuple(c.content_id for c in dataset.contents()) == case.ids
    assert tuple(i.content_id for i in dataset.interactions()) == case.events
    assert len(list(dataset.users())) == case.users
    assert dataset.rejects.total == case.bad


def test_a_reading_that_is_broken_off_counts_what_it_met(case: Case) -> None:
    dataset = case.open()
    list(islice(dataset.contents(), 2))
    assert dataset.rejects.total < case.bad_items
    list(dataset.contents())
    assert dataset.rejects.total == case.bad_items


def test_every_bad_row_is_told_with_file_and_line(table: TableCase) -> None:
    dataset = table.open()
    assert dataset.rejects.total == 0
    list(dataset.contents())
    first_bad = 5 if table.name == "movielens" else 4  # a film's overview takes two lines
    assert [(r.file, r.line) for r in dataset.rejects.kept] == [(table.items, first_bad + n) for n in range(3)]
    assert dataset.rejects.kept[0].kind == "duplicate id"
    assert dataset.rejects.kept[1].kind == "wrong number of columns"
    del dataset.rejects.kept[:]
    list(dataset.interactions())
    assert [(r.file, r.line) for r in dataset.rejects.kept] == [(table.events, line) for line in (4, 5, 7, 8)]
    assert [r.kind for r in dataset.rejects.kept[:1]] == ["unknown item"]
    assert "later" in dataset.rejects.kept[1].reason
    assert dataset.rejects.kept[2].reason == "not UTF-8: byte 0xe9"
    assert dataset.rejects.total == 7


def test_a_second_reading_gives_the_same_and_counts_nothing_twice(case: Case) -> None:
    dataset = case.open()
    readings = [[list(dataset.contents()), list(dataset.users()), list(dataset.interactions())] for _ in range(2)]
    assert readings[0] == readings[1]
    assert dataset.rejects.total == case.bad
    assert dataset.missing_media == Counter({Modality.IMAGE: 1})


def test_a_reading_that_is_broken_off_and_begun_again_counts_each_bad_row_once(table: TableCase) -> None:
    dataset = table.open()
    list(islice(dataset.interactions(), 3))
    assert 0 < dataset.rejects.total < 4
    list(dataset.interactions())
    assert dataset.rejects.total == 4


def test_it_streams(case: Case) -> None:
    dataset = case.open()
    for stream in (dataset.contents(), dataset.users(), dataset.interactions()):
        assert isinstance(stream, Iterator)
        assert iter(stream) is stream
    assert next(dataset.contents()).content_id == case.ids[0]
    assert tuple(event.content_id for event in islice(dataset.interactions(), 1)) == case.events[:1]
    assert dataset.rejects.total == 0  # the bad rows lie behind


def test_ids_are_text_and_times_are_utc(case: Case) -> None:
    dataset = case.open()
    for content in dataset.contents():
        assert type(content.content_id) is str
        assert content.published_at.tzinfo is UTC
    for event in dataset.interactions():
        assert type(event.user_id) is str
        assert type(event.content_id) is str
        assert event.timestamp.tzinfo is UTC
    assert all(type(user.user_id) is str for user in dataset.users())


def test_nothing_is_published_after_its_first_event(case: Case) -> None:
    dataset = case.open()
    published = {content.content_id: content.published_at for content in dataset.contents()}
    assert all(published[event.content_id] <= event.timestamp for event in dataset.interactions())


def test_a_picture_is_named_where_there_is_one_and_counted_where_not(case: Case) -> None:
    dataset = case.open()
    pictures = [content.media.get(Modality.IMAGE) for content in dataset.contents()]
    assert [picture and picture.stem for picture in pictures] == [*case.ids[:2], None]
    assert all(picture.is_absolute() and picture.is_file() for picture in pictures if picture)
    assert dataset.missing_media == Counter({Modality.IMAGE: 1})


def test_without_any_folder_of_pictures_all_are_missing(table: TableCase) -> None:
    for folder in [path for path in table.folder.iterdir() if path.is_dir()]:
        shutil.rmtree(folder)
    dataset = table.open()
    assert [content.media for content in dataset.contents()] == [{}, {}, {}]
    assert dataset.missing_media == Counter({Modality.IMAGE: 3})


def test_an_id_leads_to_no_file_outside_the_folder_of_pictures(table: TableCase) -> None:
    (table.folder / "secret.jpg").write_bytes(b"")
    items = table.folder / table.items
    items.write_text(items.read_text().replace(f"\n{table.prefix}3,", "\n../secret,"))
    contents = {content.content_id: content for content in table.open().contents()}
    assert contents["../secret"].media == {}


def test_what_an_audience_did_is_a_counter_and_no_attribute(case: Case) -> None:
    for content in case.open().contents():
        assert not {"vote_average", "vote_count", "popularity", "revenue", "views", "likes"} & set(content.attributes)
        assert set(content.attributes) <= {"year", "duration_s", "language", "folder"}


def test_a_missing_file_is_fatal_and_named(table: TableCase) -> None:
    for name in (table.items, table.events):
        data = (table.folder / name).read_bytes()
        (table.folder / name).unlink()
        with pytest.raises(InputError, match=name.split("_", 1)[-1]):
            table.open()
        (table.folder / name).write_bytes(data)


def test_a_missing_column_is_fatal_with_those_found_and_those_expected(table: TableCase) -> None:
    events = table.folder / table.events
    events.write_text("user,when\n")
    with pytest.raises(InputError, match=rf"{table.events}: no column .*; found: user, when; expected: .*timestamp"):
        table.open()


def test_an_empty_file_is_fatal(table: TableCase) -> None:
    (table.folder / table.items).write_bytes(b"")
    with pytest.raises(InputError, match=rf"{table.items} is empty"):
        table.open()


def test_headers_alone_are_an_empty_data_set(table: TableCase) -> None:
    for name in (table.items, table.events):
        path = table.folder / name
        path.write_bytes(path.read_bytes().splitlines(keepends=True)[0])
    dataset = table.open()
    assert list(dataset.contents()) == []
    assert list(dataset.interactions()) == []
    assert dataset.rejects.total == 0


def test_items_without_any_event_have_a_time_all_the_same(table: TableCase) -> None:
    path = table.folder / table.events
    path.write_bytes(path.read_bytes().splitlines(keepends=True)[0])
    assert {c.published_at.year for c in table.open().contents()} <= {1970, 1995, 1998}


def test_an_unknown_name_lists_the_valid_ones() -> None:
    with pytest.raises(ConfigurationError, match="unknown dataset 'movie'; valid: microlens, movielens, pixelrec"):
        open_dataset("movie")


def test_a_path_that_is_missing_or_no_folder_is_refused_with_an_example(case: Case) -> None:
    with pytest.raises(ConfigurationError, match=f"needs the path of its folder, e.g. `larder ingest {case.name}"):
        open_dataset(case.name)
    for wrong in (case.folder / "nowhere", next(path for path in case.folder.iterdir() if path.is_file())):
        with pytest.raises(ConfigurationError, match=rf"no folder {wrong}; .*e\.g\. `larder ingest {case.name}"):
            open_dataset(case.name, wrong)


def test_an_option_that_the_adapter_does_not_take_is_refused(case: Case) -> None:
    with pytest.raises(ConfigurationError, match="unexpected keyword argument 'seed'; it takes path"):
        open_dataset(case.name, case.folder, seed=1)
    open_dataset(case.name, case.folder, seed=None)


def test_a_path_for_the_adapter_that_reads_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="'synthetic' reads no files"):
        open_dataset("synthetic", tmp_path)
