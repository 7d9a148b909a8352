"""The `feast` command, each call a process of its own, forked from one that has Feast imported: that takes seconds."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[3]


@dataclass(frozen=True)
class Outcome:
    """How a command ended and what it wrote."""

    code: int
    out: str
    err: str


class FeastShell:
    """Runs `feast ARGUMENTS` in a folder. Close it, which ends the process that it forks from."""

    def __init__(self) -> None:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "200", "FEAST_USAGE": "False"}
        self._parent = subprocess.Popen(
            [sys.executable, __file__], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __call__(self, folder: Path, *arguments: str) -> Outcome:
        """Run a command to its end."""
        assert self._parent.stdin is not None
        assert self._parent.stdout is not None
        self._parent.stdin.write(json.dumps([str(folder), arguments]) + "\n")
        self._parent.stdin.flush()
        answer: dict[str, Any] = json.loads(self._parent.stdout.readline())
        return Outcome(**answer)

    def ok(self, folder: Path, *arguments: str) -> str:
        """Run a command that must succeed; its standard output."""
        outcome = self(folder, *arguments)
        assert outcome.code == 0, outcome.out + outcome.err
        return outcome.out

    def close(self) -> None:
        """End."""
        assert self._parent.stdin is not None
        assert self._parent.stdout is not None
        self._parent.stdin.close()
        self._parent.wait(30)
        self._parent.stdout.close()


def _serve() -> None:
    import feast.cli.cli  # here, as tests import this module for the class alone

    for line in sys.stdin:
        folder, arguments = json.loads(line)
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
            child = os.fork()
            if child == 0:
                os._exit(_run(feast.cli.cli.cli, folder, arguments, (os.open(os.devnull, os.O_RDONLY), out, err)))
            answer: dict[str, Any] = {"code": os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}
            for name, stream in (("out", out), ("err", err)):
                stream.seek(0)
                answer[name] = stream.read()
        print(json.dumps(answer), flush=True)


def _run(command: Any, folder: str, arguments: Sequence[str], streams: Sequence[Any]) -> int:
    """In the child: the command with its own folder and streams; returns the exit status."""
    os.chdir(folder)
    for number, stream in enumerate(streams):
        os.dup2(stream if isinstance(stream, int) else stream.fileno(), number)
    code = 1
    try:
        command(arguments, prog_name="feast")
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    return code


if __name__ == "__main__":
    _serve()
