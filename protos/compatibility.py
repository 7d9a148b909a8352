"""What in the .proto files breaks callers of the last released ones: on the wire, in JSON, or in generated code.

The rules are those of `buf breaking` (category FILE) that concern what the files use: nothing is removed, nothing
changes its number, type, label or place in a oneof. What must change that much belongs in a package `v2`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from google.protobuf.descriptor_pb2 import DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorSet

from protos.descriptors import described

_STREAM = ("", "stream ")
RELEASED = Path(__file__).parent / "released" / "larder.v1.binpb"


def released() -> FileDescriptorSet:
    """What callers have."""
    return described(RELEASED)


def breaks(before: FileDescriptorSet, now: FileDescriptorSet) -> list[str]:
    """What of `before` is gone or different in `now`, one line each; empty where callers notice nothing."""
    found = dict(_facts(now))
    return [
        f"{name}: {fact} was released, " + (f"and is {found[name]} now" if name in found else "and is gone")
        for name, fact in _facts(before)
        if found.get(name) != fact
    ]


def _facts(files: FileDescriptorSet) -> Iterator[tuple[str, str]]:
    """By full name, all that a caller relies on."""
    for file in files.file:
        for message in file.message_type:
            yield from _message(f"{file.package}.{message.name}", message)
        for enum in file.enum_type:
            yield from _enum(f"{file.package}.{enum.name}", enum)
        for service in file.service:
            yield f"{file.package}.{service.name}", "a service"
            for rpc in service.method:
                takes = _STREAM[rpc.client_streaming] + rpc.input_type
                gives = _STREAM[rpc.server_streaming] + rpc.output_type
                yield f"{file.package}.{service.name}.{rpc.name}", f"{takes} -> {gives}"


def _message(name: str, message: DescriptorProto) -> Iterator[tuple[str, str]]:
    yield name, "a message"
    for nested in message.nested_type:
        yield from _message(f"{name}.{nested.name}", nested)
    for enum in message.enum_type:
        yield from _enum(f"{name}.{enum.name}", enum)
    for field in message.field:
        yield f"{name}.{field.name}", _field(message, field)


def _enum(name: str, enum: EnumDescriptorProto) -> Iterator[tuple[str, str]]:
    yield name, "an enum"
    for value in enum.value:
        yield f"{name}.{value.name}", f"value {value.number}"


def _field(message: DescriptorProto, field: FieldDescriptorProto) -> str:
    label = FieldDescriptorProto.Label.Name(field.label).removeprefix("LABEL_").lower()
    kind = field.type_name or FieldDescriptorProto.Type.Name(field.type).removeprefix("TYPE_").lower()
    oneof = f" in {message.oneof_decl[field.oneof_index].name}" if field.HasField("oneof_index") else ""
    return f"{label} {kind} = {field.number} ({field.json_name}){oneof}"
