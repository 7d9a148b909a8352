"""The gate on gRPC's side. It stands before every method of every service: what nobody opened is closed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc

from feature_repo.errors import DeniedError, UnauthenticatedError
from grpc_api.calls import AUTHENTICATED, REQUEST_ID, Call, new_id, told
from grpc_api.dispatch import Refused
from grpc_api.errors import code_of, to_status
from grpc_api.handlers import Context, abort
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
            said = list(details.invocation_metadata)
            try:
                given = [value for name, value in said if name == AUTHORIZATION and isinstance(value, str)]
                AUTHENTICATED.set(self._gate.admit(given, ROLES.get(path, Role.ADMIN)))
            except (UnauthenticatedError, DeniedError) as error:
                call = Call(path, told(dict(said).get(REQUEST_ID)) or new_id())
                refused = Refused(to_status(error, path, call.request_id))
                self._telemetry.count(call, code_of(refused.status))
                return _refusal(refused)
        return await continuation(details)


def _refusal(refused: Refused) -> Handler:
    async def refuse(_: AsyncIterator[bytes], context: Context) -> None:
        await abort(context, refused)

    # Of streams, whatever the method is: gRPC reads the request of any other kind before it calls the handler.
    return grpc.stream_stream_rpc_method_handler(refuse)
