"""How a client reaches a server: connections, TLS, and the credentials that calls carry."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc

from feature_repo.errors import ConfigurationError
from feature_repo.settings import Settings
from grpc_api.ports import is_loopback, require_address

_OPTIONS = [
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_reconnect_backoff_ms", 1000),  # gRPC's own two minutes are long for a server that starts in seconds
    ("grpc.use_local_subchannel_pool", 1),  # channels to one address would share a connection
    ("grpc.keepalive_time_ms", 60_000),  # a server that vanished under an open stream is noticed
    ("grpc.keepalive_timeout_ms", 20_000),
]


@dataclass(frozen=True, slots=True)
class Access:
    """TLS where `ca` is given: the authority of the server's certificate, and for mTLS a certificate and its key, PEM.

    `token` is the caller's bearer token. One that would go to another machine in the clear is refused with a
    ConfigurationError, unless `allow_insecure`.
    """

    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None
    token: str = field(default="", repr=False)
    allow_insecure: bool = False

    @classmethod
    def of(cls, settings: Settings) -> Access:
        """What the settings say. Raises ConfigurationError."""
        token = settings.token.get_secret_value()
        if settings.token_file is not None:
            token = _read(settings.token_file).decode(errors="replace")
        return cls(settings.ca, settings.client_cert, settings.client_key, token.strip(), settings.allow_insecure)

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What every call says. Raises ConfigurationError."""
        if not self.token:
            return ()
        if not (self.token.isascii() and self.token.isprintable()):
            raise ConfigurationError(
                "token: has characters that no token has; give the secret that `larder token` printed"
            )
        return (("authorization", f"Bearer {self.token}"),)

    def channels(self, over: Any, address: str, count: int) -> list[Any]:
        """So many connections to HOST:PORT, made when first used; `over` is `grpc` or `grpc.aio`.

        Raises ConfigurationError.
        """
        require_address(address)
        credentials = self._credentials()
        if credentials is not None:
            return [over.secure_channel(address, credentials, options=_OPTIONS) for _ in range(count)]
        if self.token and not (self.allow_insecure or _is_here(address)):
            raise ConfigurationError(
                f"the token would go to {address} in the clear: set LARDER_CA for TLS, or LARDER_ALLOW_INSECURE=true"
            )
        return [over.insecure_channel(address, options=_OPTIONS) for _ in range(count)]

    def _credentials(self) -> grpc.ChannelCredentials | None:
        if (self.cert is None) != (self.key is None) or (self.cert is not None and self.ca is None):
            raise ConfigurationError("mTLS needs LARDER_CA, LARDER_CLIENT_CERT and LARDER_CLIENT_KEY: set all three")
        if self.ca is None:
            return None
        cert, key = (None if path is None else _read(path) for path in (self.cert, self.key))
        return grpc.ssl_channel_credentials(_read(self.ca), key, cert)


def _is_here(address: str) -> bool:
    return address.startswith("unix:") or is_loopback(address.rpartition(":")[0].strip("[]"))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}") from error
