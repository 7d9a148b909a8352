"""Every RPC x role x transport: who has no right gets nothing scored, and leaves no event."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import grpc
import pytest

from feature_repo.settings import load_settings
from grpc_api.rpcs import ROLES, UNARY
from grpc_api.security.roles import Role
from grpc_api.security.tokens import add_token, new_token
from predictors.loaded import LoadedRelease
from protos.larder.v1 import scoring_pb2 as pb
from tests.grpc_api.authority import Authority
from tests.grpc_api.doors import ask, channel, code
from tests.grpc_api.parts import TableStore
from tests.grpc_api.running import running

PREDICT = pb.PredictRequest(predictors=["popularity"], content_ids=["c01", "c02"])
EVENT = pb.Interaction(event_id="e1", user_id="u1", content_id="c01", event=pb.EVENT_TYPE_LIKE)
REQUESTS = {
    "Predict": PREDICT,
    "PredictStream": pb.PredictStreamRequest(request=PREDICT),
    "Recommend": pb.RecommendRequest(user_id="u1"),
    "Similar": pb.SimilarRequest(content_id="c01"),
    "Explain": pb.ExplainRequest(predictor="popularity", content_id="c01"),
    "LogInteraction": pb.LogInteractionRequest(offset=1, interactions=[EVENT]),
    "Describe": pb.DescribeRequest(),
}
BODIES = {
    "Predict": b'{"predictors": ["popularity"], "content_ids": ["c01", "c02"]}',
    "Recommend": b'{"user_id": "u1"}',
    "Similar": b'{"content_id": "c01"}',
    "Explain": b'{"predictor": "popularity", "content_id": "c01"}',
    "Describe": b"{}",
}
TRANSPORTS = ("grpc", "grpc+tls", "grpc+mtls", "http", "https", "https+mtls")
HTTP_NAMES = {401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED"}
Headers = Sequence[tuple[str, str]]


@dataclass
class World:
    """A server behind a transport; `call` makes a call of an RPC and says how it ended."""

    call: Callable[[str, Headers], str]
    store: TableStore
    home: Path
    secrets: dict[str, str]

    def scored(self) -> int:
        """Reads of the candidates; the probes of health read one content at most."""
        return sum(len(read) > 1 for read in self.store.reads)

    def events(self) -> list[Path]:
        """Files of the event log that hold anything."""
        return [path for path in self.home.glob("interactions/**/*.parquet") if path.stat().st_size]

    def credentials(self, kind: str) -> Headers:
        """Headers of a kind of credential."""
        secret = self.secrets.get(kind, self.secrets["admin"])
        return {
            "missing": [],
            "empty": [("authorization", "")],
            "wrong": [("authorization", f"Bearer {secret[:-1]}{'a' if secret[-1] != 'a' else 'b'}")],
            "basic": [("authorization", f"Basic {secret}")],
            "bare": [("authorization", secret)],
            "twice": [("authorization", f"Bearer {secret}")] * 2,
            "oversized": [("authorization", f"Bearer {secret}{'x' * 500}")],
        }.get(kind, [("authorization", f"Bearer {secret}")])


@pytest.fixture(scope="module", params=TRANSPORTS)
def world(
    request: pytest.FixtureRequest, built: LoadedRelease, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    door, _, lock = request.param.partition("+")
    secure = lock or door == "https"
    home = tmp_path_factory.mktemp("table")
    settings = load_settings(home=home, port=0, http_port=0)
    secrets = {role.value: _add(settings.callers_path, role.value, [role], 1) for role in Role}
    secrets["expired"] = _add(settings.callers_path, "expired", list(Role), -1)
    authority = Authority("tests")
    client = authority.issue("client")
    if secure:
        cert, key = authority.issue("server").write(home, "server")
        (home / "ca.crt").write_bytes(authority.cert)
        update = {"tls_cert": cert, "tls_key": key, "tls_client_ca": home / "ca.crt" if lock == "mtls" else None}
        settings = settings.model_copy(update=update)
    store = TableStore()
    with ExitStack() as stack:
        server = stack.enter_context(running(settings, replace(built, store=store))).server
        if door == "grpc":
            pair = (client.key, client.cert) if lock == "mtls" else (None, None)
            credentials = grpc.ssl_channel_credentials(authority.cert, *pair) if secure else None
            over = stack.enter_context(channel(server.port, credentials))

            def call(name: str, headers: Headers) -> str:
                return code(over, name, REQUESTS[name].SerializeToString(), headers)
        else:
            assert server.gateway is not None
            port, context = server.gateway.port, None
            if secure:
                context = ssl.create_default_context(cadata=authority.cert.decode())
                if lock == "mtls":
                    context.load_cert_chain(*client.write(home, "client"))

            def call(name: str, headers: Headers) -> str:
                status = ask(port, f"/v1/{name.lower()}", BODIES[name], headers, context).status
                return HTTP_NAMES.get(status, str(status))

        yield World(call, store, home, secrets)


def _add(path: Path, name: str, roles: Sequence[str], days: float) -> str:
    secret, token = new_token(name, roles, days)
    add_token(path, token)
    return secret


def _rpcs(world: World, request: pytest.FixtureRequest) -> Iterator[tuple[str, Role]]:
    """Names and roles of what the transport offers: over HTTP, requests with one answer."""
    streams = "grpc" in request.node.callspec.params["world"]
    for path, role in ROLES.items():
        name = path.rpartition("/")[2]
        if streams or name in UNARY:
            yield name, role


@pytest.mark.parametrize("credential", ["missing", "empty", "wrong", "expired", "basic", "bare", "twice", "oversized"])
def test_without_a_valid_token_nothing_happens(
    world: World, credential: str, request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    before = world.scored()
    for name, _ in _rpcs(world, request):
        assert world.call(name, world.credentials(credential)) == "UNAUTHENTICATED", name
    assert world.scored() == before
    assert not world.events()
    assert not [secret for secret in world.secrets.values() if secret in caplog.text]


@pytest.mark.parametrize("role", list(Role))
def test_a_role_may_what_the_table_says_and_no_more(
    world: World, role: Role, request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    for name, needed in _rpcs(world, request):
        before = world.scored()
        ended = world.call(name, world.credentials(role.value))
        if role in (needed, Role.ADMIN):
            assert ended not in ("UNAUTHENTICATED", "PERMISSION_DENIED", "UNAVAILABLE"), name
            assert world.scored() > before or not name.startswith("Predict")
        else:
            assert ended == "PERMISSION_DENIED", name
            assert world.scored() == before
            assert not world.events()
    assert not [secret for secret in world.secrets.values() if secret in caplog.text]


def test_the_table_has_every_rpc_of_the_contract() -> None:
    methods = pb.DESCRIPTOR.services_by_name["ScoringService"].methods
    assert {path.rpartition("/")[2] for path in ROLES} == {method.name for method in methods} == set(REQUESTS)
