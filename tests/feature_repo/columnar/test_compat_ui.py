"""`feast ui` over a repository that uses the columnar stores says what it says over one with stock stores."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from feast import FeatureStore

from tests.feature_repo.columnar.pair import OURS, STOCK, Repo, open_store

pytestmark = [
    pytest.mark.filterwarnings("ignore:On demand feature view is an experimental feature"),
    pytest.mark.filterwarnings("ignore:The `root_path` parameter is deprecated"),  # by fastapi, in Feast's own UI
]

YAML = """
project: pair
provider: local
registry:
  registry_type: sql
  path: sqlite:///{folder}/registry.db
offline_store:
  type: feature_repo.columnar.offline.PolarsOfflineStore
online_store:
  type: feature_repo.columnar.online.ColumnarOnlineStore
  path: online
batch_engine:
  type: feature_repo.columnar.engine.ColumnarEngine
entity_key_serialization_version: 3
"""
PAGES = {
    "/projects-list.json": "pair",
    "/api/v1/projects": "pair",
    "/api/v1/entities?project=pair": "content_id",
    "/api/v1/feature_views?project=pair": "doubled",
    "/api/v1/feature_services?project=pair": "both",
    "/api/v1/data_sources?project=pair": "kinds_push",
}
CLOCKS = {"createdTimestamp", "lastUpdatedTimestamp"}


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """`feast ui` in the folder; gives its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(Path(sys.executable).with_name("feast")), "ui", "-h", "127.0.0.1", "-p", str(port)]
    address, log = f"http://127.0.0.1:{port}", folder / "ui.log"
    with log.open("w") as output, subprocess.Popen(command, cwd=folder, stdout=output, stderr=output) as process:
        try:
            until = time.monotonic() + 120
            while not alive(address):
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < until, log.read_text()
                time.sleep(0.2)
            yield address
        finally:
            process.kill()


def alive(address: str) -> bool:
    """Whether it answers."""
    try:
        return bool(urllib.request.urlopen(f"{address}/health", timeout=5).status == 200)
    except (urllib.error.URLError, OSError):
        return False


def timeless(value: Any) -> Any:
    """A JSON document without its clocks."""
    if isinstance(value, dict):
        return {name: timeless(inner) for name, inner in value.items() if name not in CLOCKS}
    return [timeless(inner) for inner in value] if isinstance(value, list) else value


def applied(folder: Path, stores: dict[str, Any], repo: Repo) -> FeatureStore:
    """A store with the repository's objects."""
    store = open_store(folder, stores)
    store.apply(repo.objects())
    return store


def test_the_ui_serves_its_pages_and_the_registry(tmp_path: Path) -> None:
    ui_server = pytest.importorskip("feast.ui_server", reason="Feast's UI needs packages that are not here")
    testclient = pytest.importorskip("fastapi.testclient", reason="fastapi's test client is not here")
    repo = Repo(tmp_path)
    repo.write()
    applied(tmp_path / "ours", OURS, repo)
    stock = testclient.TestClient(ui_server.get_app(applied(tmp_path / "stock", STOCK, repo), "pair"))
    (tmp_path / "ours" / "feature_store.yaml").write_text(YAML.format(folder=tmp_path / "ours"))
    with served(tmp_path / "ours") as address:
        for page, word in PAGES.items():
            said = json.load(urllib.request.urlopen(address + page))
            assert timeless(said) == timeless(stock.get(page).json()), page
            assert word in json.dumps(said)
        assert b"<html" in urllib.request.urlopen(address).read()
