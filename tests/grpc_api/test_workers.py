"""Several workers on one port: real processes that are killed, told to reload, and stopped."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_repo.errors import UnavailableError
from feature_repo.settings import Settings
from grpc_api.client import Scorer
from grpc_api.ports import reserved
from grpc_api.workers import MOST_SHORT, shares
from predictors.loaded import LoadedRelease
from tests.grpc_api.parts import until
from tests.grpc_api.running import running

ROOT = Path(__file__).parents[2]


def start(folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.grpc_api.supervisor", str(folder)]
    return subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)


def children(process: int) -> set[int]:
    said = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    return set(map(int, said))


def alive(process: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{process}/status").read_text()
    except FileNotFoundError:
        return False


def asked(port: int, calls: int = 20) -> dict[int, int]:
    """Reloads by process of those that answer new connections, which the kernel spreads over them."""
    found = {}
    for _ in range(calls):
        with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
            process, reloads = connection.makefile().read().split()
            found[int(process)] = int(reloads)
    return found


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A supervisor whose two workers answer."""
    with start(tmp_path) as process:
        try:
            assert until((tmp_path / "port").exists, 60), process.poll()
            yield process
        finally:
            left = children(process.pid) if process.poll() is None else set()
            process.kill()
            assert until(lambda: not any(map(alive, left)), 30), "workers do not outlive their supervisor"


@pytest.fixture
def port(supervisor: subprocess.Popen[str], tmp_path: Path) -> int:
    return int((tmp_path / "port").read_text())


def test_both_workers_answer_on_one_port(supervisor: subprocess.Popen[str], port: int) -> None:
    assert until(lambda: asked(port).keys() == children(supervisor.pid))


@pytest.mark.crash
def test_a_worker_that_dies_is_replaced_while_the_other_answers(supervisor: subprocess.Popen[str], port: int) -> None:
    victim, other = sorted(children(supervisor.pid))
    os.kill(victim, signal.SIGKILL)
    assert until(lambda: not alive(victim))
    assert other in asked(port)
    assert until(lambda: len(asked(port).keys() - {victim}) == 2, 30)
    assert children(supervisor.pid) - {victim} == asked(port).keys() > {other}


def test_workers_have_cores_and_threads_of_their_own(supervisor: subprocess.Popen[str]) -> None:
    cores = [os.sched_getaffinity(child) for child in children(supervisor.pid)]
    here = os.sched_getaffinity(0)
    assert set.union(*cores) == here
    if len(here) > 1:
        assert not set.intersection(*cores)
    for child in children(supervisor.pid):
        environment = Path(f"/proc/{child}/environ").read_bytes().split(b"\0")
        assert f"OMP_NUM_THREADS={len(os.sched_getaffinity(child))}".encode() in environment
        assert b"LARDER_REUSE_PORT=1" in environment


def test_sighup_reaches_every_worker(supervisor: subprocess.Popen[str], port: int) -> None:
    for turn in (1, 2):
        supervisor.send_signal(signal.SIGHUP)
        assert until(lambda turn=turn: set(asked(port).values()) == {turn}, 30)  # type: ignore[misc]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_stops_all_and_frees_the_port(
    supervisor: subprocess.Popen[str], port: int, number: signal.Signals
) -> None:
    before = children(supervisor.pid)
    supervisor.send_signal(number)
    assert supervisor.wait(30) == 0
    assert not any(map(alive, before))
    with reserved("127.0.0.1", port):
        pass


@pytest.mark.crash
def test_a_supervisor_that_is_killed_takes_its_workers_along(supervisor: subprocess.Popen[str], port: int) -> None:
    before = children(supervisor.pid)
    supervisor.kill()
    assert until(lambda: not any(map(alive, before)), 30)
    with reserved("127.0.0.1", port):
        pass


def test_workers_that_cannot_start_end_it_with_a_reason(tmp_path: Path) -> None:
    (tmp_path / "broken").touch()
    with start(tmp_path) as process:
        assert process.wait(60) == 1
        assert process.stderr
        assert "ended soon after its start" in process.stderr.read()
    assert not (tmp_path / "port").exists()


@pytest.mark.crash
def test_workers_that_cannot_stay_end_it_after_a_few_tries(supervisor: subprocess.Popen[str], tmp_path: Path) -> None:
    (tmp_path / "broken").touch()
    before = children(supervisor.pid)
    os.kill(min(before), signal.SIGKILL)
    assert supervisor.wait(60) == 1
    assert supervisor.stderr
    assert f"({MOST_SHORT} in a row)" in supervisor.stderr.read()
    assert not any(map(alive, before))


def test_servers_share_a_port_where_they_are_told_to(settings: Settings, release: LoadedRelease) -> None:
    with reserved("127.0.0.1", 0) as port:
        sharing = settings.model_copy(update={"port": port, "reuse_port": True})
        with running(sharing, release) as one, running(sharing, release) as other:
            assert one.port == other.port == port
            with Scorer(f"127.0.0.1:{port}") as scorer:
                assert scorer.predict(["c03"])[0].score == 3


def test_a_port_that_somebody_listens_on_is_not_shared_unasked(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with (
            pytest.raises(UnavailableError, match=f"cannot listen on 127.0.0.1:{port}.*LARDER_PORT"),
            reserved("127.0.0.1", port),
        ):
            pass
    with reserved("127.0.0.1", port) as same:
        assert same == port


@given(st.integers(1, 40), st.sets(st.integers(0, 63), min_size=1), st.integers(0, 4))
def test_shares(workers: int, cores: set[int], threads: int) -> None:
    settings = Settings(serve_workers=workers, serve_threads=threads)
    found = shares(settings, cores)
    assert len(found) == workers
    assert set.union(*(on for on, _ in found)) == cores or workers < 1
    sizes = [len(on) for on, _ in found]
    assert max(sizes) - min(sizes) <= 1
    if workers <= len(cores):
        assert sum(sizes) == len(cores), "no core is given twice"
    else:
        assert set(sizes) == {1}
    assert all(count == (threads or len(on)) for on, count in found)
    free = shares(settings.model_copy(update={"serve_pinned": False}), cores)
    assert all(on == cores for on, _ in free)
    assert [count for _, count in free] == [count for _, count in found]
