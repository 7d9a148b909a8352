"""Partitions on a Ray cluster of real processes on this machine: what a lost node may not change, and refusals."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from embedders.distribute import RayEngine
from embedders.runner import run
from embedders.specs import SPECS
from feature_repo.catalog import Catalog
from feature_repo.catalog_rows import LedgerRow
from feature_repo.contracts import Content
from feature_repo.errors import ConfigurationError
from feature_repo.settings import Settings, load_settings
from feature_repo.vectors import vectors_dir

ROOT = Path(__file__).parents[2]
NAME = "minilm"
DIGEST = SPECS[NAME].digest
CONTENTS, PARTITION = 60, 4
DEADLINE_S = 150.0  # for one command, on a machine that is busy with other things


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head that only keeps the books, and two workers of one CPU each; nothing is reported to anyone."""
    pytest.importorskip("ray", reason="Ray is not installed: pip install -e '.[ray]'")
    folder = tempfile.mkdtemp(prefix="r", dir="/tmp")  # sockets lie in it, and their paths may have 107 characters
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("PYTHONPATH", str(ROOT))
        patch.setenv("RAY_TMPDIR", folder)  # else the head's address is to lie in /tmp/ray, which nobody makes
        from ray.cluster_utils import Cluster

        head = {"num_cpus": 0, "include_dashboard": False, "temp_dir": f"{folder}/ray"}
        made = Cluster(True, head_node_args=head)
        try:
            for _ in range(2):
                made.add_node(num_cpus=1)
            yield made
        finally:
            made.shutdown()  # type: ignore[no-untyped-call]
            shutil.rmtree(folder, ignore_errors=True)


def ingest(home: Path) -> Settings:
    """Long texts, so that partitions take a while, and one that has none."""
    settings = load_settings(home=home)
    with Catalog(settings.catalog) as catalog:
        words = ("rain", "tea", "trains", "a harbour at night", "bread", "two dogs")
        posts = [
            Content(f"c{n:03}", f"Post {n}. " + " ".join(words[(n + k) % len(words)] for k in range(100)), noon(n))
            for n in range(CONTENTS - 1)
        ]
        catalog.upsert_contents([*posts, Content("silent", "", noon(0))], "posts")
    return settings


def noon(day: int) -> datetime:
    return datetime(2024, 1 + day % 12, 1, 12, tzinfo=UTC)


def start(home: Path, *arguments: str) -> subprocess.Popen[str]:
    """`larder embed` as a process of its own, on one core as an actor is."""
    command = [sys.executable, "-m", "larder", "embed", NAME, "--json", *arguments]
    wanted = {"LARDER_HOME": str(home), "LARDER_PARTITION_SIZE": str(PARTITION), "OMP_NUM_THREADS": "1"}
    pipes: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, cwd=ROOT, env=os.environ | wanted | {"LARDER_WORKERS": "1"}, **pipes)


def finish(process: subprocess.Popen[str]) -> dict[str, Any]:
    """The report of a run that must succeed."""
    out, err = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 0, err
    report: dict[str, Any] = json.loads(out)[0]
    return report


def ledger(settings: Settings) -> dict[str, LedgerRow]:
    with Catalog(settings.catalog) as catalog:
        return catalog.ledger(NAME, DIGEST)


def files(settings: Settings) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in vectors_dir(settings, NAME, DIGEST).glob("*.parquet")}


@pytest.mark.crash
def test_a_node_killed_midway_loses_nothing_and_repeats_nothing(cluster: Any, tmp_path: Path) -> None:
    settings = ingest(tmp_path / "cluster")
    alone = load_settings(home=shutil.copytree(settings.home, tmp_path / "alone"))
    undisturbed = start(alone.home)
    process = start(settings.home, "--engine", "ray", "--ray-address", cluster.address)
    try:
        deadline = time.monotonic() + DEADLINE_S
        while len(ledger(settings)) < 2 * PARTITION:
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)
        assert len(ledger(settings)) < CONTENTS, "the node was killed too late"
        report, expected = finish(process), finish(undisturbed)
    finally:
        for child in (process, undisturbed):
            child.kill()
            child.wait()
    for counted in ("encoded", "fresh", "failed"):
        assert report[counted] == expected[counted]
    assert report["encoded"] == CONTENTS - 1
    assert report["failed"] == {"no text": 1}
    assert ledger(settings) == ledger(alone)
    assert files(settings) == files(alone)
    lying = [c for p in vectors_dir(settings, NAME, DIGEST).glob("*.parquet") for c in pq.read_table(p)[0].to_pylist()]
    assert sorted(lying) == [f"c{n:03}" for n in range(CONTENTS - 1)]
    with Catalog(settings.catalog) as catalog:
        assert run(NAME, settings, catalog).fresh == CONTENTS - 1


def test_without_ray_it_says_what_to_install(
    posts: list[Content], catalog: Catalog, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigurationError, match=r"pip install -e '\.\[ray\]'"):
        run(NAME, settings, catalog, engine=RayEngine())
    assert catalog.ledger(NAME, DIGEST) == {}


def test_nothing_to_do_asks_no_cluster(catalog: Catalog, settings: Settings) -> None:
    assert run(NAME, settings, catalog, engine=RayEngine("127.0.0.1:1")).encoded == 0
