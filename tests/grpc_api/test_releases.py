"""`larder serve` over a real workspace: broken releases are refused by name, and the old one goes on answering."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from embedders.train_user_sequence import fit_user_sequence
from embedders.user_runner import run_users
from feature_repo.catalog import Catalog
from feature_repo.settings import Settings, load_settings
from feature_repo.store import Store
from grpc_api.client import Scorer
from larder import steps
from larder.display import Display
from predictors import shelf
from predictors.pins import ReleaseManifest
from tests.conftest import ROOT
from tests.embedders.user_world import TINY
from tests.grpc_api.answers.world import World
from tests.grpc_api.parts import until

Damage = Callable[[Settings, ReleaseManifest], object]


def swapped_in(path: Path, content: bytes) -> None:
    """Another file in its place: what a server has mapped stays as it is."""
    beside = path.with_suffix(".new")
    beside.write_bytes(content)
    beside.replace(path)


def model(settings: Settings, manifest: ReleaseManifest, file: str) -> Path:
    return settings.models_dir / "popularity" / manifest.predictors["popularity"].version / file


def index(settings: Settings, manifest: ReleaseManifest, file: str) -> Path:
    return settings.indexes_dir / "minilm" / manifest.indexes["minilm"] / file


def of_users(settings: Settings, manifest: ReleaseManifest, file: str) -> Path:
    return settings.indexes_dir / "user_sequence" / manifest.users["user_sequence"].index / file


def own(settings: Settings, manifest: ReleaseManifest) -> Path:
    return settings.releases_dir / f"{manifest.version}.json"


def flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    swapped_in(path, bytes(content))


def cut(path: Path) -> None:
    swapped_in(path, path.read_bytes()[:-20])


def edited(path: Path, *keys: str) -> None:
    said = json.loads(path.read_text())
    inner = said
    for key in keys[:-1]:
        inner = inner[key]
    inner[keys[-1]] = "0" * 16
    swapped_in(path, json.dumps(said).encode())


# what is broken -> what is done to it, and what the refusal names
BROKEN: dict[str, tuple[Damage, str]] = {
    "model edited": (lambda s, m: flipped(model(s, m, "regressor.cbm")), "regressor.cbm"),
    "model missing": (lambda s, m: model(s, m, "regressor.cbm").unlink(), "regressor.cbm"),
    "model's manifest cut": (lambda s, m: cut(model(s, m, "manifest.json")), "manifest.json cannot be read"),
    "model's manifest emptied": (lambda s, m: swapped_in(model(s, m, "manifest.json"), b"{}"), "popularity"),
    "golden batch missing": (lambda s, m: model(s, m, "golden.parquet").unlink(), "golden.parquet"),
    "index edited": (lambda s, m: flipped(index(s, m, "index.faiss")), "index.faiss is not the file"),
    "index missing": (lambda s, m: index(s, m, "index.faiss").unlink(), "index.faiss"),
    "index cut": (lambda s, m: cut(index(s, m, "index.faiss")), "index.faiss"),
    "index's ids edited": (lambda s, m: flipped(index(s, m, "content_ids.json")), "content_ids.json"),
    "index's manifest edited": (lambda s, m: edited(index(s, m, "manifest.json"), "recall"), "minilm"),
    "users' index edited": (lambda s, m: flipped(of_users(s, m, "index.faiss")), "user_sequence"),
    "users' index missing": (lambda s, m: of_users(s, m, "index.faiss").unlink(), "user_sequence"),
    "users' index's ids cut": (lambda s, m: cut(of_users(s, m, "content_ids.json")), "content_ids.json"),
    "users' index's manifest of another model": (
        lambda s, m: edited(of_users(s, m, "manifest.json"), "spec_digest"),
        "user_sequence",
    ),
    "manifest edited": (lambda s, m: edited(own(s, m), "indexes", "minilm"), "was edited"),
    "manifest cut": (lambda s, m: cut(own(s, m)), "cannot be read"),
    "manifest missing": (lambda s, m: own(s, m).unlink(), "no release"),
    "smoke request of contents that are gone": (lambda s, m: _ask_others(own(s, m)), "fails its own request"),
}


def _ask_others(path: Path) -> None:
    said = json.loads(path.read_text())
    said["smoke"]["content_ids"] = ["gone"]
    swapped_in(path, json.dumps(said).encode())


@pytest.fixture(scope="module")
def workspace(world: World, tmp_path_factory: pytest.TempPathFactory) -> tuple[Settings, str, ReleaseManifest]:
    """A copy of the world, with vectors of users, in which one release is in use, and another of the same parts but for
    a default.
    """
    home = tmp_path_factory.mktemp("releases") / "home"
    shutil.copytree(world.settings.home, home)
    settings = load_settings(home=home, precision="float32", workers=1)
    with Catalog(settings.catalog) as catalog:
        fit_user_sequence(settings, catalog, replace(TINY, epochs=1))
        run_users("user_sequence", settings, catalog)
        store = Store(settings)
        store.apply()
        list(store.materialize())
        first = steps.release(steps.Workspace(settings, catalog, Display()), ["popularity"])
        second = replace(first, defaults={"content": "minilm"})
        shelf.publish(settings, catalog, second)
        shelf.use(settings, first.version)
    return settings, first.version, second


@contextmanager
def served(settings: Settings, folder: Path) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """`larder serve`, and the file that it writes its errors to; the port is in `folder`."""
    command = [sys.executable, "-m", "larder", "serve", "--port", "0", "--port-file", str(folder / "port"), "--no-warm"]
    variables = {"LARDER_HOME": str(settings.home), "LARDER_PRECISION": "float32", "OMP_NUM_THREADS": "1"}
    errors = folder / "errors"
    with errors.open("wb") as file:
        process = subprocess.Popen(command, cwd=ROOT, env=os.environ | variables, stderr=file)
    try:
        yield process, errors
    finally:
        process.kill()
        process.wait()


def test_a_broken_release_of_each_kind_is_refused_by_name_and_the_old_one_stays(
    workspace: tuple[Settings, str, ReleaseManifest], tmp_path: Path
) -> None:
    settings, first, second = workspace
    kept = tmp_path / "kept"
    shutil.copytree(settings.home, kept)
    with served(settings, tmp_path) as (process, errors):
        assert until((tmp_path / "port").exists, 120), errors.read_text()
        with Scorer(f"127.0.0.1:{(tmp_path / 'port').read_text().strip()}", timeout=30) as scorer:
            ids = list(second.smoke.content_ids) if second.smoke else []
            before = scorer.predict_columns(ids)
            assert before.release == first
            for kind, (damage, told) in BROKEN.items():
                shelf.use(settings, second.version)
                damage(settings, second)
                refusal = refused(process, errors)
                assert refusal.startswith(f"ERROR grpc_api.server: stays with release {first}: "), kind
                assert told in refusal, kind
                assert second.version in refusal, kind
                after = scorer.predict_columns(ids)
                assert (after.release, after.results[0].scores.tolist()) == (first, before.results[0].scores.tolist())
                for room in ("models", "indexes", "releases"):
                    shutil.copytree(kept / room, settings.home / room, dirs_exist_ok=True, copy_function=put_back)
            shelf.use(settings, second.version)
            process.send_signal(signal.SIGHUP)
            assert until(lambda: scorer.describe().release == second.version, 60), "mended, it is taken"


def refused(process: subprocess.Popen[bytes], errors: Path) -> str:
    """What the server says of the release that it is told to take."""
    known = errors.read_text().count("stays with")
    process.send_signal(signal.SIGHUP)
    assert until(lambda: errors.read_text().count("stays with") > known, 60), errors.read_text()
    return [line for line in errors.read_text().splitlines() if "stays with" in line][-1]


def put_back(source: str, target: str) -> None:
    swapped_in(Path(target), Path(source).read_bytes())


def test_a_prepared_table_that_was_cut_is_refused_by_name_at_the_start(
    workspace: tuple[Settings, str, ReleaseManifest], tmp_path: Path
) -> None:
    settings, _, second = workspace
    home = tmp_path / "home"
    shutil.copytree(settings.home, home)
    broken = load_settings(home=home)
    shelf.use(broken, second.version)
    [table] = broken.prepared_dir.glob("*.slots")
    os.truncate(table, 0)
    with served(broken, tmp_path) as (process, errors):
        assert process.wait(120) != 0
        assert f"release {second.version} " in errors.read_text()
        assert "slot file cut short" in errors.read_text()
