"""What the two clients share: connections, taken in turns, and what each call says."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from itertools import count
from typing import Any, Self

from grpc_health.v1 import health_pb2_grpc

from feature_repo.settings import Settings
from grpc_api.calls import CALLER, REQUEST_ID
from grpc_api.client.access import Access
from grpc_api.client.batches import Batches
from grpc_api.client.retry import Budget
from grpc_api.ports import address as written
from protos.larder.v1 import scoring_pb2_grpc

CONNECTIONS = 4
TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class _Said:
    timeout: float
    request_id: str = ""
    caller: str = ""


class Client:
    """Connections to `larder serve` at HOST:PORT; `timeout` is seconds a call, retries included.

    Calls take the connections in turns. Each is one worker's for as long as it lasts, since the kernel hands out
    connections and not calls: with fewer connections than workers, some workers have nothing to do.
    """

    _over: Any  # `grpc`, or `grpc.aio`

    def __init__(
        self,
        address: str,
        timeout: float = TIMEOUT_S,
        *,
        access: Access = Access(),  # noqa: B008  # frozen
        connections: int = CONNECTIONS,
    ) -> None:
        self.address = address
        self.access = access
        self._said = _Said(timeout)
        self._credentials = access.metadata
        self._channels = access.channels(self._over, address, connections)
        self._stubs = [scoring_pb2_grpc.ScoringServiceStub(one) for one in self._channels]  # type: ignore[no-untyped-call]
        self._health = health_pb2_grpc.HealthStub(self._channels[0])
        self._turns = count()
        self._budget = Budget()
        self._batches = Batches()

    @classmethod
    def of(cls, settings: Settings, address: str = "", timeout: float = TIMEOUT_S) -> Self:
        """To that server, or the one of the settings, with their token and TLS. Raises ConfigurationError."""
        return cls(address or written(settings.host, settings.port), timeout, access=Access.of(settings))

    @property
    def timeout(self) -> float:
        """Seconds a call."""
        return self._said.timeout

    def with_options(
        self, *, timeout: float | None = None, request_id: str | None = None, caller: str | None = None
    ) -> Self:
        """The same client for calls with another timeout, a name of their own, or for someone else.

        It shares the connections: close one of the two. `caller` counts where there is no token that says it.
        """
        given = {"timeout": timeout, "request_id": request_id, "caller": caller}
        other = copy.copy(self)
        other._said = replace(self._said, **{name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type]
        return other

    def _stub(self) -> Any:
        return self._stubs[next(self._turns) % len(self._stubs)]

    def _metadata(self, request_id: str = "") -> tuple[tuple[str, str], ...]:
        said = ((REQUEST_ID, self._said.request_id or request_id), (CALLER, self._said.caller))
        return (*self._credentials, *(pair for pair in said if pair[1]))
