from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from embedders.fingerprint import changed_at, fingerprint
from embedders.specs import SPECS
from feature_repo.catalog_rows import CatalogItem, MediaRow
from feature_repo.contracts import Content, Modality

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
LATER = NOON + timedelta(days=1)


def item(
    title: str = "tea", digest: str | None = "d", published: datetime = NOON, tags: tuple[str, ...] = ()
) -> CatalogItem:
    content = Content("a", title, published, tags=tags, media={Modality.IMAGE: Path("a.jpg")})
    return CatalogItem(content, NOON, {Modality.IMAGE: MediaRow(Path("a.jpg"), digest, LATER)})


BARE = CatalogItem(Content("a", "tea", NOON), NOON, {})
IMAGE, TEXT = SPECS["efficientnet_lite0"], SPECS["minilm"]


def test_each_modality_looks_at_its_own_bytes() -> None:
    assert fingerprint(item("coffee"), TEXT) != fingerprint(item(), TEXT)
    assert fingerprint(item("coffee"), IMAGE) == fingerprint(item(), IMAGE)
    assert fingerprint(item(digest="e"), IMAGE) != fingerprint(item(), IMAGE)
    assert fingerprint(item(digest="e"), TEXT) == fingerprint(item(), TEXT)


def test_captions_look_at_the_text_and_at_the_file() -> None:
    def captioned(title: str, digest: str | None) -> CatalogItem:
        content = Content("a", title, NOON)
        return CatalogItem(content, NOON, {Modality.CAPTIONS: MediaRow(Path("a.vtt"), digest, LATER)})

    spec = SPECS["captions"]
    given = [captioned("tea", "d"), captioned("tea", "e"), captioned("coffee", "d"), captioned("tea", None), BARE]
    assert len({fingerprint(it, spec) for it in given}) == len(given)
    assert changed_at(given[0], Modality.CAPTIONS) == LATER


def test_what_no_vector_is_made_from_does_not_count() -> None:
    for spec in (IMAGE, TEXT):
        assert fingerprint(item(tags=("new",)), spec) == fingerprint(item(), spec)


def test_a_moved_publication_counts() -> None:
    for spec in (IMAGE, TEXT):
        assert fingerprint(item(published=LATER), spec) != fingerprint(item(), spec)


@pytest.mark.parametrize("spec", [IMAGE, TEXT])
def test_spec_weights_and_options_count(spec: object) -> None:
    for change in ({"weights": "others"}, {"options": {"size": 1}}, {"version": 2}):
        changed = replace(spec, **change)  # type: ignore[type-var]
        assert fingerprint(item(), changed) != fingerprint(item(), spec)  # type: ignore[arg-type]


def test_no_picture_no_file_and_a_file_differ() -> None:
    assert len({fingerprint(i, IMAGE) for i in (BARE, item(digest=None), item())}) == 3


def test_changed_at_is_the_later_of_row_and_medium() -> None:
    assert changed_at(item(), Modality.IMAGE) == LATER
    assert changed_at(item(), Modality.TEXT) == NOON
    assert changed_at(BARE, Modality.IMAGE) == NOON
