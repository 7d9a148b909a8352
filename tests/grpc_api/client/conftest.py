"""The scripted server, and each of the two clients."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from tests.grpc_api.client.scripted import Ask, Scripted, ask_async, ask_sync, scripted


@pytest.fixture(params=[ask_sync, ask_async], ids=["threads", "loop"])
def ask_at(request: pytest.FixtureRequest) -> Ask:
    """Ask an address, a method and what it is given; `client` and `options` are those of the client."""
    chosen = request.param

    def ask(address: str, method: str, *given: Any, **named: Any) -> Any:
        return chosen(address, method, *given, **{"client": {}, "options": {}} | named)

    return ask


@pytest.fixture
def script() -> Iterator[Scripted]:
    with scripted() as server:
        yield server


@pytest.fixture
def ask(ask_at: Ask, script: Scripted) -> Ask:
    """Ask the scripted server."""
    return partial(ask_at, f"127.0.0.1:{script.port}")
