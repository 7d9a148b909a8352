from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedders.pairs import Pairs, held_out, open_matrix, scratch, split_key
from feature_repo.catalog_rows import CatalogItem, MediaRow
from feature_repo.contracts import Content, Modality
from feature_repo.errors import InputError
from feature_repo.settings import Settings
from tests.embedders.behaviour import NOON


def matrix(rows: int) -> np.ndarray:
    return np.zeros((rows, 2), np.float32)


def test_the_texts_of_pictures_are_found() -> None:
    pairs = Pairs(matrix(3), matrix(6), np.array([0, 0, 1, 2, 2, 2]))
    assert pairs.texts_of(np.array([2, 0])).tolist() == [3, 4, 5, 0, 1]


@pytest.mark.parametrize(
    ("images", "image_of", "reason"),
    [
        (2, [0, 1, 0], "lie in the order"),
        (2, [0, 1], "needs the row of its picture"),
        (3, [0, 0, 1], "each picture needs a text"),
        (2, [0, 1, 2], "each text a picture"),
    ],
)
def test_pairs_that_are_none_are_refused(images: int, image_of: list[int], reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        Pairs(matrix(images), matrix(3), np.array(image_of))


@given(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=200))
def test_a_tenth_is_held_out_and_keys_stay_together(keys: list[int]) -> None:
    held = held_out(np.array(keys, np.uint64))
    assert held.sum() >= max(1, round(len(keys) / 10))
    assert not {key for key, out in zip(keys, held, strict=True) if out} & {
        key for key, out in zip(keys, held, strict=True) if not out
    }
    if len(set(keys)) == len(keys):
        assert held.sum() == max(1, round(len(keys) / 10))


def test_nothing_is_held_out_of_nothing() -> None:
    assert held_out(np.empty(0, np.uint64)).tolist() == []


def test_contents_with_one_picture_have_one_key() -> None:
    def key(content_id: str, picture: str | None) -> int:
        media = {Modality.IMAGE: MediaRow(Path("a.jpg"), picture, NOON)}
        return split_key(CatalogItem(Content(content_id, "", NOON), NOON, media))

    assert key("a", "same") == key("b", "same") != key("c", "other")
    assert key("a", None) != key("b", None)
    assert split_key(CatalogItem(Content("a", "", NOON), NOON, {})) == key("a", None)


def test_scratch_goes_with_the_fit(settings: Settings) -> None:
    with scratch(settings, "some") as folder:
        rows = open_matrix(folder / "rows.npy", 0, 3)
        assert rows.shape == (1, 3)
        del rows
    assert not folder.exists()
