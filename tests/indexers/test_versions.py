"""Switching, rolling back and pruning published versions."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable

import pytest

from feature_repo.catalog import Catalog
from feature_repo.errors import InputError, NotFoundError, StateError
from feature_repo.settings import Settings
from indexers import versions
from indexers.build import build
from indexers.kinds import Matrix
from indexers.search import VectorIndex

Embed = Callable[[Matrix], list[str]]
Clustered = Callable[..., Matrix]


@pytest.fixture
def three(settings: Settings, catalog: Catalog, embed: Embed, clustered: Clustered) -> list[str]:
    """Three versions published one after the other, oldest first."""
    built = []
    for rows in (30, 40, 50):
        embed(clustered(rows))
        built.append(build(settings, catalog, "toy").version)
    return built


def test_the_last_published_is_current(settings: Settings, three: list[str]) -> None:
    assert versions.current(settings, "toy") == three[2]
    assert [m.version for m in versions.published(settings, "toy")] == three[::-1]
    assert len(VectorIndex.load(settings, "toy")) == 50
    assert len(VectorIndex.load(settings, "toy", three[0])) == 30


def test_rollback_goes_back_one_version_at_a_time(settings: Settings, three: list[str]) -> None:
    assert versions.rollback(settings, "toy").version == three[1]
    assert len(VectorIndex.load(settings, "toy")) == 40
    assert versions.rollback(settings, "toy").version == three[0]
    with pytest.raises(StateError, match=f"no version before {three[0]}"):
        versions.rollback(settings, "toy")
    assert versions.current(settings, "toy") == three[0]
    assert {m.version for m in versions.published(settings, "toy")} == set(three)


def test_rollback_to_a_named_version_can_be_undone(settings: Settings, three: list[str]) -> None:
    assert versions.rollback(settings, "toy", three[0]).version == three[0]
    assert versions.history(settings, "toy") == [three[0], three[2], three[1]]
    assert versions.rollback(settings, "toy").version == three[2]
    with pytest.raises(NotFoundError, match=f"no version 'beef'.*published: {three[2]}"):
        versions.rollback(settings, "toy", "beef")


def test_rollback_to_a_damaged_version_changes_nothing(settings: Settings, three: list[str]) -> None:
    (versions.version_dir(settings, "toy", three[1]) / versions.IDS_FILE).write_text("[]")
    with pytest.raises(StateError, match="larder index"):
        versions.rollback(settings, "toy")
    assert versions.current(settings, "toy") == three[2]


def test_building_a_rolled_back_version_again_makes_it_current(
    settings: Settings, catalog: Catalog, three: list[str]
) -> None:
    versions.rollback(settings, "toy")
    assert build(settings, catalog, "toy").version == three[2]
    assert versions.history(settings, "toy") == three[::-1]


def test_nothing_is_published_at_first(settings: Settings) -> None:
    assert versions.history(settings, "toy") == []
    assert versions.published(settings, "toy") == []
    for ask in (versions.current, versions.rollback, versions.resolve):
        with pytest.raises(StateError, match="no index of 'toy' is published yet: run `larder index toy`"):
            ask(settings, "toy")
    with pytest.raises(StateError, match="run `larder index toy`"):
        versions.prune(settings, "toy", keep=1)
    assert not settings.indexes_dir.exists()


@pytest.mark.parametrize("text", ["", "[]", "{", "null", '{"version": 3}', "\udcff"])
def test_a_folder_with_a_bad_manifest_is_not_read(settings: Settings, three: list[str], text: str) -> None:
    manifest = versions.version_dir(settings, "toy", three[2]) / versions.MANIFEST_FILE
    manifest.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(StateError, match=f"{three[2]} holds no readable index .*larder index --rollback"):
        VectorIndex.load(settings, "toy")
    assert [m.version for m in versions.published(settings, "toy")] == [three[1], three[0]]
    assert versions.rollback(settings, "toy").version == three[1]


def test_a_manifest_of_another_version_is_not_read(settings: Settings, three: list[str]) -> None:
    folders = [versions.version_dir(settings, "toy", v) for v in three]
    (folders[2] / versions.MANIFEST_FILE).write_bytes((folders[0] / versions.MANIFEST_FILE).read_bytes())
    with pytest.raises(StateError, match=f"it is of version {three[0]}"):
        versions.resolve(settings, "toy")


def test_a_changed_manifest_is_not_read(settings: Settings, three: list[str]) -> None:
    path = versions.version_dir(settings, "toy", three[2]) / versions.MANIFEST_FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | {"count": 51}))
    with pytest.raises(StateError, match="the manifest is not as it was written"):
        versions.resolve(settings, "toy")


def test_pruning_keeps_the_latest_and_the_pinned(settings: Settings, three: list[str]) -> None:
    assert versions.prune(settings, "toy", keep=2, pinned=[three[0]]) == []
    assert versions.prune(settings, "toy", keep=1, pinned=[three[0]]) == [three[1]]
    assert versions.history(settings, "toy") == [three[2], three[0]]
    assert versions.prune(settings, "toy", keep=1) == [three[0]]
    assert [m.version for m in versions.published(settings, "toy")] == [three[2]]
    with pytest.raises(InputError, match="keep must be at least 1, not 0"):
        versions.prune(settings, "toy", keep=0)


def test_one_change_at_a_time(settings: Settings, three: list[str]) -> None:
    done = threading.Event()

    def roll_back() -> None:
        versions.rollback(settings, "toy")
        done.set()

    with versions.exclusive(settings, "toy"):
        other = threading.Thread(target=roll_back)
        other.start()
        assert not done.wait(0.2)
        assert versions.current(settings, "toy") == three[2]
    other.join(10)
    assert versions.current(settings, "toy") == three[1]
