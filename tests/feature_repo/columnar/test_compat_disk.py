"""A disk that is really full, and one that is really read-only, under the online store."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
CHILD = Path(__file__).with_name("disk_child.py")


@pytest.fixture(scope="module")
def own_disk() -> list[str]:
    """The command that lets a child mount a disk of its own."""
    unshare = shutil.which("unshare")
    if unshare is None:
        pytest.skip("no `unshare` here, so no disk of one's own can be mounted")
    trial = [unshare, "-rm", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    done = subprocess.run(trial, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no disk of one's own can be mounted here: {done.stderr.strip()}")
    return [unshare, "-rm"]


def test_a_full_disk_and_a_read_only_one(own_disk: list[str], tmp_path: Path) -> None:
    command = [*own_disk, sys.executable, str(CHILD), str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    place, written = tmp_path / "disk" / "online", said["written"]
    assert written > 1000
    full = f"{place}: the disk is full; nothing of this write was kept, the store stays readable"
    assert said["full"] == said["full_again"] == ["UnavailableError", full]
    assert said["held_when_full"] == said["held_in_a_new_process"] == [written, 0]
    assert said["held_when_freed"] == [written + 500, 0]
    assert said["read_only"] == ["UnavailableError", f"{place}: this place is read-only; make it writable"]
    assert said["held_when_read_only"] == [written + 500, 0]
