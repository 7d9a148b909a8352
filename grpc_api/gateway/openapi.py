"""The OpenAPI 3.1 document of the gateway, made from what the .proto files describe, comments included."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto

from grpc_api.gateway.calls import DEFAULT_MS, MOST_MS, TIMEOUT
from grpc_api.rpcs import Rpc
from protos.descriptors import described
from protos.lint import FIELD, MEMBER, SERVICE, Where, comments, enums, messages

Json = dict[str, Any]

_NUMBER: Json = {"anyOf": [{"type": "number"}, {"enum": ["NaN", "Infinity", "-Infinity"]}]}
_SCALARS: Mapping[int, Json] = {
    FieldDescriptorProto.TYPE_STRING: {"type": "string"},
    FieldDescriptorProto.TYPE_BYTES: {"type": "string", "contentEncoding": "base64"},
    FieldDescriptorProto.TYPE_BOOL: {"type": "boolean"},
    FieldDescriptorProto.TYPE_DOUBLE: _NUMBER,
    FieldDescriptorProto.TYPE_FLOAT: _NUMBER,
    FieldDescriptorProto.TYPE_INT32: {"type": "integer", "minimum": -(2**31), "maximum": 2**31 - 1},
    FieldDescriptorProto.TYPE_UINT32: {"type": "integer", "minimum": 0, "maximum": 2**32 - 1},
    FieldDescriptorProto.TYPE_UINT64: {"type": "string", "pattern": r"^\d{1,20}$"},
}
_KNOWN: Mapping[str, Json] = {".google.protobuf.Timestamp": {"type": "string", "format": "date-time"}}
_ERROR: Json = {
    "type": "object",
    "description": "google.rpc.Status: `details` holds ErrorInfo and RequestInfo, and BadRequest or RetryInfo.",
    "properties": {
        "code": {"type": "integer", "description": "The number of a google.rpc.Code."},
        "message": {"type": "string", "description": "What was wrong, where, and the mend."},
        "details": {"type": "array", "items": {"type": "object", "required": ["@type"]}},
    },
    "required": ["code", "message", "details"],
}
_TIMEOUT: Json = {
    "name": TIMEOUT,
    "in": "header",
    "description": "Milliseconds in which an answer is of use.",
    "schema": {"type": "integer", "minimum": 1, "maximum": MOST_MS, "default": DEFAULT_MS},
}


def path_of(rpc: Rpc) -> str:
    """Where an RPC is found: `/v1/predict`."""
    return f"/v1/{rpc.name.lower()}"


def openapi(rpcs: Iterable[Rpc]) -> Json:
    """The document of these RPCs; it lists every message of the contract."""
    [file] = described().file
    said = comments(file)
    methods = {method.name: said[SERVICE, 0, MEMBER, place] for place, method in enumerate(file.service[0].method)}
    schemas = {"Error": _ERROR}
    for path, message in messages(file):
        schemas[message.name] = _object(message, path, said)
    for path, enum in enums(file):
        schemas[enum.name] = {"enum": [value.name for value in enum.value], "description": said[path]}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Larder", "version": file.package.rpartition(".")[2], "description": said[SERVICE, 0]},
        "paths": {path_of(rpc): {"post": _operation(rpc, methods[rpc.name])} for rpc in rpcs},
        "components": {"schemas": schemas, "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
        "security": [{}, {"token": []}],
    }


def _operation(rpc: Rpc, description: str) -> Json:
    return {
        "operationId": rpc.name,
        "description": f"{description} Callers need the role `{rpc.role}`.",
        "parameters": [_TIMEOUT],
        "requestBody": {"required": True, "content": _content(f"{rpc.name}Request")},
        "responses": {
            "200": {"description": "The answer.", "content": _content(f"{rpc.name}Response")},
            "default": {"description": "Why there is none.", "content": _content("Error")},
        },
    }


def _content(schema: str) -> Json:
    return {"application/json": {"schema": _ref(schema)}}


def _ref(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


def _object(message: DescriptorProto, path: Where, said: Mapping[Where, str]) -> Json:
    entries = {entry.name: entry.field[1] for entry in message.nested_type if entry.options.map_entry}
    return {
        "type": "object",
        "description": said[path],
        "properties": {
            field.name: {**_field(field, entries), "description": said[*path, FIELD, place]}
            for place, field in enumerate(message.field)
        },
        "additionalProperties": False,
    }


def _field(field: FieldDescriptorProto, entries: Mapping[str, FieldDescriptorProto]) -> Json:
    """`entries` are the values of the message's maps, by the name of the message that protoc makes of each."""
    if (value := entries.get(field.type_name.rpartition(".")[2])) is not None:
        return {"type": "object", "additionalProperties": _one(value)}
    one = _one(field)
    return {"type": "array", "items": one} if field.label == FieldDescriptorProto.LABEL_REPEATED else one


def _one(field: FieldDescriptorProto) -> Json:
    if field.type in _SCALARS:
        return _SCALARS[field.type]
    return _KNOWN.get(field.type_name) or _ref(field.type_name.rpartition(".")[2])
