"""`larder log` and `larder compact`, on a server that takes events."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from feature_repo.catalog import Catalog
from feature_repo.events import EventLog
from feature_repo.recorder import Recorder
from feature_repo.settings import Settings
from larder.cli import main
from tests.grpc_api.parts import TableStore, make_release
from tests.grpc_api.running import running


def run(capsys: pytest.CaptureFixture[str], home: Path, *command: object) -> tuple[int, str, str]:
    """Exit code, output and errors of a command line."""
    with pytest.raises(SystemExit) as stop:
        main(["--home", str(home), *map(str, command)])
    said = capsys.readouterr()
    return int(stop.value.code or 0), said.out, said.err


@pytest.fixture
def events(tmp_path: Path) -> Path:
    """Three events, the last of a time to come."""
    rows = [
        {"user_id": "u", "content_id": "c01", "event": "like", "timestamp": f"{year}-01-01T00:00:00Z"}
        for year in (2024, 2025, 2200)
    ]
    path = tmp_path / "events.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_file_is_told_and_compacted(
    settings: Settings, catalog: Catalog, events: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    monkeypatch.setenv("LARDER_HOME", str(settings.home))
    free = settings.model_copy(update={"port": 0})
    release = make_release(free, catalog, TableStore())
    pushed: list[str] = []
    with running(free, release, lambda: Recorder(free, lambda view, rows: pushed.append(view))) as server:
        command = ("log", events, "--address", f"127.0.0.1:{server.port}")
        code, said, _ = run(capsys, settings.home, *command, "--json")
        assert (code, json.loads(said)["accepted"]) == (0, 2)
        code, _, notes = run(capsys, settings.home, *command)
        assert code == 0
        assert "timestamp: lies before 1970 or in the future" in notes
    assert set(pushed) == {"user_stats", "user_recent", "content_stats"}
    log = EventLog(settings.interactions_dir)
    assert (log.count(), log.segments()) == (2, [])
    code, said, _ = run(capsys, settings.home, "compact", "--json")
    assert (code, json.loads(said)) == (0, {"events": 2})
    assert (log.count(), len(log.segments())) == (2, 1)
    assert (settings.features_dir / "user_recent" / "rows.parquet").exists()


@pytest.mark.parametrize(("name", "text"), [("events.csv", ""), ("events.jsonl", "no json"), ("none.parquet", None)])
def test_a_file_that_cannot_be_read(
    settings: Settings,
    tmp_path: Path,
    name: str,
    text: str | None,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: Any,
) -> None:
    monkeypatch.setenv("LARDER_HOME", str(settings.home))
    if text is not None:
        (tmp_path / name).write_text(text)
    code, _, errors = run(capsys, settings.home, "log", tmp_path / name)
    assert code == 3
    assert name in errors
