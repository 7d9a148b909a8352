"""What the HTTP/2 side of the server allows: sizes, streams, connections, pings.

Options are those of gRPC core (`grpc/impl/channel_arg_names.h`). They see to callers that are slow, silent or hostile
before any Python does.
"""

from __future__ import annotations

from feature_repo.settings import Settings

HANDSHAKE_S = 10.0  # a connection that says nothing ends
KEEPALIVE_S = 60.0  # the server asks a silent connection whether it is still there,
KEEPALIVE_TIMEOUT_S = 20.0  # and waits so long for an answer
PING_INTERVAL_S = 10.0  # callers that ping oftener,
PING_STRIKES = 3  # more than so often, are cut off with GOAWAY
METADATA_BYTES = 16 * 2**10
AGE_GRACE_S = 60.0  # for the calls of a connection that is too old


def options(settings: Settings) -> list[tuple[str, int]]:
    """Options of a gRPC server."""
    most = settings.max_at_door
    door = [("max_pending_requests", most), ("max_pending_requests_hard_limit", 2 * most)] if most else []
    return [
        *((f"grpc.server.{name}", value) for name, value in door),
        ("grpc.max_receive_message_length", settings.max_payload_bytes),
        ("grpc.max_metadata_size", METADATA_BYTES),
        ("grpc.absolute_max_metadata_size", METADATA_BYTES),
        ("grpc.max_concurrent_streams", settings.max_streams),
        ("grpc.max_allowed_incoming_connections", settings.max_connections),
        ("grpc.max_connection_idle_ms", _ms(settings.connection_idle_s)),
        ("grpc.max_connection_age_ms", _ms(settings.connection_age_s)),
        ("grpc.max_connection_age_grace_ms", _ms(AGE_GRACE_S)),
        ("grpc.server_handshake_timeout_ms", _ms(HANDSHAKE_S)),
        ("grpc.keepalive_time_ms", _ms(KEEPALIVE_S)),
        ("grpc.keepalive_timeout_ms", _ms(KEEPALIVE_TIMEOUT_S)),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", _ms(PING_INTERVAL_S)),
        ("grpc.http2.max_ping_strikes", PING_STRIKES),
        # On purpose only: else a second server on the port would take half of the calls, unseen.
        ("grpc.so_reuseport", int(settings.reuse_port)),
    ]


def _ms(seconds: float) -> int:
    return round(1e3 * seconds)
