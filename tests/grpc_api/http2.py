"""As much of HTTP/2 (RFC 9113) as a hostile caller needs: frames by hand over a bare socket."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY = 0, 1, 3, 4, 6, 7
END_STREAM, END_HEADERS = 1, 4
CANCEL = struct.pack(">I", 8)
ENHANCE_YOUR_CALM = 11


def frame(kind: int, payload: bytes = b"", flags: int = 0, stream: int = 0) -> bytes:
    """One frame (section 4.1)."""
    return struct.pack(">I", len(payload))[1:] + bytes((kind, flags)) + struct.pack(">I", stream) + payload


def headers(path: str, stream: int) -> bytes:
    """The HEADERS of a gRPC call, its fields as literals without indexing (RFC 7541, section 6.2.2)."""
    fields = {
        ":method": "POST",
        ":scheme": "http",
        ":path": path,
        ":authority": "x",
        "te": "trailers",
        "content-type": "application/grpc",
    }
    block = b"".join(b"\0" + _text(name) + _text(value) for name, value in fields.items())
    return frame(HEADERS, block, END_HEADERS, stream)


def message(length: int, body: bytes) -> bytes:
    """A gRPC message that says it has `length` bytes."""
    return b"\0" + struct.pack(">I", length) + body


def connect(port: int, said: bytes) -> socket.socket:
    """A connection on which this was said."""
    opened = socket.create_connection(("127.0.0.1", port), timeout=20)
    opened.sendall(said)
    return opened


def closed(connection: socket.socket) -> bool:
    """Whether the other side hangs up within the connection's timeout; what it says before is thrown away."""
    try:
        while connection.recv(65536):
            pass
    except ConnectionError:
        return True
    except TimeoutError:
        return False
    return True


def frames(connection: socket.socket) -> Iterator[tuple[int, int, bytes]]:
    """Kind, stream and payload of each frame until the other side hangs up."""
    file = connection.makefile("rb")
    while len(head := file.read(9)) == 9:
        length, kind = int.from_bytes(head[:3], "big"), head[3]
        yield kind, int.from_bytes(head[5:], "big"), file.read(length)


def _text(value: str) -> bytes:
    return bytes((len(value),)) + value.encode()
