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
    """One release and what is true of it."""

    name: str
    folder: Path
    items: str
    events: str
    prefix: str = ""

    def open(self) -> Dataset:
        return open_dataset(self.name, self.folder)

    def ids(self, *numbers: int) -> list[str]:
        return [f"{self.prefix}{number}" for number in numbers]


CASES = {
    "movielens": ("items.csv", "ratings.csv", ""),
    "pixelrec": ("item_info.csv", "interaction.csv", "i"),
    "microlens": ("MicroLens-50k_titles.csv", "MicroLens-50k_pairs.csv", ""),
}


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    return Case(request.param, request.getfixturevalue(request.param), *CASES[request.param])


def test_every_adapter_that_needs_a_path_is_in_the_suite() -> None:
    assert {name for name, adapter in ADAPTERS.items() if adapter.needs_path} == set(CASES)


def test_good_rows_survive_the_bad_ones_around_them(case: Case) -> None:
    dataset = case.open()
    assert [c.content_id for c in dataset.contents()] == case.ids(1, 2, 3)
    assert [i.content_id for i in dataset.interactions()] == case.ids(1, 2, 3, 1)
    assert len(list(dataset.users())) == 2


def test_every_bad_row_is_told_with_file_and_line(case: Case) -> None:
    dataset = case.open()
    assert dataset.rejects.total == 0
    list(dataset.contents())
    first_bad = 5 if case.name == "movielens" else 4  # a film's overview takes two lines
    assert [(r.file, r.line) for r in dataset.rejects.kept] == [(case.items, first_bad + n) for n in range(3)]
    assert dataset.rejects.kept[0].kind == "duplicate id"
    assert dataset.rejects.kept[1].kind == "wrong number of columns"
    del dataset.rejects.kept[:]
    list(dataset.interactions())
    assert [(r.file, r.line) for r in dataset.rejects.kept] == [(case.events, line) for line in (4, 5, 7, 8)]
    assert [r.kind for r in dataset.rejects.kept[:1]] == ["unknown item"]
    assert "later" in dataset.rejects.kept[1].reason
    assert dataset.rejects.kept[2].reason == "not UTF-8: byte 0xe9"
    assert dataset.rejects.total == 7


def test_a_second_reading_gives_the_same_and_counts_nothing_twice(case: Case) -> None:
    dataset = case.open()
    readings = [[list(dataset.contents()), list(dataset.users()), list(dataset.interactions())] for _ in range(2)]
    assert readings[0] == readings[1]
    assert dataset.rejects.total == 7
    assert dataset.missing_media == Counter({Modality.IMAGE: 1})


def test_a_reading_that_is_broken_off_and_begun_again_counts_each_bad_row_once(case: Case) -> None:
    dataset = case.open()
    list(islice(dataset.interactions(), 3))
    assert 0 < dataset.rejects.total < 4
    list(dataset.interactions())
    assert dataset.rejects.total == 4


def test_it_streams(case: Case) -> None:
    dataset = case.open()
    for stream in (dataset.contents(), dataset.users(), dataset.interactions()):
        assert isinstance(stream, Iterator)
        assert iter(stream) is stream
    first = next(dataset.interactions())
    assert first.content_id == case.ids(1)[0]
    assert dataset.rejects.total == 0  # the bad rows lie behind it


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
    assert [picture and picture.stem for picture in pictures] == [*case.ids(1, 2), None]
    assert all(picture.is_absolute() and picture.is_file() for picture in pictures if picture)
    assert dataset.missing_media == Counter({Modality.IMAGE: 1})


def test_without_any_folder_of_pictures_all_are_missing(case: Case) -> None:
    for folder in [path for path in case.folder.iterdir() if path.is_dir()]:
        shutil.rmtree(folder)
    dataset = case.open()
    assert [content.media for content in dataset.contents()] == [{}, {}, {}]
    assert dataset.missing_media == Counter({Modality.IMAGE: 3})


def test_an_id_leads_to_no_file_outside_the_folder_of_pictures(case: Case) -> None:
    (case.folder / "secret.jpg").write_bytes(b"")
    items = case.folder / case.items
    items.write_text(items.read_text().replace(f"\n{case.prefix}3,", "\n../secret,"))
    contents = {content.content_id: content for content in case.open().contents()}
    assert contents["../secret"].media == {}


def test_what_an_audience_did_is_a_counter_and_no_attribute(case: Case) -> None:
    for content in case.open().contents():
        assert not {"vote_average", "vote_count", "popularity", "revenue", "views", "likes"} & set(content.attributes)
        assert set(content.attributes) <= {"year", "duration_s", "language"}


def test_a_missing_file_is_fatal_and_named(case: Case) -> None:
    for name in (case.items, case.events):
        data = (case.folder / name).read_bytes()
        (case.folder / name).unlink()
        with pytest.raises(InputError, match=name.split("_", 1)[-1]):
            case.open()
        (case.folder / name).write_bytes(data)


def test_a_missing_column_is_fatal_with_those_found_and_those_expected(case: Case) -> None:
    events = case.folder / case.events
    events.write_text("user,when\n")
    with pytest.raises(InputError, match=rf"{case.events}: no column .*; found: user, when; expected: .*timestamp"):
        case.open()


def test_an_empty_file_is_fatal(case: Case) -> None:
    (case.folder / case.items).write_bytes(b"")
    with pytest.raises(InputError, match=rf"{case.items} is empty"):
        case.open()


def test_headers_alone_are_an_empty_data_set(case: Case) -> None:
    for name in (case.items, case.events):
        path = case.folder / name
        path.write_bytes(path.read_bytes().splitlines(keepends=True)[0])
    dataset = case.open()
    assert list(dataset.contents()) == []
    assert list(dataset.interactions()) == []
    assert dataset.rejects.total == 0


def test_items_without_any_event_have_a_time_all_the_same(case: Case) -> None:
    path = case.folder / case.events
    path.write_bytes(path.read_bytes().splitlines(keepends=True)[0])
    assert {c.published_at.year for c in case.open().contents()} <= {1970, 1995, 1998}


def test_an_unknown_name_lists_the_valid_ones() -> None:
    with pytest.raises(ConfigurationError, match="unknown dataset 'movie'; valid: microlens, movielens, pixelrec"):
        open_dataset("movie")


def test_a_path_that_is_missing_or_no_folder_is_refused_with_an_example(case: Case) -> None:
    with pytest.raises(ConfigurationError, match=f"needs the path of its folder, e.g. `larder ingest {case.name}"):
        open_dataset(case.name)
    for wrong in (case.folder / "nowhere", case.folder / case.items):
        with pytest.raises(ConfigurationError, match=rf"no folder {wrong}; .*e\.g\. `larder ingest {case.name}"):
            open_dataset(case.name, wrong)


def test_an_option_that_the_adapter_does_not_take_is_refused(case: Case) -> None:
    with pytest.raises(ConfigurationError, match="unexpected keyword argument 'seed'; it takes path"):
        open_dataset(case.name, case.folder, seed=1)
    open_dataset(case.name, case.folder, seed=None)


def test_a_path_for_the_adapter_that_reads_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="'synthetic' reads no files"):
        open_dataset("synthetic", tmp_path)
