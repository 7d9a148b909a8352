"""The command line in this process, and all that it writes to the standard streams: libraries in C do so too."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import pytest

from larder.cli import main

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Outcome:
    """How a command ended and what it said."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output, all of it, as one JSON document."""
        return json.loads(self.out)


@dataclass(frozen=True)
class Shell:
    """Runs commands in the workspace at `home`."""

    home: Path

    def __call__(self, *arguments: object, **settings: object) -> Outcome:
        """`larder ARGUMENTS`; `settings` are `LARDER_…` variables."""
        with pytest.MonkeyPatch.context() as patch, _streams() as (out, err):
            patch.setenv("LARDER_HOME", str(self.home))
            patch.setenv("COLUMNS", "200")
            for name, value in settings.items():
                patch.setenv(f"LARDER_{name.upper()}", str(value))
            with pytest.raises(SystemExit) as stop:
                main([str(argument) for argument in arguments])
            assert isinstance(stop.value.code, int)
            return Outcome(stop.value.code, _said(out), _said(err))

    def ok(self, *arguments: object, **settings: object) -> Outcome:
        """A command that must succeed."""
        outcome = self(*arguments, **settings)
        assert outcome.code == 0, outcome.err
        return outcome

    @contextmanager
    def serving(self, folder: Path) -> Iterator[str]:
        """`larder serve` as a process; gives its address. SIGTERM must end it with 0."""
        port_file, log = folder / "port", folder / "log"
        command = [sys.executable, "-m", "larder", "serve", "--port", "0", "--port-file", str(port_file)]
        environment = os.environ | {"LARDER_HOME": str(self.home)}
        with log.open("w") as output, subprocess.Popen(command, cwd=ROOT, env=environment, stderr=output) as process:
            try:
                deadline = time.monotonic() + 120
                while not port_file.exists():
                    assert process.poll() is None, log.read_text()
                    assert time.monotonic() < deadline, log.read_text()
                    time.sleep(0.05)
                yield f"127.0.0.1:{port_file.read_text().strip()}"
            finally:
                process.send_signal(signal.SIGTERM)
                code = process.wait(60)
        assert code == 0, log.read_text()


@contextmanager
def _streams() -> Iterator[tuple[TextIO, TextIO]]:
    """Files in place of standard output and error, for Python and for what writes to the descriptors themselves."""
    with (
        tempfile.TemporaryFile("w+") as out,
        tempfile.TemporaryFile("w+") as err,
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        saved = {descriptor: os.dup(descriptor) for descriptor in (1, 2)}
        os.dup2(out.fileno(), 1)
        os.dup2(err.fileno(), 2)
        try:
            yield out, err
        finally:
            for descriptor, copy in saved.items():
                os.dup2(copy, descriptor)
                os.close(copy)


def _said(stream: TextIO) -> str:
    """All that was written to one of the streams, libraries' buffers included."""
    ctypes.CDLL(None).fflush(None)
    stream.flush()
    stream.seek(0)
    return stream.read()
