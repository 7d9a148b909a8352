"""`larder bench serve` on a server with a list of callers: the table, the picture, JSON and the peak."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from feature_repo.catalog import Catalog
from feature_repo.settings import Settings
from grpc_api.security.roles import Role
from grpc_api.security.tokens import add_token, new_token
from tests.grpc_api.parts import TableStore, make_release
from tests.grpc_api.running import running
from tests.larder.shell import Shell

SHORT = ("--duration", 0.4, "--candidates", 5, "-k", 3)


@pytest.fixture
def store() -> TableStore:
    return TableStore()


@pytest.fixture
def served(
    settings: Settings, catalog: Catalog, store: TableStore, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Shell, str]]:
    secret, token = new_token("bench", [Role.SCORE], 1)
    add_token(settings.callers_path, token)
    monkeypatch.setenv("LARDER_TOKEN", secret)
    free = settings.model_copy(update={"port": 0, "max_waiting": 1000, "max_waiting_s": 1000.0})
    with running(free, make_release(free, catalog, store)) as server:
        yield Shell(settings.home), f"127.0.0.1:{server.port}"


def test_a_load_is_shown_drawn_and_written(served: tuple[Shell, str], tmp_path: Path) -> None:
    shell, address = served
    picture = tmp_path / "load.svg"
    command = ("bench", "serve", "--rate", 50, *SHORT, "--mix", "predict=0.6,similar=0.4", "--address", address)
    shown = shell.ok(*command, "--plot", picture).out
    assert all(word in shown for word in ("predict", "similar", "all", "p99.9 ms", "OK"))
    drawn = picture.read_text()
    assert drawn.startswith("<?xml")
    assert "</svg>" in drawn
    said = shell.ok(*command, "--json").json
    assert set(said["kinds"]) == {"predict", "similar", "all"}
    assert set(said["kinds"]["all"]["codes"]) == {"OK"}
    assert said["kinds"]["all"]["p50_ms"] <= said["kinds"]["all"]["p99_ms"] <= said["kinds"]["all"]["max_ms"]


def test_the_peak_is_looked_for(served: tuple[Shell, str], store: TableStore) -> None:
    shell, address = served
    store.before_read = lambda: time.sleep(0.005)  # 200 reads a second at most; waiting calls share one
    command = ("bench", "serve", "--find-peak", *SHORT, "--mix", "predict", "--address", address)
    outcome = shell.ok(*command, "--rate", 40, "--deadline-ms", 300, "--json")
    assert outcome.json["rate"]["asked"] > 0
    assert "too much" in outcome.err
    refused = shell(*command, "--rate", 2, "--deadline-ms", 4)
    assert refused.code != 0
    assert "not even 1 call a second" in refused.err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--plot", "load.txt"), ".svg"),
        (("--mix", "guess"), "describe"),
        (("--core", 99_999), "core 99999"),
        (("--address", "127.0.0.1:1"), "cannot answer"),
    ],
)
def test_what_is_wrong_is_said(served: tuple[Shell, str], options: tuple[object, ...], said: str) -> None:
    shell, address = served
    outcome = shell("bench", "serve", *SHORT, "--address", address, *options)
    assert outcome.code != 0
    assert said in outcome.err


def test_without_a_token_nothing_is_measured(served: tuple[Shell, str], monkeypatch: pytest.MonkeyPatch) -> None:
    shell, address = served
    monkeypatch.delenv("LARDER_TOKEN")
    outcome = shell("bench", "serve", *SHORT, "--address", address)
    assert outcome.code != 0
    assert "authorization" in outcome.err


def test_commands_send_the_token(served: tuple[Shell, str], monkeypatch: pytest.MonkeyPatch) -> None:
    shell, address = served
    commands = (("predict", "c03"), ("similar", "c03"), ("recommend", "u1"))
    for command in commands:
        shell.ok(*command, "--address", address)
    monkeypatch.delenv("LARDER_TOKEN")
    for command in commands:
        assert "authorization" in shell(*command, "--address", address).err
