"""Versions of an embedding: how far each is, which is in use, and which may go."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from embedders.ledger import State, Stock
from embedders.runner import run
from embedders.specs import resolve_spec
from embedders.stock import Version, chosen, prune, stock_of, switch, versions
from feature_repo.catalog import Catalog
from feature_repo.contracts import Content, Modality
from feature_repo.errors import UnavailableError
from feature_repo.files import only_writer
from feature_repo.settings import Settings, load_settings
from feature_repo.vectors import read_vectors, vectors_dir

NAME = "efficientnet_lite0"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(home=tmp_path / "home", partition_size=4, embeddings=(NAME,), precision="float32")


@pytest.fixture
def newer(settings: Settings) -> Settings:
    """Settings that choose another version of the embedding."""
    return settings.model_copy(update={"tokens": {NAME: 4}})


def digest(settings: Settings) -> str:
    return resolve_spec(NAME, settings).digest


def only_stock(settings: Settings, catalog: Catalog) -> Stock:
    [stock] = stock_of(settings, catalog, versions(settings, catalog))
    return stock


def test_before_the_first_run_all_is_missing(posts: list[Content], catalog: Catalog, settings: Settings) -> None:
    assert versions(settings, catalog) == [Version(NAME, digest(settings), Modality.IMAGE, False, True)]
    assert only_stock(settings, catalog).states == {State.MISSING: 10}


def test_every_state_is_told_as_the_next_run_finds_it(
    posts: list[Content], catalog: Catalog, settings: Settings
) -> None:
    posts[3].media[Modality.IMAGE].write_bytes(b"no picture")
    posts[4].media[Modality.IMAGE].unlink()
    run(NAME, settings, catalog)
    posts[0].media[Modality.IMAGE].write_bytes(b"changed, and broken")
    folder = vectors_dir(settings, NAME, digest(settings))
    lost = catalog.ledger(NAME, digest(settings))["c9"].partition
    (folder / f"{lost}.parquet").unlink()
    catalog.upsert_contents([Content("new", "a title", datetime(2024, 1, 1, tzinfo=UTC))], "posts")
    stock = only_stock(settings, catalog)
    assert stock.states == {State.FRESH: 5, State.STALE: 3, State.FAILED: 2, State.MISSING: 1}
    assert stock.reasons == {"not a picture": 1, "file missing": 1}
    report = run(NAME, settings, catalog)
    assert (report.fresh, report.skipped) == (5, 2)
    assert report.encoded + sum(report.failed.values()) == stock.waiting == 4


def test_a_new_version_is_filled_beside_the_old_one_until_the_switch(
    posts: list[Content], catalog: Catalog, settings: Settings, newer: Settings
) -> None:
    run(NAME, settings, catalog)
    old, new = digest(settings), digest(newer)
    assert switch(newer, catalog) == []  # nothing of it is there yet

    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(NAME, newer, catalog, interrupt)
    assert read_vectors(newer, catalog, NAME).spec_digest == old
    run(NAME, newer, catalog)
    assert read_vectors(newer, catalog, NAME).spec_digest == old
    assert [(v.digest, v.in_use, v.chosen) for v in versions(newer, catalog)] == [
        (old, True, False),
        (new, False, True),
    ]
    [made] = switch(newer, catalog)
    assert (made.name, made.before, made.after, made.waiting) == (NAME, old, new, 0)
    assert read_vectors(newer, catalog, NAME).spec_digest == new
    assert switch(newer, catalog) == []
    assert [made.after for made in switch(settings, catalog)] == [old]  # and back, without a run


def test_an_incomplete_version_does_not_take_the_place(
    posts: list[Content], catalog: Catalog, settings: Settings, newer: Settings
) -> None:
    run(NAME, settings, catalog)
    run(NAME, newer, catalog)
    catalog.upsert_contents([replace(posts[0], content_id="later")], "posts")
    [made] = switch(newer, catalog)
    assert made.waiting == 1
    assert catalog.embeddings()[NAME].spec_digest == digest(settings)


def test_a_version_without_a_vector_does_not_take_the_place(
    posts: list[Content], catalog: Catalog, settings: Settings, newer: Settings
) -> None:
    run(NAME, settings, catalog)
    assert run(NAME, newer.model_copy(update={"max_pixels": 10}), catalog).failed == {"too large": 10}
    assert switch(newer, catalog) == []
    assert catalog.embeddings()[NAME].spec_digest == digest(settings)


def test_an_encoder_that_is_not_fitted_chooses_nothing(catalog: Catalog, settings: Settings) -> None:
    assert chosen("conv3d", settings) is None
    assert versions(settings.model_copy(update={"embeddings": ("conv3d",)}), catalog) == []


def test_only_what_nobody_needs_is_pruned(
    posts: list[Content], catalog: Catalog, settings: Settings, newer: Settings
) -> None:
    third = settings.model_copy(update={"tokens": {NAME: 9}})
    for one in (settings, newer, third):
        run(NAME, one, catalog)
    used, pinned, chosen_now = (digest(one) for one in (settings, newer, third))
    assert prune(third, catalog, {NAME: {pinned}}) == []
    with only_writer(vectors_dir(settings, NAME, pinned)), pytest.raises(UnavailableError, match="another run"):
        prune(third, catalog, {})
    assert [version.digest for version in prune(third, catalog, {})] == [pinned]
    assert {version.digest for version in versions(third, catalog)} == {used, chosen_now}
    left = {path.name for path in (settings.embeddings_dir / NAME).iterdir() if path.is_dir()}
    assert left == {used, chosen_now}
    assert catalog.ledger(NAME, pinned) == {}
    assert len(read_vectors(settings, catalog, NAME).content_ids) == 10
    assert prune(third, catalog, {}) == []
