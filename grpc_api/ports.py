"""Addresses and ports: how they are written, held for several processes, and made known."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from feature_repo.errors import ConfigurationError, UnavailableError
from feature_repo.files import replacing

MOST_PORT = 65_535


def address(host: str, port: int) -> str:
    """`host:port`, as gRPC reads it."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def require_address(said: str) -> None:
    """Raise ConfigurationError for what is not `HOST:PORT` or `unix:PATH`: without a port, gRPC would ask 443."""
    host, _, port = said.rpartition(":")
    if not said.startswith("unix:") and not (host and port.isdecimal() and 0 < int(port) <= MOST_PORT):
        raise ConfigurationError(f"address {said!r}: write HOST:PORT, as 127.0.0.1:50051")


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches the host."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def taken(host: str, port: int) -> UnavailableError:
    """The error for an address that cannot be listened on."""
    return UnavailableError(
        f"cannot listen on {address(host, port)}: stop what listens there, or set LARDER_PORT (0: any free port) "
        "or LARDER_HOST"
    )


@contextmanager
def reserved(host: str, port: int) -> Iterator[int]:
    """Hold a port (0: any) that nobody listens on, for sockets with SO_REUSEPORT. Raises UnavailableError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as alone, socket.socket(family) as shared:
        try:
            alone.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            alone.bind((host, port))
            found: int = alone.getsockname()[1]
            alone.close()
            shared.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            shared.bind((host, found))
        except OSError as error:
            raise taken(host, port) from error
        yield found


def announce(port: int, port_file: Path | None, ready: Callable[[int], None] | None) -> None:
    """Say that a port is answered: `port_file` holds it, whole, and `ready` is called with it."""
    if port_file is not None:
        with replacing(port_file) as beside:
            beside.write_text(f"{port}\n")
    if ready is not None:
        ready(port)
