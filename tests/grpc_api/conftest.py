"""A real server of the small release on a free port, and a client of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from feature_repo.catalog import Catalog
from feature_repo.settings import Settings, load_settings
from grpc_api.client import Scorer
from predictors.loaded import LoadedRelease
from tests.grpc_api.answers.world import World, make_world
from tests.grpc_api.parts import TableStore, make_release
from tests.grpc_api.running import RunningServer, running


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Any free port, and limits that a test can step over."""
    return settings.model_copy(update={"port": 0, "max_candidates": 50, "max_k": 20, "max_payload_bytes": 64 * 1024})


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LoadedRelease]:
    """The small release, made once: nothing in it changes."""
    settings = load_settings(home=tmp_path_factory.mktemp("built"))
    with Catalog(settings.catalog) as catalog:
        yield make_release(settings, catalog, TableStore())


@pytest.fixture
def store() -> TableStore:
    """The store under the server."""
    return TableStore()


@pytest.fixture
def release(built: LoadedRelease, store: TableStore) -> LoadedRelease:
    """The release that is served."""
    return replace(built, store=store)


@pytest.fixture
def server(settings: Settings, release: LoadedRelease) -> Iterator[RunningServer]:
    """A started server."""
    with running(settings, release) as started:
        yield started


@pytest.fixture
def scorer(server: RunningServer) -> Iterator[Scorer]:
    """A client of the server."""
    with Scorer(f"127.0.0.1:{server.port}") as client:
        yield client


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A real workspace, made once; tests may add contents to it."""
    with make_world(tmp_path_factory.mktemp("answers") / "home") as made:
        yield made
