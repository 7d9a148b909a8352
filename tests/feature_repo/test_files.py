"""A file is whole or absent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from feature_repo.errors import UnavailableError
from feature_repo.files import BESIDE, digest_file, only_writer, open_plain, replacing, scratch, sweep, write_json


def test_success_replaces_and_leaves_nothing_beside(tmp_path: Path) -> None:
    path = tmp_path / "a" / "x.txt"
    for text in ("one", "two"):
        with replacing(path) as beside:
            beside.write_text(text)
    assert path.read_text() == "two"
    assert list(path.parent.iterdir()) == [path]


def test_failure_keeps_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    path.write_text("old")

    def fail() -> None:
        with replacing(path) as beside:
            beside.write_text("new")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_appears_in_one_step(tmp_path: Path) -> None:
    with replacing(tmp_path / "folder") as beside:
        beside.mkdir()
        (beside / "in.txt").write_text("x")
        assert not (tmp_path / "folder").exists()
    assert (tmp_path / "folder" / "in.txt").read_text() == "x"


def test_a_half_written_file_matches_no_pattern_and_is_swept(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys, pathlib; from feature_repo.files import replacing\n"
        "with replacing(pathlib.Path(sys.argv[1]) / 'x.parquet') as beside:\n"
        "    beside.write_text('half'); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert list(tmp_path.glob("*.parquet")) == []
    assert len(list(tmp_path.iterdir())) == 1
    sweep(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_writer_at_work_keeps_its_folder(tmp_path: Path) -> None:
    with replacing(tmp_path / "x.txt") as beside:
        beside.write_text("going on")
        sweep(tmp_path)
    assert (tmp_path / "x.txt").read_text() == "going on"
    (tmp_path / f"{BESIDE}{os.getpid()}-y.txt.d").mkdir()  # an earlier process that had this one's number
    (tmp_path / f"{BESIDE}{os.getppid()}-z.txt.d").mkdir()
    sweep(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"{BESIDE}{os.getppid()}-z.txt.d", "x.txt"]


def test_json_and_digest(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"b": 1, "a": "é"})
    write_json(tmp_path / "b.json", {"a": "é", "b": 1})
    assert digest_file(tmp_path / "a.json") == digest_file(tmp_path / "b.json")
    with pytest.raises(OSError, match="none"):
        digest_file(tmp_path / "none")


def test_a_scratch_folder_is_gone_afterwards_and_not_swept_before(tmp_path: Path) -> None:
    with scratch(tmp_path, "work") as folder:
        (folder / "x").write_text("kept")
        sweep(tmp_path)
        assert (folder / "x").read_text() == "kept"
    assert not list(tmp_path.iterdir())
    killed = tmp_path / f"{BESIDE}{dead_process()}-work.d"
    killed.mkdir()
    sweep(tmp_path)
    assert not killed.exists()


def test_one_writer_at_a_time(tmp_path: Path) -> None:
    refused = pytest.raises(UnavailableError, match="another run is writing")
    with only_writer(tmp_path / "a"), only_writer(tmp_path / "b"), refused, only_writer(tmp_path / "a"):
        pass
    with only_writer(tmp_path / "a"):
        pass


def dead_process() -> int:
    """The number of a process that has ended."""
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        child.wait()
    return child.pid


def test_only_a_plain_file_is_opened(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"bytes")
    with open_plain(tmp_path / "file") as file:
        assert file.read() == b"bytes"
    os.mkfifo(tmp_path / "pipe")  # nobody writes to it: whoever opens it waits for ever
    for path in (tmp_path, tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(OSError, match="a directory, a pipe or a device"):
            open_plain(path)
    with pytest.raises(FileNotFoundError):
        open_plain(tmp_path / "gone")
