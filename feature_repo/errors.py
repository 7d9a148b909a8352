"""The kinds of failure a caller can act on. Exit codes and gRPC statuses are given to them at the edges.

Every message says what was wrong, where, and the mend.
"""

from __future__ import annotations


class LarderError(Exception):
    """Root of all errors that Larder raises on purpose."""


class ConfigurationError(LarderError):
    """A setting, option or name is wrong; nothing was started."""


class InputError(LarderError):
    """Data or a request handed in cannot be used."""


class MediaError(InputError):
    """One picture, clip or sound cannot be decoded; the message is the reason kept in the ledger."""


class NotFoundError(LarderError):
    """A content, version, release or other named thing does not exist."""


class WeightsError(LarderError):
    """Model weights cannot be had on this machine."""


class StateError(LarderError):
    """A step that this one builds on has not run, or the parts of a release disagree."""


class QualityGateError(LarderError):
    """A measured quality lies under its gate, so nothing was published."""


class UnavailableError(LarderError):
    """A store, server or file is out of reach for the moment; trying again may help."""


class OverloadedError(LarderError):
    """A server has too much to do; trying again after `retry_s` seconds may help."""

    def __init__(self, message: str, retry_s: float = 0.1) -> None:
        super().__init__(message)
        self.retry_s = retry_s


class DeadlineError(LarderError):
    """The caller's time ran out, or the caller is gone, before there was an answer."""


class UnauthenticatedError(LarderError):
    """A call does not prove who makes it."""


class DeniedError(LarderError):
    """Whoever makes the call may not make it."""


def unknown_name(kind: str, name: str, valid: object) -> ConfigurationError:
    """The error for a name outside a table: it lists the valid ones."""
    names = ", ".join(sorted(map(str, valid)))  # type: ignore[call-overload]
    return ConfigurationError(f"unknown {kind} {name!r}; valid: {names}")
