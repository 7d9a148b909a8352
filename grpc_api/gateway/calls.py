"""HTTP's side of a call: headers and body in, JSON or a refusal out."""

from __future__ import annotations

import asyncio
import time

from fastapi import Request, Response
from google.rpc import status_pb2
from starlette.requests import ClientDisconnect

from feature_repo.errors import DeadlineError, InputError
from grpc_api.calls import CALLER, REQUEST_ID, TRACEPARENT, Call, new_id, told
from grpc_api.dispatch import Dispatcher, Refused
from grpc_api.errors import code_of, to_status
from grpc_api.gateway.refusals import refusal
from grpc_api.gateway.transcode import to_json, to_payload
from grpc_api.lane import Lane
from grpc_api.rpcs import Rpc
from grpc_api.security.gate import AUTHORIZATION, Gate

TIMEOUT = "x-timeout-ms"
DEFAULT_MS = 30_000
MOST_MS = 600_000
JSON = "application/json"
CERTIFIED = "certified"  # in a request's state: the caller that a certificate names


class _UnfitError(Exception):
    """A body that is not read to its end; `http` says why more finely than INVALID_ARGUMENT does."""

    def __init__(self, http: int, message: str) -> None:
        super().__init__(message)
        self.http = http


class Answerer:
    """Answers the gateway's requests. JSON is read on `lane`, not on the event loop, which others need; and written on
    any thread, for what was answered is to be given.
    """

    def __init__(self, dispatcher: Dispatcher, gate: Gate, lane: Lane, most_bytes: int) -> None:
        self._dispatcher = dispatcher
        self._gate = gate
        self._lane = lane
        self._most_bytes = most_bytes

    async def answer(self, rpc: Rpc, request: Request) -> Response:
        """The answer as JSON, or a refusal."""
        call = Call(rpc.path, told(request.headers.get(REQUEST_ID)) or new_id())
        call.caller = request.state[CERTIFIED] or told(request.headers.get(CALLER)) or _host(request)
        call.traceparent = told(request.headers.get(TRACEPARENT))
        try:
            call.caller = self._gate.admit(request.headers.getlist(AUTHORIZATION), rpc.role) or call.caller
            call.deadline = time.monotonic() + _timeout_s(request)
            text = await self._text(rpc, request, call)
        except Refused as refused:
            return refusal(refused.status, call.request_id)
        except _UnfitError as unfit:
            return self._turned_away(call, to_status(InputError(str(unfit)), rpc.path, call.request_id), unfit.http)
        except Exception as error:
            return self._turned_away(call, to_status(error, rpc.path, call.request_id))
        return Response(text, headers={REQUEST_ID: call.request_id}, media_type=JSON)

    def _turned_away(self, call: Call, status: status_pb2.Status, http: int | None = None) -> Response:
        self._dispatcher.telemetry.count(call, code_of(status))
        return refusal(status, call.request_id, http)

    async def _text(self, rpc: Rpc, request: Request, call: Call) -> bytes:
        """The answer, while the caller waits for it."""
        try:
            async with asyncio.timeout(call.remaining_s):
                body = await self._body(request)
        except (TimeoutError, ClientDisconnect) as error:
            raise DeadlineError("the request's body did not come in time: send it faster, or less") from error
        answering = asyncio.create_task(self._transcoded(rpc, body, call))
        leaving = asyncio.create_task(_hung_up(request))
        try:
            await asyncio.wait((answering, leaving), timeout=call.remaining_s, return_when=asyncio.FIRST_COMPLETED)
            if answering.done():
                return answering.result()
        finally:
            answering.cancel()
            leaving.cancel()
        raise DeadlineError(f"no answer in time: allow more of it in {TIMEOUT}, or ask for less")

    async def _transcoded(self, rpc: Rpc, body: bytes, call: Call) -> bytes:
        payload = await self._lane.run(lambda: to_payload(rpc, body), call)
        answer = await self._dispatcher.answer(rpc, payload, call)
        return await asyncio.to_thread(to_json, rpc, answer)

    async def _body(self, request: Request) -> bytes:
        body = bytearray()
        is_json = request.headers.get("content-type", "").partition(";")[0].strip().lower() == JSON
        expected = int(request.headers.get("content-length", "0"))
        if expected <= self._most_bytes:
            async for chunk in request.stream():
                body += chunk
                # A page of another origin may send any other type unasked: by this one the browser asks us first.
                if body and not is_json:
                    raise _UnfitError(415, f"content-type: send {JSON}")
                if len(body) > self._most_bytes:
                    break
        if max(expected, len(body)) > self._most_bytes:
            raise _UnfitError(413, f"request: is larger than {self._most_bytes} bytes; send less at once")
        return bytes(body)


async def _hung_up(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _host(request: Request) -> str:
    return request.client.host if request.client else ""


def _timeout_s(request: Request) -> float:
    given = request.headers.get(TIMEOUT, str(DEFAULT_MS))
    if not (given.isascii() and given.isdigit() and len(given) <= 6 and 0 < int(given) <= MOST_MS):
        raise InputError(f"{TIMEOUT}: is no whole number from 1 to {MOST_MS}")
    return int(given) / 1000
