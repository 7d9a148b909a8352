from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from feature_repo.errors import ConfigurationError, InputError
from predictors.splits import SPLITS, Splits, split

START = datetime(2024, 1, 1, tzinfo=UTC)


def contents(count: int) -> tuple[list[str], list[datetime]]:
    return [f"c{i}" for i in range(count)], [START + timedelta(hours=(i * 37) % count) for i in range(count)]


@pytest.mark.parametrize("kind", SPLITS)
class TestEverySplit:
    def test_every_row_is_in_exactly_one_part_near_80_10_10(self, kind: str) -> None:
        parts = split(kind, *contents(2000), seed=0)
        assert sorted(np.concatenate([parts.train, parts.valid, parts.test]).tolist()) == list(range(2000))
        assert np.allclose(np.array(list(parts.sizes.values())) / 2000, [0.8, 0.1, 0.1], atol=0.02)

    def test_the_order_of_the_rows_does_not_matter(self, kind: str) -> None:
        ids, times = contents(300)
        there = split(kind, ids, times, seed=0)
        back = split(kind, ids[::-1], times[::-1], seed=0)
        assert {ids[i] for i in there.test} == {ids[::-1][i] for i in back.test}

    def test_nothing_gives_nothing(self, kind: str) -> None:
        assert split(kind, [], [], seed=0).sizes == {"train": 0, "valid": 0, "test": 0}


def named(ids: list[str], parts: Splits) -> dict[str, str]:
    return {ids[row]: kind for kind in ("train", "valid", "test") for row in getattr(parts, kind)}


def test_a_content_keeps_its_random_split_when_others_are_added() -> None:
    ids, times = contents(400)
    before, after = (
        named(ids[:300], split("random", ids[:300], times[:300], 7)),
        named(ids, split("random", ids, times, 7)),
    )
    assert all(after[content_id] == kind for content_id, kind in before.items())


def test_the_seed_changes_the_random_split() -> None:
    ids, times = contents(300)
    assert split("random", ids, times, 0).test.tolist() != split("random", ids, times, 1).test.tolist()


def test_the_time_split_tests_on_the_latest() -> None:
    ids, times = contents(1000)
    parts = split("time", ids, times, seed=0)
    assert max(times[i] for i in parts.train) < min(times[i] for i in parts.valid)
    assert max(times[i] for i in parts.valid) < min(times[i] for i in parts.test)


def test_an_unknown_split_names_the_valid_ones() -> None:
    with pytest.raises(ConfigurationError, match=r"folder with train\.csv.*random, time"):
        split("shuffle", [], [], seed=0)


def write_parts(folder: Path, train: str, valid: str, test: str) -> str:
    for part, ids in {"train": train, "valid": valid, "test": test}.items():
        (folder / f"{part}.csv").write_text("title,id\n" + "".join(f"x,{name}\n" for name in ids.split()))
    return str(folder)


def test_a_folder_names_the_rows_of_each_part(tmp_path: Path) -> None:
    ids, times = contents(6)
    parts = split(write_parts(tmp_path, "c3 c0 c0", "c5", "c1"), ids, times, seed=0)
    assert (parts.train.tolist(), parts.valid.tolist(), parts.test.tolist()) == ([0, 3], [5], [1])


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        (("c0 c1", "c8 c9", "c2"), r"valid\.csv: 2 of 2 contents are not in the catalog, or have no label: c8, c9$"),
        (("c0 c1", "c2", "c3 c1"), r"test\.csv: 1 of 2 contents are in another part, too: c1"),
        ((" ".join(f"d{i}" for i in range(9)), "", ""), "9 of 9.*d4, …"),
    ],
)
def test_ids_that_cannot_be_used_are_counted_and_named(tmp_path: Path, parts: tuple[str, str, str], said: str) -> None:
    with pytest.raises(InputError, match=said):
        split(write_parts(tmp_path, *parts), *contents(6), seed=0)


def test_a_folder_without_the_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"train\.csv cannot be read"):
        split(str(tmp_path), *contents(6), seed=0)
    (tmp_path / "train.csv").write_text("name\nc0\n")
    with pytest.raises(InputError, match=r"train\.csv cannot be read .* column id"):
        split(str(tmp_path), *contents(6), seed=0)


def test_the_spans_of_parts_are_their_first_and_last_days() -> None:
    times = np.array(["2024-01-03T10", "2024-01-01T23", "2024-02-01", "2024-03-01"], "M8[us]")
    splits = Splits(np.array([0, 1]), np.array([2]), np.array([], int))
    assert splits.spans(times) == {"train": ["2024-01-01", "2024-01-03"], "valid": ["2024-02-01", "2024-02-01"]}
