"""The page for whoever is on call: its commands are run as they stand, one after the other, in a shell."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.larder.shell import ROOT, Shell

PAGE = ROOT / "docs" / "operations.md"
BLOCK = re.compile(r"^```console\n(.*?)^```", re.DOTALL | re.MULTILINE)
MINUTES = 60.0


def commands(page: str) -> list[str]:
    """The lines of the page's blocks that begin with a prompt."""
    return [line.removeprefix("$ ") for block in BLOCK.findall(page) for line in block.splitlines() if line[:2] == "$ "]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small workspace with a release in use and one before it."""
    shell = Shell(tmp_path_factory.mktemp("operations") / "home")
    shell.ok("ingest", "synthetic", "--contents", "60", "--users", "12", "--seed", "3")
    for step in (("embed",), ("apply",), ("materialize",), ("index",), ("train", "--iterations", "10"), ("release",)):
        shell.ok(*step)
    return shell.home


def test_every_command_of_the_page_works(home: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        port = reserved.getsockname()[1]
    environment = os.environ | {
        "LARDER_HOME": str(home),
        "LARDER_PORT": str(port),
        "LARDER_TRACKING": "off",
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    told = commands(PAGE.read_text())
    assert any("larder serve" in line for line in told)
    script = "\n".join(
        ["set -e", "trap 'kill $(cat server.pid) 2>/dev/null || true; cat server.log >&2' ERR", *told, "wait"]
    )
    done = subprocess.run(
        ["bash", "-x", "-c", script],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=10 * MINUTES,
    )
    assert done.returncode == 0, done.stderr[-4000:]
