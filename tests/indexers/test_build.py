"""Build, gate, publish: the same input once, and nothing half done."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from feature_repo.catalog import Catalog
from feature_repo.errors import ConfigurationError, InputError, QualityGateError, StateError
from feature_repo.files import BESIDE
from feature_repo.settings import Settings
from indexers import versions
from indexers.build import build
from indexers.kinds import HNSW, IVF, KINDS, Kind, Matrix
from indexers.search import VectorIndex

Embed = Callable[[Matrix], list[str]]
Clustered = Callable[..., Matrix]

POOR = IVF(nlist=15, nprobe=1)


def noise(rows: int, dim: int = 16) -> Matrix:
    """Rows without structure: one list out of many holds few of a row's neighbours."""
    return np.random.default_rng(0).normal(size=(rows, dim)).astype(np.float32)


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below `folder` but the lock, by its path."""
    files = (f for f in folder.rglob("*") if f.is_file() and f.name != ".lock")
    return {str(f.relative_to(folder)): f.read_bytes() for f in files}


@pytest.mark.parametrize("kind", [pytest.param(kind(), id=name) for name, kind in KINDS.items()])
def test_a_build_is_measured_published_and_recorded(
    settings: Settings, catalog: Catalog, embed: Embed, clustered: Clustered, kind: Kind
) -> None:
    ids = embed(clustered(400))
    stages: list[str] = []
    manifest = build(settings, catalog, "toy", kind, stages.append)
    assert stages == ["read", "build", "recall", "publish"]
    assert (manifest.kind, manifest.count, manifest.dim, manifest.skipped) == (kind.name, len(ids), 16, 0)
    assert (manifest.recall_k, manifest.recall_sample) == (10, 400)
    assert 0.95 <= manifest.recall <= 1.0
    assert versions.current(settings, "toy") == manifest.version
    (row,) = catalog.index_versions("toy")
    assert (row.version, row.kind, row.count, row.recall) == (manifest.version, kind.name, 400, manifest.recall)
    assert VectorIndex.load(settings, "toy").content_ids == ids


@pytest.mark.parametrize("kind", [pytest.param(kind(), id=name) for name, kind in KINDS.items()])
def test_the_same_input_gives_the_same_bytes(
    settings: Settings, catalog: Catalog, embed: Embed, clustered: Clustered, kind: Kind
) -> None:
    embed(clustered(400))
    first = build(settings, catalog, "toy", kind)
    before = contents(settings.indexes_dir)
    created = catalog.index_versions("toy")
    stages: list[str] = []
    assert build(settings, catalog, "toy", kind, stages.append) == first
    assert stages == ["read", "reused", "publish"]
    elsewhere = settings.model_copy(update={"home": settings.home.with_name("elsewhere")})
    (elsewhere.home).mkdir()
    (elsewhere.embeddings_dir).symlink_to(settings.embeddings_dir)
    assert build(elsewhere, catalog, "toy", kind) == first
    assert contents(elsewhere.indexes_dir) == contents(settings.indexes_dir) == before
    assert catalog.index_versions("toy") == created


def test_whatever_decides_the_answers_names_the_version(
    settings: Settings, catalog: Catalog, embed: Embed, clustered: Clustered
) -> None:
    matrix = clustered(300)
    embed(matrix)
    seen = {build(settings, catalog, "toy", kind).version for kind in ("exact", "hnsw", "hnsw:ef_search=64", "ivf")}
    matrix[5] *= -1
    embed(matrix)
    seen.add(build(settings, catalog, "toy", "exact").version)
    embed(clustered(301))
    seen.add(build(settings, catalog, "toy", "exact").version)
    assert len(seen) == 6


def test_under_the_gate_nothing_changes(
    settings: Settings, catalog: Catalog, embed: Embed, clustered: Clustered
) -> None:
    embed(clustered(600))
    good = build(settings, catalog, "toy")
    embed(noise(600))
    before = contents(settings.indexes_dir)
    with pytest.raises(QualityGateError) as refused:
        build(settings, catalog, "toy", POOR)
    for said in ("recall@10", "ivf", "'nprobe': 1", "gate 0.95", "raise nprobe", "--kind exact", "LARDER_RECALL_GATE"):
        assert said in str(refused.value)
    assert contents(settings.indexes_dir) == before
    assert [row.version for row in catalog.index_versions("toy")] == [good.version]
    assert VectorIndex.load(settings, "toy").manifest == good


def test_the_gate_can_be_set_and_holds_for_an_old_version_too(
    settings: Settings, catalog: Catalog, embed: Embed
) -> None:
    embed(noise(600))
    lax = settings.model_copy(update={"recall_gate": 0.0})
    poor = build(lax, catalog, "toy", POOR)
    assert 0.0 < poor.recall < 0.5
    good = build(settings, catalog, "toy", "exact")
    with pytest.raises(QualityGateError):
        build(settings, catalog, "toy", POOR)
    assert versions.current(settings, "toy") == good.version


def test_no_vectors_make_an_empty_index(settings: Settings, catalog: Catalog, embed: Embed) -> None:
    embed(np.empty((0, 16), np.float32))
    for kind in ("auto", *KINDS):
        manifest = build(settings, catalog, "toy", kind)
        assert (manifest.count, manifest.recall, manifest.recall_sample) == (0, 1.0, 0)
        assert VectorIndex.load(settings, "toy").search(np.ones((1, 16), np.float32), 5) == [[]]


def test_zero_vectors_are_skipped_and_counted(
    settings: Settings, catalog: Catalog, embed: Embed, clustered: Clustered
) -> None:
    matrix = clustered(50)
    matrix[[3, 20]] = 0
    ids = embed(matrix)
    manifest = build(settings, catalog, "toy")
    assert (manifest.count, manifest.skipped) == (48, 2)
    index = VectorIndex.load(settings, "toy")
    assert index.content_ids == [c for c in ids if c not in (ids[3], ids[20])]
    assert index.search(matrix[21:22], 1)[0][0].content_id == ids[21]


def test_not_a_number_is_refused_by_content(
    settings: Settings, catalog: Catalog, embed: Embed, clustered: Clustered
) -> None:
    matrix = clustered(20)
    matrix[7, 3] = np.nan
    ids = embed(matrix)
    with pytest.raises(
        InputError, match=f"vectors of 'toy': NaN or infinity in 1 of 20 vectors, the first is '{ids[7]}'"
    ):
        build(settings, catalog, "toy")
    assert not settings.indexes_dir.exists()


def test_wrong_asks_fail_before_anything_is_made(
    settings: Settings, catalog: Catalog, embed: Embed, clustered: Clustered
) -> None:
    with pytest.raises(StateError, match="larder embed toy"):
        build(settings, catalog, "toy")
    embed(clustered(20))
    with pytest.raises(ConfigurationError, match="unknown index kind 'annoy'"):
        build(settings, catalog, "toy", "annoy")
    assert not settings.indexes_dir.exists()


def test_what_a_killed_writer_left_is_ignored_and_swept(
    settings: Settings, catalog: Catalog, embed: Embed, clustered: Clustered
) -> None:
    embed(clustered(50))
    left = settings.indexes_dir / "toy" / f"{BESIDE}99999999-abcdef"
    left.mkdir(parents=True)
    (left / versions.INDEX_FILE).write_bytes(b"half")
    with pytest.raises(StateError, match="larder index toy"):
        VectorIndex.load(settings, "toy")
    manifest = build(settings, catalog, "toy")
    assert [m.version for m in versions.published(settings, "toy")] == [manifest.version]
    assert not left.exists()


@pytest.mark.parametrize("damage", [versions.INDEX_FILE, versions.IDS_FILE, versions.MANIFEST_FILE])
def test_building_again_mends_a_damaged_version(
    settings: Settings, catalog: Catalog, embed: Embed, clustered: Clustered, damage: str
) -> None:
    embed(clustered(50))
    manifest = build(settings, catalog, "toy")
    whole = contents(settings.indexes_dir)
    (versions.version_dir(settings, "toy", manifest.version) / damage).write_bytes(b"{}")
    with pytest.raises(StateError):
        VectorIndex.load(settings, "toy")
    assert build(settings, catalog, "toy") == manifest
    assert contents(settings.indexes_dir) == whole


KILLED = """
import os, signal, sys
from feature_repo.catalog import Catalog
from feature_repo.settings import Settings
from indexers.build import build

left = int(sys.argv[1])
def dying(name):
    real = getattr(os if name == "replace" else Catalog, name)
    def step(*args):
        global left
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1
        return real(*args)
    return step

os.replace, Catalog.record_index = dying("replace"), dying("record_index")
settings = Settings()
build(settings, Catalog(settings.catalog), "toy", "hnsw")
"""


@pytest.mark.crash
@pytest.mark.parametrize("step", range(1, 5), ids=["manifest", "folder", "current", "catalog"])
def test_a_build_killed_before_any_step_leaves_old_or_new_and_converges(
    settings: Settings, catalog: Catalog, embed: Embed, clustered: Clustered, step: int
) -> None:
    embed(clustered(120))
    old = build(settings, catalog, "toy", "exact")
    embed(clustered(200))
    environment = os.environ | {"LARDER_HOME": str(settings.home)}
    command = [sys.executable, "-c", KILLED, str(step)]
    killed = subprocess.run(command, env=environment, cwd=Path(__file__).parents[2], check=False)
    assert killed.returncode == -signal.SIGKILL
    seen = VectorIndex.load(settings, "toy").manifest
    assert (seen == old) == (step < 4)
    manifest = build(settings, catalog, "toy", "hnsw")
    assert versions.history(settings, "toy") == [manifest.version, old.version]
    assert [row.version for row in catalog.index_versions("toy")] == [old.version, manifest.version]
    assert not list(settings.indexes_dir.rglob(f"{BESIDE}*"))
    clean = settings.model_copy(update={"home": settings.home.with_name("clean")})
    clean.home.mkdir()
    clean.embeddings_dir.symlink_to(settings.embeddings_dir)
    build(clean, catalog, "toy", "hnsw")
    after, undisturbed = (contents(versions.version_dir(s, "toy", manifest.version)) for s in (settings, clean))
    assert after == undisturbed


def test_a_manifest_has_no_clock_in_it(
    settings: Settings, catalog: Catalog, embed: Embed, clustered: Clustered
) -> None:
    embed(clustered(30))
    manifest = build(settings, catalog, "toy", HNSW(m=8))
    folder = versions.version_dir(settings, "toy", manifest.version)
    values = json.loads((folder / versions.MANIFEST_FILE).read_text())
    assert values["params"] == {"m": 8, "ef_construction": 200, "ef_search": 128}
    assert values["metric"] == "cosine"
    assert set(values) == {*versions.IndexManifest.__slots__, "digest"}
