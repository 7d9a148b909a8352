"""Handshakes: whose certificates are taken, and certificates that are replaced under a running server."""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Sequence
from pathlib import Path

import grpc
import pytest

from feature_repo.settings import Settings
from grpc_api.calls import CALLER
from grpc_api.security.gate import AUTHORIZATION
from grpc_api.security.tokens import add_token, new_token
from grpc_api.server import ScoringServer
from predictors.loaded import LoadedRelease
from tests.grpc_api.authority import Authority, Pair
from tests.grpc_api.doors import ask, channel, code
from tests.grpc_api.parts import until
from tests.grpc_api.running import running

Headers = Sequence[tuple[str, str]]
AUTHORITY, OTHER = Authority("tests"), Authority("other")


@pytest.fixture
def client_ca() -> bytes | None:
    return None


@pytest.fixture
def server(
    settings: Settings, release: LoadedRelease, client_ca: bytes | None, tmp_path: Path
) -> Iterator[ScoringServer]:
    cert, key = AUTHORITY.issue("server").write(tmp_path, "server")
    update = {"http_port": 0, "tls_cert": cert, "tls_key": key}
    if client_ca is not None:
        (tmp_path / "ca.crt").write_bytes(client_ca)
        update["tls_client_ca"] = tmp_path / "ca.crt"
    with running(settings.model_copy(update=update), release) as started:
        yield started.server


def _over_grpc(server: ScoringServer, authority: Authority, client: Pair | None = None, headers: Headers = ()) -> str:
    pair = (None, None) if client is None else (client.key, client.cert)
    with channel(server.port, grpc.ssl_channel_credentials(authority.cert, *pair)) as over:
        return code(over, "Describe", b"", headers)


def _over_http(
    server: ScoringServer, authority: Authority, client: tuple[Path, Path] | None = None, headers: Headers = ()
) -> str:
    context = ssl.create_default_context(cadata=authority.cert.decode())
    if client is not None:
        context.load_cert_chain(*client)
    assert server.gateway is not None
    try:
        return str(ask(server.gateway.port, "/v1/describe", b"{}", headers, context).status)
    except OSError:  # ssl.SSLError, or the server hung up
        return "UNAVAILABLE"


def _both(server: ScoringServer, authority: Authority) -> tuple[str, str]:
    return _over_grpc(server, authority), _over_http(server, authority)


def test_replaced_files_are_taken_at_the_next_handshake(server: ScoringServer, tmp_path: Path) -> None:
    assert _both(server, AUTHORITY) == ("OK", "200")
    assert _both(server, OTHER) == ("UNAVAILABLE", "UNAVAILABLE")
    OTHER.issue("server").write(tmp_path, "server")
    assert until(lambda: _both(server, OTHER) == ("OK", "200"), 30)
    assert _both(server, AUTHORITY) == ("UNAVAILABLE", "UNAVAILABLE")


def test_files_that_do_not_fit_change_nothing(
    server: ScoringServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "server.key").write_bytes(OTHER.issue("server").key)
    assert until(lambda: _both(server, AUTHORITY) == ("OK", "200") and "stays with what it read" in caplog.text, 30)


def test_plain_callers_get_nothing(server: ScoringServer) -> None:
    with channel(server.port) as over:
        assert code(over, "Describe", b"") == "UNAVAILABLE"
    assert server.gateway is not None
    with pytest.raises(OSError, match=r"."):
        ask(server.gateway.port, "/healthz")
    assert _both(server, AUTHORITY) == ("OK", "200")


@pytest.mark.parametrize("client_ca", [AUTHORITY.cert])
def test_callers_show_a_certificate_of_the_authority(server: ScoringServer, tmp_path: Path) -> None:
    ours, foreign = AUTHORITY.issue("client"), OTHER.issue("client")
    files = [pair.write(tmp_path, name) for pair, name in ((ours, "ours"), (foreign, "foreign"))]
    assert [_over_grpc(server, AUTHORITY, pair) for pair in (ours, foreign, None)] == ["OK", *["UNAVAILABLE"] * 2]
    assert [_over_http(server, AUTHORITY, pair) for pair in (*files, None)] == ["200", *["UNAVAILABLE"] * 2]


NAMES = {
    "the common name": (("feed", "spiffe://larder/other"), "feed"),
    "the first alternative name": (("", "spiffe://larder/feed", "spiffe://larder/other"), "spiffe://larder/feed"),
    "an address": (("",), "127.0.0.1"),
    "no more than a log may hold": (('{"caller": "Zoë"}\n',), "_caller_:_Zo_"),
    "the end of a long one": (("", f"spiffe://larder/{'x' * 60}/feed"), f"{'x' * 59}/feed"),
}


@pytest.mark.parametrize("client_ca", [AUTHORITY.cert])
class TestACertificateNamesItsCaller:
    @pytest.fixture(autouse=True)
    def _logging(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level("INFO", "grpc_api.telemetry.logs")

    def _callers(
        self, server: ScoringServer, folder: Path, caplog: pytest.LogCaptureFixture, client: Pair, *headers: Headers
    ) -> list[str]:
        """As whom a caller is known over gRPC and HTTP, with each of these headers."""
        files = client.write(folder, "client")
        caplog.clear()
        for given in headers:
            _over_grpc(server, AUTHORITY, client, given)
            _over_http(server, AUTHORITY, files, given)
        return [record.__dict__["fields"]["caller"] for record in caplog.records]

    @pytest.mark.parametrize(("said", "name"), NAMES.values(), ids=NAMES)
    def test_by(
        self, server: ScoringServer, tmp_path: Path, caplog: pytest.LogCaptureFixture, said: Sequence[str], name: str
    ) -> None:
        client = AUTHORITY.issue(*said)
        assert self._callers(server, tmp_path, caplog, client, (), [(CALLER, "another")]) == [name] * 4

    def test_unless_a_token_does(
        self, server: ScoringServer, settings: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        secret, token = new_token("app", ["score"], 1)
        add_token(settings.callers_path, token)
        client = AUTHORITY.issue("feed")
        assert until(lambda: _over_grpc(server, AUTHORITY, client) == "UNAUTHENTICATED")
        wrong, right = [(AUTHORIZATION, "Bearer no")], [(AUTHORIZATION, f"Bearer {secret}")]
        assert self._callers(server, tmp_path, caplog, client, wrong, right) == ["feed", "feed", "app", "app"]
