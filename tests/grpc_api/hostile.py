"""Messages that are well formed and mean no good, and what no answer may hold."""

from __future__ import annotations

import struct
import tempfile
import zlib
from pathlib import Path
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from hypothesis import strategies as st

from embedders.media.image import Fit, decode_image
from tests.grpc_api.parts import IDS, Angles, angle

ROOT = Path(__file__).parents[2]
LEAKS = ("Traceback", 'File "', ".py", "/home/", "/usr/", "site-packages", "0x7f", str(ROOT), tempfile.gettempdir())


def leaks(said: str) -> list[str]:
    """What of the server's inside an answer tells."""
    return [leak for leak in LEAKS if leak in said]


class Tolerant(Angles):
    """Encodes any text, and any picture that the real decoder takes."""

    def embed_text(self, text: str) -> Any:
        return angle(len(text) % len(IDS))

    def embed_image(self, data: bytes) -> Any:
        return angle(float(decode_image(data, Fit(8, 8), 10**6).mean()))


def _png(width: int, height: int) -> bytes:
    """The head of a picture of any size, and nothing in it."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 99)) + chunk(b"IEND", b"")


_TEXTS = (*IDS[:4], "popularity", "tiny", "deaf", "u1", "published_year", "tags", "language", "nan", "", " ", "\0")
_HOSTILE = ("../../etc/passwd", "/etc/passwd", "'; DROP TABLE contents; --", "{{7*7}}", "%s%n", "\u202e", "é" * 2000)
_DATA = (b"", b"4", _png(1, 1), _png(2**31 - 1, 2**31 - 1), _png(0, 0), b"\xff\xd8\xff\xe0")
TEXTS = st.sampled_from(_TEXTS + _HOSTILE) | st.text(max_size=20)
DATA = st.sampled_from(_DATA) | st.binary(max_size=100)
FLOATS = st.sampled_from([0.0, -0.0, 1.0, 1e308, -1e308, float("nan"), float("inf"), float("-inf")]) | st.floats()
SINGLES = st.sampled_from([0.0, 1.0, -1.0, 3e38, 1e-45, float("nan"), float("inf")]) | st.floats(width=32)


def _integers(low: int, high: int) -> st.SearchStrategy[int]:
    return st.sampled_from([0, 1, low, high]) | st.integers(0, 30) | st.integers(low, high)


_SCALARS: dict[int, st.SearchStrategy[Any]] = {
    FieldDescriptor.TYPE_STRING: TEXTS,
    FieldDescriptor.TYPE_BYTES: DATA,
    FieldDescriptor.TYPE_BOOL: st.booleans(),
    FieldDescriptor.TYPE_DOUBLE: FLOATS,
    FieldDescriptor.TYPE_FLOAT: SINGLES,
    FieldDescriptor.TYPE_INT32: _integers(-(2**31), 2**31 - 1),
    FieldDescriptor.TYPE_INT64: _integers(-(2**63), 2**63 - 1),
    FieldDescriptor.TYPE_UINT32: _integers(0, 2**32 - 1),
    FieldDescriptor.TYPE_UINT64: _integers(0, 2**64 - 1),
    FieldDescriptor.TYPE_ENUM: st.integers(0, 8) | st.just(2**31 - 1),
}


def messages(descriptor: Descriptor) -> st.SearchStrategy[Message]:
    """Messages of a type with any of its fields set, one at most of each oneof."""
    kind = GetMessageClass(descriptor)
    fields = {field.name: _values(field) for field in descriptor.fields}
    rivals = [[field.name for field in oneof.fields] for oneof in descriptor.oneofs]

    def make(chosen: dict[str, Any], pick: int) -> Message:
        for names in rivals:
            given = [name for name in names if name in chosen]
            for name in given:
                if name != given[pick % len(given)]:
                    del chosen[name]
        return kind(**chosen)

    return st.builds(make, st.fixed_dictionaries({}, optional=fields), st.integers(0, 9))


def _values(field: FieldDescriptor) -> st.SearchStrategy[Any]:
    one = messages(field.message_type) if field.message_type else _SCALARS[field.type]
    return st.lists(one, max_size=4) if field.is_repeated else one
