"""Contents in the space of users' vectors: made once, pinned, and refused where what is behind them moved on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from embedders.specs import SPECS
from embedders.train_user_sequence import fit_user_sequence
from embedders.user_contents import content_vectors
from embedders.user_runner import run_users
from feature_repo.catalog import Catalog
from feature_repo.contracts import Content
from feature_repo.errors import StateError
from feature_repo.settings import Settings
from indexers import versions
from indexers.search import VectorIndex
from predictors import release, shelf, user_spaces
from predictors.pins import ReleaseManifest
from tests.embedders.user_world import START, TINY, add_events, add_items, event, walks

NAME = "user_sequence"
SPEC = SPECS["minilm"]
QUICK = replace(TINY, epochs=1)


@pytest.fixture
def catalog(settings: Settings) -> Iterator[Catalog]:
    """With contents of which c22 has been met and c23 not, both without vectors, and with users' vectors."""
    with Catalog(settings.catalog) as opened:
        add_items(settings, opened, spec=SPEC)
        add_events(settings, [one for one in walks() if one.content_id != "c23"])
        learn(settings, opened)
        yield opened


def learn(settings: Settings, catalog: Catalog) -> None:
    fit_user_sequence(settings, catalog, QUICK, [SPEC.name])
    run_users(NAME, settings, catalog)


def test_what_the_model_knows_nothing_of_is_left_out(settings: Settings, catalog: Catalog) -> None:
    catalog.upsert_contents([Content("c99", "New", START)], "toy")
    made = content_vectors(NAME, settings, catalog)
    assert made.content_ids == [f"c{number:02d}" for number in range(23)]
    assert made.matrix.shape == (23, QUICK.width)
    assert len(np.unique(made.matrix, axis=0)) == 23


def test_the_same_contents_are_indexed_once(settings: Settings, catalog: Catalog) -> None:
    first = user_spaces.pin(settings, catalog, NAME)
    folder = versions.version_dir(settings, NAME, first.index)
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert user_spaces.pin(settings, catalog, NAME) == first
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before
    (folder / versions.INDEX_FILE).write_bytes(b"damaged")
    with pytest.raises(StateError, match=f"{NAME}.*is not the file .* `larder release`"):
        VectorIndex.load(settings, NAME, first.index)
    assert user_spaces.pin(settings, catalog, NAME) == first
    assert len(VectorIndex.load(settings, NAME, first.index)) == 23


def test_another_vector_is_another_version(settings: Settings, catalog: Catalog) -> None:
    first = user_spaces.pin(settings, catalog, NAME)
    add_items(settings, catalog, without=1, seed=1, spec=SPEC)
    second = user_spaces.pin(settings, catalog, NAME)
    assert (second.spec_digest, second.dim) == (first.spec_digest, first.dim)
    assert second.index != first.index


def test_a_model_that_was_fitted_again_is_refused_until_users_are_embedded(
    settings: Settings, catalog: Catalog
) -> None:
    add_events(settings, [event("u00", 5, START)])
    fit_user_sequence(settings, catalog, QUICK, [SPEC.name])
    with pytest.raises(
        StateError, match=rf"cannot release: .*users' vectors {NAME} are of spec .*`larder embed {NAME}`"
    ):
        release.pin_current(settings, catalog, [])
    run_users(NAME, settings, catalog)
    assert user_spaces.pin(settings, catalog, NAME).dim == QUICK.width


def test_contents_of_another_spec_are_refused(settings: Settings, catalog: Catalog) -> None:
    add_items(settings, catalog, seed=2, spec=replace(SPEC, version=SPEC.version + 1))
    with pytest.raises(StateError, match=f"the contents' minilm vectors are others .*`larder train {NAME}`"):
        user_spaces.pin(settings, catalog, NAME)


def test_an_index_of_another_model_is_refused_by_name(settings: Settings, catalog: Catalog) -> None:
    pin = user_spaces.pin(settings, catalog, NAME)
    manifest = ReleaseManifest({}, {}, {}, {}, {NAME: pin})
    index = VectorIndex.load(settings, NAME, pin.index).manifest
    assert release.disagreements(manifest, {}, {NAME: index}) == []
    other = replace(manifest, users={NAME: replace(pin, spec_digest="other")})
    [said] = release.disagreements(other, {}, {NAME: index})
    assert said == f"index {NAME} holds vectors of spec {pin.spec_digest}, not other: run `larder release`"


def test_what_a_release_pins_is_kept(settings: Settings, catalog: Catalog) -> None:
    pin = user_spaces.pin(settings, catalog, NAME)
    shelf.publish(settings, catalog, ReleaseManifest({}, {}, {}, {}, {NAME: pin}))
    assert shelf.pinned_indexes(settings, NAME) == {pin.index}
    assert shelf.pinned_specs(settings) == {NAME: {pin.spec_digest}}
