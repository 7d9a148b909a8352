"""From the bytes of a request to the bytes of its answer, whichever way they came: gRPC, a stream, or HTTP."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from functools import partial

import grpc
from google.protobuf.message import DecodeError, Message
from google.rpc import status_pb2

from feature_repo.errors import InputError
from grpc_api.calls import Call
from grpc_api.errors import code_of, to_status
from grpc_api.lane import Lane, Shared
from grpc_api.rpcs import Rpc, Work
from grpc_api.service import ScoringService
from grpc_api.telemetry.record import Record, stage, under_way
from grpc_api.telemetry.telemetry import Telemetry


class Refused(Exception):  # noqa: N818  # not an error of ours: what the caller is told
    """A call came to nothing; `status` says why."""

    def __init__(self, status: status_pb2.Status) -> None:
        super().__init__(status.message)
        self.status = status


class Dispatcher:
    """Answers calls on the lanes. Its coroutines belong to the server's event loop."""

    def __init__(self, service: ScoringService, lanes: Mapping[Work, Lane], telemetry: Telemetry) -> None:
        self.service = service
        self.telemetry = telemetry
        self._lanes = lanes

    async def answer(self, rpc: Rpc, payload: bytes, call: Call) -> bytes:
        """The serialized answer. Raises Refused."""
        record = self.telemetry.begin(rpc.name, call)
        try:
            return await self._work(rpc, payload, record)
        except asyncio.CancelledError:
            late = call.remaining_s <= 0
            record.code = grpc.StatusCode.DEADLINE_EXCEEDED if late else grpc.StatusCode.CANCELLED
            raise
        except Exception as error:
            status = to_status(error, rpc.path, call.request_id)
            record.code = code_of(status)
            raise Refused(status) from error
        finally:
            self.telemetry.end(record)

    async def _work(self, rpc: Rpc, payload: bytes, record: Record) -> bytes:
        """Every call starts on the scoring lane, which alone knows its request: what is shed is never parsed."""
        call = record.call

        def answered(request: Message) -> bytes:
            answer = rpc.answer(self.service, request, call)
            record.note_release(answer)
            with stage("serialise"):
                return answer.SerializeToString()

        def begin() -> bytes | Message:
            with under_way(record):
                request = _parsed(rpc, payload)
                return answered(request) if rpc.work(request) is Work.SCORING else request

        def go_on(request: Message, waited: float) -> bytes:
            with under_way(record, waited=waited):
                return answered(request)

        shared = Shared(partial(self._begin_together, rpc), (payload, record), len(payload)) if rpc.together else None
        done = await self._lanes[Work.SCORING].run(begin, call, shared)
        if isinstance(done, bytes):
            return done
        return await self._lanes[Work.ENCODING].run(partial(go_on, done, time.perf_counter()), call)

    def _begin_together(self, rpc: Rpc, asked: Sequence[tuple[bytes, Record]]) -> list[bytes | Message]:
        """What `begin` gives for each of several calls; raises where one of them cannot be answered."""
        begun = [(_parsed(rpc, payload), record) for payload, record in asked]
        scored = [(request, record) for request, record in begun if rpc.work(request) is Work.SCORING]
        if rpc.together is None or len(scored) < len(begun):
            raise InputError("not all of these are for the scoring lane")
        requests, records = zip(*scored, strict=True)
        with under_way(*records):
            answers = rpc.together(self.service, requests, [record.call for record in records])
            for answer, record in zip(answers, records, strict=True):
                record.note_release(answer)
            with stage("serialise"):
                return [answer.SerializeToString() for answer in answers]


def _parsed(rpc: Rpc, payload: bytes) -> Message:
    request = rpc.request()
    try:
        request.ParseFromString(payload)
    except DecodeError as error:
        raise InputError(f"request: is no {rpc.request.DESCRIPTOR.full_name}") from error
    return request
