"""Feast from its own shell, on the workspace that LARDER_HOME names."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from feature_repo.catalog import Catalog
from feature_repo.repository import REPOSITORY
from feature_repo.schema import VIEWS
from feature_repo.settings import Settings
from feature_repo.store import Store

FEAST = Path(sys.executable).with_name("feast")


@pytest.mark.usefixtures("filled")
def test_apply_materialize_and_incremental_from_a_shell(settings: Settings, catalog: Catalog) -> None:
    def feast(*arguments: str) -> str:
        done = subprocess.run(
            [str(FEAST), "-c", str(REPOSITORY), *arguments],
            env={**os.environ, "LARDER_HOME": str(settings.home)},
            cwd=settings.home.parent,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    feast("apply")
    listed = feast("feature-views", "list")
    assert all(view in listed for view in (*VIEWS, "toy"))
    feast("materialize", "1970-01-01T00:00:00", "2025-01-10T00:00:00")
    store = Store(settings)
    early = store.read("interest", ["c003"], "u1")
    assert early.present["title"].all()
    feast("materialize-incremental", "2030-01-01T00:00:00")
    late = store.read("interest", ["c003"], "u1")
    assert late.numbers("user_active_days")[0] > early.numbers("user_active_days")[0]
    assert late.present["toy"].all()
