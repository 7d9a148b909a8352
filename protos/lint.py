"""The rules of `buf lint` (categories STANDARD and COMMENTS) that concern what the .proto files use.

https://buf.build/docs/lint/rules names them; protoc itself holds the others (a proto3 enum begins with 0, imports
that nobody uses warn, a syntax is named).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import PurePosixPath

from google.protobuf.descriptor_pb2 import DescriptorProto, EnumDescriptorProto, FileDescriptorProto, FileDescriptorSet

PASCAL = re.compile(r"[A-Z][A-Za-z0-9]*")
LOWER_SNAKE = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
UPPER_SNAKE = re.compile(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)*")
PACKAGE = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)*\.v[1-9]\d*((alpha|beta)\d*)?")

# Numbers of the fields of descriptor.proto, of which the paths of SourceCodeInfo are made.
MESSAGE, ENUM, SERVICE = 4, 5, 6
FIELD, NESTED, NESTED_ENUM, ONEOF = 2, 3, 4, 8
MEMBER = 2  # a value of an enum, a method of a service

Where = tuple[int, ...]


def lint(files: FileDescriptorSet) -> list[str]:
    """What is against a rule, one line each: where, the rule, and what it wants."""
    return [
        f"{file.name}: {name}: {fault}" for file in files.file for name, rule in RULES.items() for fault in rule(file)
    ]


def comments(file: FileDescriptorProto) -> dict[Where, str]:
    """By path (see SourceCodeInfo in descriptor.proto), the comment before a declaration, in one line."""
    places = file.source_code_info.location
    return {tuple(place.path): " ".join(place.leading_comments.split()) for place in places if place.leading_comments}


def messages(file: FileDescriptorProto) -> Iterator[tuple[Where, DescriptorProto]]:
    """Every message with its path, nested ones too; entries of maps, which nobody wrote, are left out."""
    waiting = [((MESSAGE, number), message) for number, message in enumerate(file.message_type)]
    while waiting:
        path, message = waiting.pop(0)
        if not message.options.map_entry:
            yield path, message
            waiting += [((*path, NESTED, number), nested) for number, nested in enumerate(message.nested_type)]


def enums(file: FileDescriptorProto) -> Iterator[tuple[Where, EnumDescriptorProto]]:
    """Every enum with its path."""
    yield from (((ENUM, number), enum) for number, enum in enumerate(file.enum_type))
    for path, message in messages(file):
        yield from (((*path, NESTED_ENUM, number), enum) for number, enum in enumerate(message.enum_type))


def _package(file: FileDescriptorProto) -> Iterator[str]:
    if not PACKAGE.fullmatch(file.package):
        yield f"package {file.package!r} is no lower_snake.case with a version, as larder.v1, at its end"


def _directory(file: FileDescriptorProto) -> Iterator[str]:
    folder = PurePosixPath(file.name).parent.parts
    if folder[-file.package.count(".") - 1 :] != tuple(file.package.split(".")):
        yield f"package {file.package} belongs in a folder {file.package.replace('.', '/')}"


def _declared(file: FileDescriptorProto) -> Iterator[tuple[str, str, re.Pattern[str], Where]]:
    """Kind, name, shape of the name and path of everything that has a name of its own."""
    for path, message in messages(file):
        yield "message", message.name, PASCAL, path
        for number, field in enumerate(message.field):
            yield "field", field.name, LOWER_SNAKE, (*path, FIELD, number)
        for number, oneof in enumerate(message.oneof_decl):
            if not oneof.name.startswith("_"):  # the one that protoc makes of an `optional` field
                yield "oneof", oneof.name, LOWER_SNAKE, (*path, ONEOF, number)
    for path, enum in enums(file):
        yield "enum", enum.name, PASCAL, path
        for number, value in enumerate(enum.value):
            yield "enum value", value.name, UPPER_SNAKE, (*path, MEMBER, number)
    for number, service in enumerate(file.service):
        yield "service", service.name, PASCAL, (SERVICE, number)
        for place, rpc in enumerate(service.method):
            yield "rpc", rpc.name, PASCAL, (SERVICE, number, MEMBER, place)


def _names(file: FileDescriptorProto) -> Iterator[str]:
    for kind, name, shape, _ in _declared(file):
        if not shape.fullmatch(name):
            yield f"{kind} {name} is not of the shape {shape.pattern}"


def _commented(file: FileDescriptorProto) -> Iterator[str]:
    said = comments(file)
    yield from (
        f"{kind} {name} has no comment before it" for kind, name, _, path in _declared(file) if path not in said
    )


def _enum_values(file: FileDescriptorProto) -> Iterator[str]:
    for _, enum in enums(file):
        prefix = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", enum.name).upper()
        yield from (
            f"{v.name} does not begin with {prefix}_" for v in enum.value if not v.name.startswith(f"{prefix}_")
        )
        if enum.value[0].number != 0 or enum.value[0].name != f"{prefix}_UNSPECIFIED":
            yield f"enum {enum.name} does not begin with {prefix}_UNSPECIFIED = 0"
        if enum.options.allow_alias:
            yield f"enum {enum.name} allows two names of one value"


def _services(file: FileDescriptorProto) -> Iterator[str]:
    yield from (
        f"service {service.name} does not end in Service"
        for service in file.service
        if not service.name.endswith("Service")
    )


def _rpcs(file: FileDescriptorProto) -> Iterator[str]:
    """Each RPC has a request and a response of its own, so that either can grow alone."""
    for service in file.service:
        for rpc in service.method:
            for type_name, suffix in ((rpc.input_type, "Request"), (rpc.output_type, "Response")):
                if type_name.rpartition(".")[2] != f"{rpc.name}{suffix}":
                    yield f"rpc {rpc.name} has {type_name}, not {rpc.name}{suffix}"


def _imports(file: FileDescriptorProto) -> Iterator[str]:
    if file.public_dependency or file.weak_dependency:
        yield "imports are neither public nor weak"


RULES: Mapping[str, Callable[[FileDescriptorProto], Iterator[str]]] = {
    "PACKAGE_VERSION_SUFFIX": _package,
    "PACKAGE_DIRECTORY_MATCH": _directory,
    "NAMES": _names,
    "COMMENTS": _commented,
    "ENUM_VALUES": _enum_values,
    "SERVICE_SUFFIX": _services,
    "RPC_REQUEST_RESPONSE_NAMES": _rpcs,
    "IMPORT_NO_PUBLIC": _imports,
}
