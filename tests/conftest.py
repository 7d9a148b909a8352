"""Fixtures every room shares."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from feature_repo.catalog import Catalog
from feature_repo.settings import Settings

ROOT = Path(__file__).parents[1]

hypothesis.settings.register_profile(  # a busy machine is no failure
    "larder", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("larder")
os.environ.setdefault("LARDER_TRACKING", "off")  # a tracking store takes seconds to make: its own tests turn it on


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings of a workspace of the test's own."""
    return Settings(home=tmp_path / "home")


@pytest.fixture
def catalog(settings: Settings) -> Iterator[Catalog]:
    """An empty catalog in that workspace."""
    with Catalog(settings.catalog) as opened:
        yield opened


@pytest.fixture
def stock_yaml(tmp_path: Path) -> Path:
    """`feature_store.yaml` with each of its `stock:` comments taken at its word."""
    lines = (ROOT / "feature_repo" / "feature_store.yaml").read_text().splitlines()
    changed = [re.sub(r"type: \S+ # stock: (\S+)", r"type: \1", line) for line in lines]
    assert len(set(changed) - set(lines)) == 3
    path = tmp_path / "stock.yaml"
    path.write_text("\n".join(changed))
    return path


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data sets, or a skip that says so."""
    folder = Path(os.environ.get("LARDER_REAL_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}; set LARDER_REAL_DATA")
    return folder
