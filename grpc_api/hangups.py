"""Callers that hang up while they are answered. That is no fault of ours, though gRPC's words for it are errors."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable

import grpc


def writing(write: Callable[[bytes], Awaitable[None]]) -> Callable[[bytes], Awaitable[None]]:
    """`write` of a stream, which cancels its task once nobody is there to write to."""

    async def write_to_caller(message: bytes) -> None:
        try:
            await write(message)
        except grpc.aio.BaseError as error:
            raise asyncio.CancelledError("the caller hung up, or the server stopped") from error

    return write_to_caller


async def reading(messages: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The messages of a stream, which end also where the server stops."""
    try:
        async for message in messages:
            yield message
    except grpc.aio.BaseError:
        return


class _Quiet(logging.Filter):
    """Lets all pass but that an answer found nobody: gRPC logs it where it has not heard yet that the caller left."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not (record.exc_info and isinstance(record.exc_info[1], grpc.aio.InternalError))


_QUIET = _Quiet()


def log_no_hangups() -> None:
    """From here on gRPC logs no hang-ups; saying it again changes nothing."""
    logging.getLogger("grpc._cython.cygrpc").addFilter(_QUIET)
