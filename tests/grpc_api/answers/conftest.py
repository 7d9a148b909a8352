"""The service of the small release, called without a network."""

from __future__ import annotations

import pytest

from grpc_api.calls import Call
from grpc_api.messages.describe import Limits
from grpc_api.service import ScoringService
from predictors.loaded import LoadedRelease


@pytest.fixture
def service(release: LoadedRelease) -> ScoringService:
    """Over the release with the test's own store."""
    return ScoringService(release, Limits(k=20, pool=40, raw_contents=4, text_characters=100))


@pytest.fixture
def call() -> Call:
    """A call with all the time in the world."""
    return Call("test")
