from __future__ import annotations

import grpc
import pytest

from feature_repo import errors
from feature_repo.errors import LarderError
from grpc_api.errors import CODES, KINDS, code_of, to_status


def _children(kind: type[LarderError]) -> list[type[LarderError]]:
    return [kind, *(grandchild for child in kind.__subclasses__() for grandchild in _children(child))]


CHILDREN = [kind for kind in _children(LarderError) if kind.__module__ == errors.__name__ and kind is not LarderError]


@pytest.mark.parametrize("kind", CHILDREN)
def test_every_kind_has_a_status_and_its_message_passes(kind: type[LarderError]) -> None:
    said = to_status(kind("what, where, the mend"), "Predict", "an id")
    assert code_of(said) is CODES[kind]
    assert said.message == "what, where, the mend"


@pytest.mark.parametrize("kind", CHILDREN)
def test_the_client_raises_a_kind_of_the_same_status(kind: type[LarderError]) -> None:
    assert CODES[KINDS[CODES[kind]]] is CODES[kind]


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (errors.InputError, grpc.StatusCode.INVALID_ARGUMENT),
        (errors.NotFoundError, grpc.StatusCode.NOT_FOUND),
        (errors.StateError, grpc.StatusCode.FAILED_PRECONDITION),
        (errors.UnavailableError, grpc.StatusCode.UNAVAILABLE),
    ],
)
def test_the_statuses_callers_rely_on(kind: type[LarderError], code: grpc.StatusCode) -> None:
    assert CODES[kind] is code
    assert KINDS[code] is kind


@pytest.mark.parametrize("error", [ValueError("secret"), LarderError("secret"), KeyError("secret")])
def test_anything_else_is_internal_and_told_by_an_id_alone(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    said = to_status(error, "Predict", "an id")
    assert code_of(said) is grpc.StatusCode.INTERNAL
    assert b"secret" not in said.SerializeToString()
    assert "an id" in said.message
    assert "an id" in caplog.text
