"""A stream of LogInteraction: messages are read ahead, recorded, and acknowledged in their order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

from feature_repo.errors import InputError, StateError
from grpc_api.interactions.intake import Answer, Intake
from grpc_api.wire.events import acknowledgement

LOOK_AHEAD = 8  # messages read before the first of them is acknowledged: a caller that reads no answers stops here


async def log_interactions(
    intake: Intake | None, payloads: AsyncIterator[bytes], write: Callable[[bytes], Awaitable[None]]
) -> None:
    """Write an acknowledgement for each payload; raises why at the first that is not recorded.

    That is StateError for a server that takes none, InputError for an offset that does not rise, or what
    `Intake.record` says.
    """
    if intake is None:
        raise StateError("this server takes no events")
    asked: asyncio.Queue[Answer | None] = asyncio.Queue(LOOK_AHEAD)
    reading = asyncio.create_task(_read(intake, payloads, asked))
    last = -1
    try:
        while (answer := await asked.get()) is not None:
            found = await answer
            if found.offset <= last:
                raise InputError(f"offset: {found.offset} follows {last}; numbers rise along the stream")
            last = found.offset
            await write(acknowledgement(found).SerializeToString())
    finally:
        reading.cancel()


async def _read(intake: Intake, payloads: AsyncIterator[bytes], asked: asyncio.Queue[Answer | None]) -> None:
    async for payload in payloads:
        answer = intake.record(payload)
        answer.add_done_callback(_heard)
        await asked.put(answer)
    await asked.put(None)


def _heard(answer: Answer) -> None:
    """Nobody may be left to ask how it went; asyncio would call that an error."""
    if not answer.cancelled():
        answer.exception()
