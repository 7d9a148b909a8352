"""All that stands between a caller and the service, checked before anything is bound."""

from __future__ import annotations

from dataclasses import dataclass

from feature_repo.errors import ConfigurationError
from feature_repo.settings import Settings
from grpc_api.ports import is_loopback
from grpc_api.security.gate import Gate
from grpc_api.security.tls import Certificates, certificates


@dataclass(frozen=True, slots=True)
class Guard:
    """The gate, and TLS where there is any."""

    gate: Gate
    certificates: Certificates | None


def guard_of(settings: Settings) -> Guard:
    """What the settings ask for. Raises ConfigurationError where that is broken, or not safe on the settings' host."""
    guard = Guard(Gate(settings), certificates(settings))
    if not settings.allow_insecure and not is_loopback(settings.host):
        _require_safe(settings, guard)
    return guard


def _require_safe(settings: Settings, guard: Guard) -> None:
    lacks = []
    if guard.certificates is None:
        lacks.append("no TLS (set LARDER_TLS_CERT and LARDER_TLS_KEY)")
    if not guard.gate.closed and settings.tls_client_ca is None:
        lacks.append("no list of callers (see `larder token`, or set LARDER_TLS_CLIENT_CA)")
    if lacks:
        raise ConfigurationError(
            f"host {settings.host} is reached from other machines, and there is {' and '.join(lacks)}; set "
            "LARDER_ALLOW_INSECURE=true where something in front of the server sees to it"
        )
