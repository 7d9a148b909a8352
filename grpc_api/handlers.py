"""gRPC's side of a call: metadata and deadline in, bytes or a rich status out."""

from __future__ import annotations

import time
from functools import partial
from typing import Any, NoReturn

import grpc
from grpc_status import rpc_status

from grpc_api.calls import CALLER, REQUEST_ID, Call, new_id, told
from grpc_api.dispatch import Dispatcher, Refused
from grpc_api.errors import code_of
from grpc_api.rpcs import SERVICE, UNARY, Rpc

Context = grpc.aio.ServicerContext[bytes, bytes]


def handlers(dispatcher: Dispatcher) -> grpc.GenericRpcHandler[bytes, bytes]:
    """Every method of the service. Requests and answers stay bytes here: what is shed is never parsed."""
    unary = {rpc.name: grpc.unary_unary_rpc_method_handler(partial(_unary, dispatcher, rpc)) for rpc in UNARY.values()}
    return grpc.method_handlers_generic_handler(SERVICE, unary)


async def _unary(dispatcher: Dispatcher, rpc: Rpc, payload: bytes, context: Context) -> bytes:
    try:
        return await dispatcher.answer(rpc, payload, call_of(rpc.path, context))
    except Refused as refused:
        await abort(context, refused)


def call_of(path: str, context: Context) -> Call:
    """What the context says of a call."""
    said: dict[str, Any] = dict(context.invocation_metadata() or ())
    remaining = context.time_remaining()
    deadline = float("inf") if remaining is None else time.monotonic() + remaining
    return Call(path, told(said.get(REQUEST_ID)) or new_id(), told(said.get(CALLER)), deadline)


async def abort(context: Context, refused: Refused) -> NoReturn:
    """End a call with a rich status."""
    status = rpc_status.to_status(refused.status)
    await context.abort(code_of(refused.status), refused.status.message, status.trailing_metadata)
