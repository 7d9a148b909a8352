"""The ways into a server, each as one function from credentials to what became of a call."""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import grpc

from grpc_api.rpcs import SERVICE


class Answer(NamedTuple):
    """What came back over HTTP."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body."""
        return json.loads(self.body)


def ask(
    port: int,
    path: str,
    body: bytes | None = None,
    headers: Sequence[tuple[str, str]] = (),
    context: ssl.SSLContext | None = None,
    method: str | None = None,
) -> Answer:
    """One request on a connection of its own; POST where there is a body."""
    secure = context is not None
    connection = (
        http.client.HTTPSConnection("127.0.0.1", port, timeout=30, context=context)
        if secure
        else http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    )
    try:
        connection.putrequest(method or ("GET" if body is None else "POST"), path)
        given = {name.lower() for name, _ in headers}
        if body is not None and "content-length" not in given and "transfer-encoding" not in given:
            connection.putheader("content-length", str(len(body)))
        if body is not None and "content-type" not in given:
            connection.putheader("content-type", "application/json")
        for name, value in headers:
            connection.putheader(name, value)
        connection.endheaders(body)
        answer = connection.getresponse()
        return Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
    finally:
        connection.close()


@contextmanager
def channel(port: int, credentials: grpc.ChannelCredentials | None = None) -> Iterator[grpc.Channel]:
    """A connection to the server."""
    address = f"127.0.0.1:{port}"
    # Channels of the same target and options share connections, and with them a handshake that was.
    options = [("grpc.use_local_subchannel_pool", 1)]
    made = (
        grpc.insecure_channel(address, options)
        if credentials is None
        else grpc.secure_channel(address, credentials, options)
    )
    with made:
        yield made


def called(
    over: grpc.Channel, method: str, payload: bytes, metadata: Sequence[tuple[str, str]] = ()
) -> tuple[list[bytes], grpc.RpcError | None]:
    """The answers of a method, called with one message, and the error that it ends with."""
    path = method if method.startswith("/") else f"/{SERVICE}/{method}"
    answers: list[bytes] = []
    try:
        call: Any = over.stream_stream(path)  # type: ignore[call-arg]  # the stubs want serializers
        answers.extend(call(iter([payload]), metadata=tuple(metadata), timeout=30))
    except grpc.RpcError as error:
        return answers, error
    return answers, None


def code(over: grpc.Channel, method: str, payload: bytes, metadata: Sequence[tuple[str, str]] = ()) -> str:
    """The gRPC status that a method ends with, called with one message."""
    error = called(over, method, payload, metadata)[1]
    return "OK" if error is None else str(error.code().name)
