"""JSON to the bytes of a request and back, by the ProtoJSON format (protobuf.dev/programming-guides/json).

Both `content_ids` and `contentIds` are read; the first is written. NaN and the infinities are strings, "NaN",
"Infinity" and "-Infinity", 64-bit integers too: JSON in a browser has neither.
"""

from __future__ import annotations

import json
import re

from google.protobuf import json_format
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from feature_repo.errors import InputError
from grpc_api.rpcs import Rpc
from protos.larder.v1 import scoring_pb2 as pb

_METHODS = pb.DESCRIPTOR.services_by_name["ScoringService"].methods_by_name
_UNKNOWN = re.compile(r'has no field named "(?P<name>.*?)" at "\w+\.?(?P<path>.*?)"', re.DOTALL)
_AT = re.compile(r" at \w+\.(?P<path>[\w.\[\]]+?)\.*$")
_FIELD = re.compile(r"Failed to parse (\w+) field: ")
_LONGEST = 200  # characters of a value that an error repeats


def to_payload(rpc: Rpc, body: bytes) -> bytes:
    """The serialized request; an empty body is one without fields. Raises InputError that names the field."""
    request = rpc.request()
    try:
        text = body.decode() or "{}"
        if not text.lstrip().startswith("{"):
            raise InputError("request: is no JSON object")
        json_format.Parse(text, request)
        return request.SerializeToString()
    except json_format.ParseError as error:
        raise InputError(_told(str(error))) from error
    except (ValueError, TypeError, RecursionError) as error:
        raise InputError("request: is no JSON that the request can be read from") from error


def to_json(rpc: Rpc, answer: bytes) -> bytes:
    """The answer, with the fields that are empty or zero too."""
    message: Message = GetMessageClass(_METHODS[rpc.name].output_type).FromString(answer)
    return dumped(message)


def dumped(message: Message) -> bytes:
    """A message as JSON."""
    said = json_format.MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    return json.dumps(said, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def _told(message: str) -> str:
    """What protobuf said, as Larder does: the field first."""
    parts = _FIELD.findall(message)
    reason = _FIELD.sub("", message)
    if unknown := _UNKNOWN.search(reason):
        path = ".".join(filter(None, (unknown["path"], unknown["name"][:_LONGEST])))
        return f"{_snake(path)}: there is no such field"
    if at := _AT.search(reason):
        return f"{_snake(at['path'])}: {_short(reason[: at.start()])}"
    return f"{_snake('.'.join(parts) or 'request')}: {_short(reason)}"


def _snake(path: str) -> str:
    return re.sub(r"(?<=[a-z])([A-Z])", r"_\1", path).lower()


def _short(reason: str) -> str:
    plain = reason.rstrip(".")
    return plain if len(plain) <= _LONGEST else f"{plain[:_LONGEST]}…"
