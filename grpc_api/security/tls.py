"""TLS for both doors from the same files, which may be replaced while the server runs."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

import grpc

from feature_repo.errors import ConfigurationError
from feature_repo.settings import Settings
from grpc_api.security.watched import Watched


@dataclass(frozen=True, slots=True)
class _Loaded:
    grpc: grpc.ServerCertificateConfiguration
    context: ssl.SSLContext


class Certificates:
    """The server's certificate and key, and the authority that callers' certificates must be of, where one is named.

    Each new connection takes the files as they are now; those that do not fit leave the ones before in use.
    Raises ConfigurationError where they do not fit at the start.
    """

    def __init__(self, cert: Path, key: Path, client_ca: Path | None) -> None:
        self._cert, self._key, self._client_ca = cert, key, client_ca
        self._files = Watched([path for path in (cert, key, client_ca) if path is not None], self._load)
        self._given = self._files.value.grpc

    def for_grpc(self) -> grpc.ServerCredentials:
        """Credentials that are asked anew at each handshake."""
        demanded = self._client_ca is not None
        return grpc.dynamic_ssl_server_credentials(self._given, self._changed, demanded)  # type: ignore[arg-type]

    def for_http(self) -> ssl.SSLContext:
        """A context that hands each handshake over to the one of the current files."""
        context = self._context()

        def choose(connection: ssl.SSLSocket | ssl.SSLObject, name: str | None, asked: ssl.SSLContext) -> None:
            connection.context = self._files.value.context

        context.sni_callback = choose  # called also where the caller names no server
        return context

    def _changed(self) -> grpc.ServerCertificateConfiguration | None:
        current = self._files.value.grpc
        if current is self._given:
            return None
        self._given = current
        return current

    def _load(self) -> _Loaded:
        context = self._context()
        pair = self._key.read_bytes(), self._cert.read_bytes()
        roots = None if self._client_ca is None else self._client_ca.read_bytes()
        return _Loaded(grpc.ssl_server_certificate_configuration([pair], roots), context)

    def _context(self) -> ssl.SSLContext:
        """OpenSSL also says whether key and certificate belong together, which gRPC finds out at the first call."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        try:
            context.load_cert_chain(self._cert, self._key, password=lambda: "")  # never asks at the terminal
            if self._client_ca is not None:
                context.load_verify_locations(self._client_ca)
                context.verify_mode = ssl.CERT_REQUIRED
        except (OSError, ValueError) as error:
            raise ConfigurationError(
                f"TLS files {', '.join(str(p) for p in (self._cert, self._key, self._client_ca) if p)}: {error}; give "
                "PEM files, the key without a passphrase and of this certificate"
            ) from error
        return context


def certificates(settings: Settings) -> Certificates | None:
    """Those that the settings name; None where they name none. Raises ConfigurationError where some are missing."""
    if settings.tls_cert is None and settings.tls_key is None and settings.tls_client_ca is None:
        return None
    if settings.tls_cert is None or settings.tls_key is None:
        raise ConfigurationError("TLS needs LARDER_TLS_CERT and LARDER_TLS_KEY: set both, or none of LARDER_TLS_*")
    return Certificates(settings.tls_cert, settings.tls_key, settings.tls_client_ca)
