"""Several worker processes on one port: started, restarted when they die, told to reload and to stop.

The kernel spreads connections over the sockets that share the port (SO_REUSEPORT, Linux), so the supervisor is in the
way of no request. It loads no release.
"""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from feature_repo.errors import ConfigurationError, UnavailableError
from feature_repo.settings import Settings
from grpc_api.ports import announce, reserved

log = logging.getLogger(__name__)

Command = Callable[[int, Path], Sequence[str]]
"""The command line of a worker that serves on a port, and writes it to a file once it answers."""

SHORT_S = 10.0  # who lives less has not worked out
MOST_SHORT = 5  # so many in a row, and there is no point in a next
FIRST_PAUSE_S = 0.2
STOP_S = 15.0
_LOOK_S = 0.2
_STOP = (signal.SIGTERM, signal.SIGINT)
_HEARD = (*_STOP, signal.SIGHUP, signal.SIGCHLD)
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)


def thread_limits(threads: int) -> dict[str, str]:
    """Environment of a process whose matrix products and frames run on so many threads; read when libraries load."""
    return dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "POLARS_MAX_THREADS"), str(threads))


def shares(settings: Settings, cores: set[int]) -> list[tuple[set[int], int]]:
    """Each worker's cores and threads: its part of the cores where there are enough, else one core that it shares."""
    each, workers = sorted(cores), settings.serve_workers
    parts = [set(each[n::workers]) or {each[n % len(each)]} for n in range(workers)]
    return [(part if settings.serve_pinned else cores, settings.serve_threads or len(part)) for part in parts]


def own_settings(settings: Settings, number: int) -> dict[str, str]:
    """The variables of the worker of that number: metrics are at the first one's port plus the number."""
    own = {"LARDER_REUSE_PORT": "1"}
    if settings.metrics_port:
        own["LARDER_METRICS_PORT"] = str(settings.metrics_port + number)
    return own


@dataclass
class _Worker:
    """A place among the workers, and the process that fills it at the moment."""

    name: str
    command: Sequence[str]
    cores: set[int]
    threads: int
    settings: dict[str, str]
    ready_file: Path
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    due: float = 0.0
    short_lives: int = 0
    reload_due: bool = False

    @property
    def ready(self) -> bool:
        """Whether it answers."""
        return self.process is not None and self.ready_file.exists()

    def tend(self) -> None:
        """Start it where it is due, notice where it ended, hand on a reload once it can hear of it."""
        now = time.monotonic()
        if self.process is None:
            if now >= self.due:
                self._start(now)
        elif (code := self.process.poll()) is not None:
            self._ended(code, now)
        elif self.reload_due and self.ready:
            self.reload_due = False
            self.process.send_signal(signal.SIGHUP)

    def _start(self, now: float) -> None:
        environment = os.environ | thread_limits(self.threads) | self.settings
        with _on(self.cores):
            self.process = subprocess.Popen(self.command, env=environment, preexec_fn=_begin)
        self.started = now

    def _ended(self, code: int, now: float) -> None:
        short = not self.ready_file.exists() or now - self.started < SHORT_S
        self.short_lives = self.short_lives + 1 if short else 0
        pause = FIRST_PAUSE_S * 2**self.short_lives
        log.error("worker %s ended with %d; the next starts in %.1f s", self.name, code, pause)
        self.process, self.due = None, now + pause
        self.ready_file.unlink(missing_ok=True)


def supervise(
    command: Command,
    settings: Settings,
    *,
    ready: Callable[[int], None] | None = None,
    port_file: Path | None = None,
) -> None:
    """Keep `settings.serve_workers` workers serving until SIGTERM or SIGINT; call from the main thread.

    `ready` is called with the port, and `port_file` holds it, once all answer. SIGHUP is handed on to each. One that
    dies is started again, after a pause that doubles with each short life. Raises UnavailableError where the address
    is taken, where a worker dies before all have answered, and where one dies `MOST_SHORT` times in a row.
    """
    if sys.platform != "linux":
        raise ConfigurationError("several workers share a port on Linux alone: set LARDER_SERVE_WORKERS=1")
    with (
        reserved(settings.host, settings.port) as port,
        tempfile.TemporaryDirectory(prefix="larder-workers-") as folder,
        _waiting_signals(),
    ):
        workers = [
            _Worker(str(number), command(port, file), cores, threads, own_settings(settings, number), file)
            for number, (cores, threads) in enumerate(shares(settings, os.sched_getaffinity(0)))
            for file in [Path(folder) / str(number)]
        ]
        answering = False
        try:
            while _look_after(workers):
                _give_up(workers, MOST_SHORT if answering else 1)
                if not answering and all(worker.ready for worker in workers):
                    answering = True
                    announce(port, port_file, ready)
        finally:
            _stop(workers)


def _look_after(workers: list[_Worker]) -> bool:
    """Tend all workers, then wait for a signal, but not long; False once it is time to stop."""
    for worker in workers:
        worker.tend()
    heard = signal.sigtimedwait(_HEARD, _LOOK_S)
    if heard is not None and heard.si_signo == signal.SIGHUP:
        for worker in workers:
            worker.reload_due = True
    return heard is None or heard.si_signo not in _STOP


def _give_up(workers: list[_Worker], short_lives: int) -> None:
    for worker in workers:
        if worker.short_lives >= short_lives:
            raise UnavailableError(
                f"worker {worker.name} ended soon after its start ({worker.short_lives} in a row): its log says why"
            )


def _stop(workers: list[_Worker]) -> None:
    """SIGTERM to all, SIGKILL to those that do not heed it."""
    running = [worker.process for worker in workers if worker.process is not None]
    for process in running:
        process.terminate()
    deadline = time.monotonic() + STOP_S
    for process in running:
        try:
            process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            log.warning("a worker did not stop in %.0f s and is killed", STOP_S)
            process.kill()
            process.wait()


@contextmanager
def _waiting_signals() -> Iterator[None]:
    """Signals wait to be asked for: none interrupts, none is missed."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _HEARD)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _on(cores: set[int]) -> Iterator[None]:
    """Run on these cores, as does what is started meanwhile, from its first instruction on."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _begin() -> None:
    """In the new process: hear all signals again, and end when the supervisor does, even by SIGKILL."""
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
