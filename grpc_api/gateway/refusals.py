"""A `google.rpc.Status` as an HTTP answer."""

from __future__ import annotations

import math

import grpc
from fastapi import Response
from google.rpc import status_pb2

from grpc_api.calls import REQUEST_ID
from grpc_api.errors import code_of, retry_s_of
from grpc_api.gateway.transcode import dumped

# As google/rpc/code.proto maps them.
HTTP: dict[grpc.StatusCode, int] = {
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.FAILED_PRECONDITION: 400,
    grpc.StatusCode.UNAUTHENTICATED: 401,
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.INTERNAL: 500,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
}


def refusal(status: status_pb2.Status, request_id: str, http: int | None = None) -> Response:
    """What a caller is told; `http` is for what HTTP has a finer code for than gRPC."""
    code = http or HTTP[code_of(status)]
    headers = {REQUEST_ID: request_id}
    if (retry_s := retry_s_of(status)) is not None:
        headers["retry-after"] = str(math.ceil(retry_s))  # HTTP has whole seconds
    if code == 401:
        headers["www-authenticate"] = "Bearer"
    return Response(dumped(status), code, headers, "application/json")
