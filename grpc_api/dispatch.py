"""From the bytes of a request to the bytes of its answer, whichever way they came: gRPC, a stream, or HTTP."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping

import grpc
from google.protobuf.message import DecodeError
from google.rpc import status_pb2

from feature_repo.errors import InputError
from grpc_api.calls import Call
from grpc_api.errors import code_of, to_status
from grpc_api.lane import Lane
from grpc_api.rpcs import Rpc, Work
from grpc_api.service import ScoringService

log = logging.getLogger(__name__)


class Refused(Exception):  # noqa: N818  # not an error of ours: what the caller is told
    """A call came to nothing; `status` says why."""

    def __init__(self, status: status_pb2.Status) -> None:
        super().__init__(status.message)
        self.status = status


class Dispatcher:
    """Answers calls on the lanes. Its coroutines belong to the server's event loop."""

    def __init__(self, service: ScoringService, lanes: Mapping[Work, Lane]) -> None:
        self.service = service
        self._lanes = lanes

    async def answer(self, rpc: Rpc, payload: bytes, call: Call) -> bytes:
        """The serialized answer. Raises Refused."""
        start = time.perf_counter()
        code = grpc.StatusCode.OK
        try:
            return await self._work(rpc, payload, call)
        except Exception as error:
            status = to_status(error, rpc.path, call.request_id)
            code = code_of(status)
            raise Refused(status) from error
        finally:
            log.info("%s %s %.1f ms", rpc.path, code.name, 1e3 * (time.perf_counter() - start))

    async def _work(self, rpc: Rpc, payload: bytes, call: Call) -> bytes:
        request = rpc.request()
        try:
            request.ParseFromString(payload)
        except DecodeError as error:
            raise InputError(f"request: is no {rpc.request.DESCRIPTOR.full_name}") from error

        def work() -> bytes:
            return rpc.answer(self.service, request, call).SerializeToString()

        return await self._lanes[rpc.work(request)].run(work, call)
