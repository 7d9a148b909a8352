"""The server of the small release, with its metrics on any free port."""

from __future__ import annotations

import pytest

from feature_repo.settings import Settings


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"metrics_port": 0})
