"""The contract keeps the rules of its style, and breaks no caller of the released one."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy

import pytest
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    MethodDescriptorProto,
)

from protos.compatibility import breaks, released
from protos.descriptors import described
from protos.lint import lint


def _changed(change: Callable[[FileDescriptorProto], object]) -> FileDescriptorSet:
    files = deepcopy(described())
    change(files.file[0])
    return files


def _message(file: FileDescriptorProto, name: str) -> DescriptorProto:
    return next(message for message in file.message_type if message.name == name)


def _field(file: FileDescriptorProto, message: str, name: str) -> FieldDescriptorProto:
    return next(field for field in _message(file, message).field if field.name == name)


def _rpc(file: FileDescriptorProto, name: str) -> MethodDescriptorProto:
    return next(method for method in file.service[0].method if method.name == name)


def _without(entries: object, number: int = 0) -> None:
    del entries[number]  # type: ignore[attr-defined]


def test_the_contract_is_clean() -> None:
    assert lint(described()) == []


def test_the_contract_breaks_nobody() -> None:
    assert breaks(released(), described()) == []


UNCLEAN: dict[str, Callable[[FileDescriptorProto], object]] = {
    "PACKAGE_VERSION_SUFFIX: package 'larder'": lambda f: setattr(f, "package", "larder"),
    "PACKAGE_DIRECTORY_MATCH: package larder.v2 belongs in a folder larder/v2": lambda f: setattr(
        f, "package", "larder.v2"
    ),
    "NAMES: message query": lambda f: setattr(f.message_type[0], "name", "query"),
    "NAMES: field contentIds": lambda f: setattr(f.message_type[0].field[0], "name", "contentIds"),
    "NAMES: oneof Query": lambda f: setattr(_message(f, "SimilarRequest").oneof_decl[0], "name", "Query"),
    "NAMES: enum value status_ok": lambda f: setattr(f.enum_type[0].value[1], "name", "status_ok"),
    "NAMES: rpc predict": lambda f: setattr(f.service[0].method[0], "name", "predict"),
    "COMMENTS: field bare": lambda f: f.message_type[0].field.add(name="bare", number=99),
    "COMMENTS: message Bare": lambda f: f.message_type.add(name="Bare"),
    "ENUM_VALUES: OK does not begin with STATUS_": lambda f: setattr(f.enum_type[0].value[1], "name", "OK"),
    "ENUM_VALUES: enum Status does not begin with STATUS_UNSPECIFIED": lambda f: setattr(
        f.enum_type[0].value[0], "name", "STATUS_NONE"
    ),
    "ENUM_VALUES: enum Status allows two names": lambda f: setattr(f.enum_type[0].options, "allow_alias", True),
    "SERVICE_SUFFIX: service Scoring": lambda f: setattr(f.service[0], "name", "Scoring"),
    "RPC_REQUEST_RESPONSE_NAMES: rpc Predict has .larder.v1.Vector, not PredictRequest": lambda f: setattr(
        _rpc(f, "Predict"), "input_type", ".larder.v1.Vector"
    ),
    "IMPORT_NO_PUBLIC: imports": lambda f: f.public_dependency.append(0),
}


@pytest.mark.parametrize("told", UNCLEAN)
def test_what_is_unclean_is_told(told: str) -> None:
    found = lint(_changed(UNCLEAN[told]))
    assert any(line.startswith(f"protos/larder/v1/scoring.proto: {told}") for line in found), found


BROKEN: dict[str, Callable[[FileDescriptorProto], object]] = {
    "larder.v1.Filter: a message was released, and is gone": lambda f: setattr(_message(f, "Filter"), "name", "F"),
    "larder.v1.Filter.field: optional string = 1 (field) was released, and is gone": lambda f: _without(
        _message(f, "Filter").field
    ),
    "larder.v1.Filter.field: optional string = 1 (field) was released, and is optional string = 9 (field) now": (
        lambda f: setattr(_field(f, "Filter", "field"), "number", 9)
    ),
    "larder.v1.Limits.k: optional uint32 = 2 (k) was released, and is optional uint64 = 2 (k) now": lambda f: setattr(
        _field(f, "Limits", "k"), "type", FieldDescriptorProto.TYPE_UINT64
    ),
    "larder.v1.Limits.k: optional uint32 = 2 (k) was released, and is repeated uint32 = 2 (k) now": lambda f: setattr(
        _field(f, "Limits", "k"), "label", FieldDescriptorProto.LABEL_REPEATED
    ),
    "larder.v1.SimilarRequest.text: optional string = 2 (text) in query was released": lambda f: _field(
        f, "SimilarRequest", "text"
    ).ClearField("oneof_index"),
    "larder.v1.Status.STATUS_OK: value 1 was released, and is value 7 now": lambda f: setattr(
        f.enum_type[0].value[1], "number", 7
    ),
    "larder.v1.ScoringService.Predict: .larder.v1.PredictRequest": lambda f: _without(f.service[0].method),
    "larder.v1.ScoringService.LogInteraction: stream .larder.v1.LogInteractionRequest": lambda f: setattr(
        _rpc(f, "LogInteraction"), "client_streaming", False
    ),
}


@pytest.mark.parametrize("told", BROKEN)
def test_what_breaks_callers_is_told(told: str) -> None:
    found = breaks(released(), _changed(BROKEN[told]))
    assert any(line.startswith(told) for line in found), found


def test_what_is_new_breaks_nobody() -> None:
    def grow(file: FileDescriptorProto) -> None:
        file.message_type[0].field.add(name="note", number=99, type=FieldDescriptorProto.TYPE_STRING)
        file.message_type.add(name="Note")
        file.enum_type[0].value.add(name="STATUS_LATE", number=99)

    assert breaks(released(), _changed(grow)) == []
