"""Memory is locked, or it is said why not; each time in a process of its own."""

from __future__ import annotations

import os
import resource
import subprocess
import sys

import pytest

_LOCK = "from grpc_api import memory; memory.lock()"
_LOCKED = "print([line.split()[1] for line in open('/proc/self/status') if line.startswith('VmLck')][0])"
_FORBID = "import os, resource; resource.setrlimit(resource.RLIMIT_MEMLOCK, (0, 0)); os.geteuid() or os.setuid(65534)"


def run(*code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", "\n".join(code)], capture_output=True, text=True, check=False)


def test_what_is_touched_is_locked() -> None:
    unlimited = resource.getrlimit(resource.RLIMIT_MEMLOCK)[0] == resource.RLIM_INFINITY
    if os.geteuid() and not unlimited:
        pytest.skip("this user may not lock memory (ulimit -l)")
    done = run(_LOCK, _LOCKED)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 1000, "KiB"


def test_who_may_not_is_told_what_to_do() -> None:
    done = run("from grpc_api import memory", _FORBID, _LOCK)
    assert "ConfigurationError: LARDER_LOCK_MEMORY" in done.stderr
    assert "ulimit -l unlimited" in done.stderr
