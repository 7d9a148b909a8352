"""PredictStream: one Predict after the other over one call, worked on as they come and answered in their order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace

from grpc_api.calls import Call
from grpc_api.dispatch import Dispatcher, Refused
from grpc_api.rpcs import PREDICT_STREAM
from grpc_api.wire.predict import failure

LOOK_AHEAD = 4  # requests read before the first of them is answered: a caller that reads no answers stops here


async def predict_stream(
    dispatcher: Dispatcher,
    payloads: AsyncIterator[bytes],
    write: Callable[[bytes], Awaitable[None]],
    call: Call,
) -> None:
    """Write an answer, or a failure, for each payload. Request n is known as `<the call's id>.n`, n from 0."""
    asked: asyncio.Queue[asyncio.Task[bytes] | None] = asyncio.Queue(LOOK_AHEAD)

    async def read() -> None:
        number = 0
        async for payload in payloads:
            one = replace(call, request_id=f"{call.request_id}.{number}")
            await asked.put(group.create_task(_answer(dispatcher, payload, one)))
            number += 1
        await asked.put(None)

    async with asyncio.TaskGroup() as group:
        group.create_task(read())
        while (answer := await asked.get()) is not None:
            await write(await answer)


async def _answer(dispatcher: Dispatcher, payload: bytes, call: Call) -> bytes:
    try:
        return await dispatcher.answer(PREDICT_STREAM, payload, call)
    except Refused as refused:
        return failure(refused.status.code, refused.status.message).SerializeToString()
