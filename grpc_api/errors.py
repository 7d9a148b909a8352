"""The one table between kinds of error and gRPC statuses, read in both directions."""

from __future__ import annotations

import logging
import uuid

import grpc

from feature_repo.errors import (
    ConfigurationError,
    InputError,
    LarderError,
    MediaError,
    NotFoundError,
    QualityGateError,
    StateError,
    UnavailableError,
    WeightsError,
)

log = logging.getLogger(__name__)

CODES: dict[type[LarderError], grpc.StatusCode] = {
    InputError: grpc.StatusCode.INVALID_ARGUMENT,
    MediaError: grpc.StatusCode.INVALID_ARGUMENT,
    NotFoundError: grpc.StatusCode.NOT_FOUND,
    StateError: grpc.StatusCode.FAILED_PRECONDITION,
    ConfigurationError: grpc.StatusCode.FAILED_PRECONDITION,
    WeightsError: grpc.StatusCode.FAILED_PRECONDITION,
    QualityGateError: grpc.StatusCode.FAILED_PRECONDITION,
    UnavailableError: grpc.StatusCode.UNAVAILABLE,
}

KINDS: dict[grpc.StatusCode, type[LarderError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: InputError,
    grpc.StatusCode.NOT_FOUND: NotFoundError,
    grpc.StatusCode.FAILED_PRECONDITION: StateError,
    grpc.StatusCode.UNAVAILABLE: UnavailableError,
    grpc.StatusCode.CANCELLED: UnavailableError,
}


def to_status(error: Exception, method: str) -> tuple[grpc.StatusCode, str]:
    """Status and message for a caller; a fault of ours is logged under an id, and the id is all that is told."""
    code = CODES.get(type(error)) if isinstance(error, LarderError) else None
    if code is not None:
        return code, str(error)
    reference = uuid.uuid4().hex[:12]
    log.error("%s failed (%s)", method, reference, exc_info=error)
    return grpc.StatusCode.INTERNAL, f"internal error {reference}: the server's log has it under this id"


def from_status(error: grpc.RpcError, address: str) -> LarderError:
    """The kind of error that a status stands for, at the client."""
    code, detail = error.code(), error.details() or ""
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return UnavailableError(f"{address} gave no answer in time: raise the client's timeout or ask for less at once")
    if code is grpc.StatusCode.UNAVAILABLE:
        return UnavailableError(f"{address} cannot answer ({detail}): try again, or see that `larder serve` runs there")
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        return InputError(f"{detail}: send less at once")
    return KINDS[code](detail) if code in KINDS else LarderError(f"{address} answered {code.name}: {detail}")
