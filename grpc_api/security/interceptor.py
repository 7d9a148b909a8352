"""The gate on gRPC's side. It stands before every method of every service: what nobody opened is closed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any

import grpc

from feature_repo.errors import DeniedError, LarderError, UnauthenticatedError
from grpc_api.calls import AUTHENTICATED
from grpc_api.dispatch import Refused
from grpc_api.errors import code_of, to_status
from grpc_api.handlers import Context, abort, call_of
from grpc_api.rpcs import ROLES
from grpc_api.security.gate import AUTHORIZATION, Gate
from grpc_api.security.roles import Role
from grpc_api.telemetry.telemetry import Telemetry

OPEN = ("/grpc.health.v1.Health/", "/grpc.reflection.v1alpha.ServerReflection/")
Handler = Any  # grpc.RpcMethodHandler of whatever the method takes and gives


class Doorkeeper(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]  # generic in the stubs alone
    """Asks the gate before a message is read; a method that no table knows is the admin's."""

    def __init__(self, gate: Gate, telemetry: Telemetry) -> None:
        self._gate = gate
        self._telemetry = telemetry

    async def intercept_service(
        self, continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler]], details: grpc.HandlerCallDetails
    ) -> Handler:
        """The method's handler, or one that refuses."""
        path: str = details.method
        if not path.startswith(OPEN):
            said = details.invocation_metadata
            given = (value for name, value in said if name == AUTHORIZATION and isinstance(value, str))
            try:
                AUTHENTICATED.set(self._gate.admit(given, ROLES.get(path, Role.ADMIN)))
            except (UnauthenticatedError, DeniedError) as error:
                # Of streams, whatever the method is: gRPC reads the request of any other kind before it calls this.
                return grpc.stream_stream_rpc_method_handler(partial(self._refuse, path, error))
        return await continuation(details)

    async def _refuse(self, path: str, error: LarderError, _: AsyncIterator[bytes], context: Context) -> None:
        call = call_of(path, context)
        refused = Refused(to_status(error, path, call.request_id))
        self._telemetry.count(call, code_of(refused.status))
        await abort(context, refused)
