"""gRPC's side of a call: metadata and deadline in, bytes or a rich status out."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from functools import partial
from typing import Any, NoReturn

import grpc
from grpc_status import rpc_status

from grpc_api.calls import AUTHENTICATED, CALLER, REQUEST_ID, TRACEPARENT, Call, new_id, told
from grpc_api.dispatch import Dispatcher, Refused
from grpc_api.errors import code_of, to_status
from grpc_api.hangups import log_no_hangups, reading, writing
from grpc_api.interactions.handler import log_interactions
from grpc_api.interactions.intake import Intake
from grpc_api.rpcs import LOG_INTERACTION, PREDICT_STREAM, SERVICE, UNARY, Rpc
from grpc_api.security import certified
from grpc_api.streams import predict_stream
from grpc_api.telemetry.telemetry import Telemetry

Context = grpc.aio.ServicerContext[bytes, bytes]


def handlers(dispatcher: Dispatcher, intake: Intake | None) -> grpc.GenericRpcHandler[bytes, bytes]:
    """Every method of the service. Requests and answers stay bytes here: what is shed is never parsed."""
    log_no_hangups()
    unary = {rpc.name: grpc.unary_unary_rpc_method_handler(partial(_unary, dispatcher, rpc)) for rpc in UNARY.values()}
    streams = {
        PREDICT_STREAM.name: grpc.stream_stream_rpc_method_handler(partial(_predict_stream, dispatcher)),
        LOG_INTERACTION.rpartition("/")[2]: grpc.stream_stream_rpc_method_handler(
            partial(_log_interaction, dispatcher.telemetry, intake)
        ),
    }
    return grpc.method_handlers_generic_handler(SERVICE, unary | streams)


async def _unary(dispatcher: Dispatcher, rpc: Rpc, payload: bytes, context: Context) -> bytes:
    try:
        return await dispatcher.answer(rpc, payload, call_of(rpc.path, context))
    except Refused as refused:
        await abort(context, refused)


async def _predict_stream(dispatcher: Dispatcher, payloads: AsyncIterator[bytes], context: Context) -> None:
    call = call_of(PREDICT_STREAM.path, context)
    await predict_stream(dispatcher, reading(payloads), writing(context.write), call)


async def _log_interaction(
    telemetry: Telemetry, intake: Intake | None, payloads: AsyncIterator[bytes], context: Context
) -> None:
    call = call_of(LOG_INTERACTION, context)
    code = grpc.StatusCode.OK
    try:
        await log_interactions(intake, reading(payloads), writing(context.write))
    except asyncio.CancelledError:
        code = grpc.StatusCode.CANCELLED
        raise
    except Exception as error:
        refused = Refused(to_status(error, call.method, call.request_id))
        code = code_of(refused.status)
        await abort(context, refused)
    finally:
        telemetry.count(call, code)


def call_of(path: str, context: Context) -> Call:
    """What the context says of a call."""
    said: dict[str, Any] = dict(context.invocation_metadata() or ())
    remaining = context.time_remaining()
    deadline = float("inf") if remaining is None else time.monotonic() + remaining
    named = AUTHENTICATED.get() or certified.over_grpc(context)
    caller = named or told(said.get(CALLER)) or _host(context.peer())
    traceparent = told(said.get(TRACEPARENT))
    return Call(path, told(said.get(REQUEST_ID)) or new_id(), caller, deadline, traceparent=traceparent)


def _host(peer: str) -> str:
    """`ipv4:10.0.0.7` of `ipv4:10.0.0.7:41234`: all connections of a host are one caller."""
    return peer.rpartition(":")[0]


async def abort(context: Context, refused: Refused) -> NoReturn:
    """End a call with a rich status."""
    status = rpc_status.to_status(refused.status)
    await context.abort(code_of(refused.status), refused.status.message, status.trailing_metadata)
