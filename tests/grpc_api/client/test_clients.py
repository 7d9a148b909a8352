"""Every call of both clients on a real server: answers, options, connections, TLS and tokens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from feature_repo.contracts import Event, EventType, Interaction
from feature_repo.errors import (
    ConfigurationError,
    DeniedError,
    InputError,
    LarderError,
    NotFoundError,
    UnauthenticatedError,
    UnavailableError,
)
from feature_repo.recorder import Recorder
from feature_repo.settings import Settings, load_settings
from grpc_api.client import Access, AsyncScorer, Scorer
from grpc_api.messages.predict import Predictions, PredictQuery, RawContent
from grpc_api.messages.recommend import RecommendQuery
from grpc_api.security.roles import Role
from grpc_api.security.tokens import add_token, new_token
from predictors.loaded import LoadedRelease
from tests.grpc_api.authority import Authority
from tests.grpc_api.client.scripted import ROUNDING_S, Ask, Scripted
from tests.grpc_api.parts import IDS, PUBLISHED
from tests.grpc_api.running import RunningServer, running

QUERIES = [PredictQuery(("popularity",), [content]) for content in ("c03", "c05")]
BROKEN = PredictQuery(("weather",), ["c01"])


@pytest.fixture
def ask_server(ask_at: Ask, server: RunningServer) -> Ask:
    return partial(ask_at, f"127.0.0.1:{server.port}")


def test_every_call_with_one_answer(ask_server: Ask, release: LoadedRelease) -> None:
    assert ask_server("describe").release == release.version
    assert [one.score for one in ask_server("predict", ["c03", "c01"])] == [3, 1]
    assert [n.content_id for n in ask_server("similar", content_id="c00", k=2).neighbours] == ["c01", "c02"]
    assert [n.content_id for n in ask_server("similar", text="4", k=1).neighbours] == ["c04"]
    shown = ask_server("recommend", RecommendQuery("u1", k=2, diversity=0)).recommendations
    assert [one.content_id for one in shown] == ["c11", "c10"]
    assert ask_server("ready")
    assert ask_server("ready", "index/tiny")
    assert not ask_server("ready", "index/huge")
    with pytest.raises(NotFoundError, match="predictor"):
        ask_server("explain", "c01", "weather")
    with pytest.raises(InputError, match="query: give one"):
        ask_server("similar", content_id="c01", text="4")


def test_raw_contents_are_scored(ask_server: Ask) -> None:
    new = RawContent("new", title="3", tags=("t",), language="en", published_at=PUBLISHED)
    found = ask_server("predict_columns", ["c02"], raw_contents=[new])
    assert found.content_ids == ["c02", "new"]
    assert found.results[0].scores.tolist() == [2, PUBLISHED.year - 2000]


def test_more_candidates_than_a_request_takes(ask_server: Ask) -> None:
    ids = IDS * 20  # the server takes 50
    assert [one.score for one in ask_server("predict", ids)] == [int(content[1:]) for content in ids]


def test_a_stream_goes_on_after_an_error(server: RunningServer) -> None:
    queries = [QUERIES[0], BROKEN, QUERIES[1]]

    async def over_loop() -> list[Predictions | LarderError]:
        async def told() -> AsyncIterator[PredictQuery]:
            for query in queries:
                yield query

        async with AsyncScorer(f"127.0.0.1:{server.port}") as scorer:
            return [said async for said in scorer.predict_stream(told())]

    with Scorer(f"127.0.0.1:{server.port}") as scorer:
        over_threads = list(scorer.predict_stream(queries))
    for first, refused, last in (over_threads, asyncio.run(over_loop())):
        assert isinstance(first, Predictions)
        assert isinstance(last, Predictions)
        assert (first["popularity"].scores.tolist(), last["popularity"].scores.tolist()) == ([3], [5])
        assert isinstance(refused, NotFoundError)
        assert "weather" in str(refused)


def test_a_stream_without_a_server() -> None:
    with Scorer("127.0.0.1:1") as scorer, pytest.raises(UnavailableError):
        list(scorer.predict_stream(QUERIES))


def test_events_are_logged(ask_at: Ask, settings: Settings, release: LoadedRelease) -> None:
    events = [Event(f"e{n}", Interaction("u1", "c01", EventType.LIKE, PUBLISHED)) for n in range(3)]
    with running(settings, release, lambda: Recorder(settings, lambda view, rows: None)) as server:
        assert ask_at(f"127.0.0.1:{server.port}", "log", [*events, events[0]]).accepted == 3


def test_options_are_of_the_calls_they_are_given_for(ask: Ask, script: Scripted) -> None:
    ask("predict", ["c1"], options={"timeout": 3, "request_id": "feed-7", "caller": "feed"}, client={"timeout": 60})
    ask("predict", ["c1"], client={"timeout": 60})
    given, plain = script.calls["Predict"]
    assert (given.metadata["x-request-id"], given.metadata["x-caller"]) == ("feed-7", "feed")
    assert given.remaining_s <= 3 + ROUNDING_S < plain.remaining_s <= 60 + ROUNDING_S
    assert not {"x-request-id", "x-caller", "authorization"} & set(plain.metadata)


def test_connections_are_taken_in_turns(script: Scripted) -> None:
    with Scorer(f"127.0.0.1:{script.port}", connections=3) as scorer:
        for _ in range(6):
            scorer.predict(["c1"])
    peers = [call.peer for call in script.calls["Predict"]]
    assert peers[:3] == peers[3:]
    assert len(set(peers)) == 3


class TestAccess:
    """Authority, mTLS and tokens from the settings."""

    @pytest.fixture
    def guarded(self, settings: Settings, release: LoadedRelease, tmp_path: Path) -> Iterator[tuple[str, Settings]]:
        """The address of a server that wants a certificate and a token, and the settings of who has them."""
        authority, other = Authority("tests"), Authority("other")
        cert, key = authority.issue("server").write(tmp_path, "server")
        for name, one in (("ca", authority), ("other", other)):
            (tmp_path / f"{name}.crt").write_bytes(one.cert)
        client_cert, client_key = authority.issue("client").write(tmp_path, "client")
        secret, token = new_token("feed", [Role.SCORE], 1)
        add_token(settings.callers_path, token)
        (tmp_path / "token").write_text(f"{secret}\n")
        ca = tmp_path / "ca.crt"
        update = {"tls_cert": cert, "tls_key": key, "tls_client_ca": ca}
        has = load_settings(
            home=tmp_path / "away", ca=ca, client_cert=client_cert, client_key=client_key, token_file=tmp_path / "token"
        )
        with running(settings.model_copy(update=update), release) as server:
            yield f"127.0.0.1:{server.port}", has

    def test_who_has_all_is_answered(self, ask_at: Ask, guarded: tuple[str, Settings]) -> None:
        address, settings = guarded
        client = {"access": Access.of(settings)}
        assert ask_at(address, "predict", ["c03"], client=client)[0].score == 3
        assert ask_at(address, "ready", client=client)
        with pytest.raises(DeniedError, match="'log'"):
            ask_at(address, "log", [Event("e", Interaction("u", "c", EventType.LIKE, PUBLISHED))], client=client)

    def test_who_lacks_something_is_not(self, ask_at: Ask, guarded: tuple[str, Settings], tmp_path: Path) -> None:
        address, access = guarded[0], Access.of(guarded[1])
        cases: list[tuple[Access, type[LarderError]]] = [
            (replace(access, token=""), UnauthenticatedError),
            (replace(access, token="larder_wrong"), UnauthenticatedError),
            (replace(access, ca=tmp_path / "other.crt"), UnavailableError),
            (replace(access, cert=None, key=None), UnavailableError),
            (Access(token=access.token), UnavailableError),
        ]
        for has, kind in cases:
            with pytest.raises(kind):
                ask_at(address, "describe", client={"access": has})

    def test_the_environment_names_the_token(self, guarded: tuple[str, Settings], monkeypatch: Any) -> None:
        address, settings = guarded
        assert settings.token_file is not None
        monkeypatch.setenv("LARDER_TOKEN", settings.token_file.read_text())
        named = settings.model_copy(update={"token": load_settings().token, "token_file": None})
        with Scorer.of(named, address) as scorer:
            assert scorer.describe().predictors
        assert "larder_" not in repr(named) + repr(scorer.access)


@pytest.mark.parametrize("address", ["10.0.0.7:50051", "feed.example:443"])
def test_a_token_goes_to_no_other_machine_in_the_clear(address: str) -> None:
    with pytest.raises(ConfigurationError, match="in the clear"):
        Scorer(address, access=Access(token="larder_x"))
    Scorer(address, access=Access(token="larder_x", allow_insecure=True)).close()


@pytest.mark.parametrize("address", ["127.0.0.1:1", "localhost:1", "[::1]:1", "unix:/tmp/larder"])
def test_here_it_may(address: str) -> None:
    Scorer(address, access=Access(token="larder_x")).close()


@pytest.mark.parametrize(
    "access",
    [
        Access(cert=Path("client.crt")),
        Access(cert=Path("client.crt"), key=Path("client.key")),
        Access(ca=Path("/none.crt")),
        Access(token="two\nlines"),
    ],
)
def test_what_cannot_be_used_is_said_at_once(access: Access) -> None:
    with pytest.raises(ConfigurationError, match=r"."):
        Scorer("127.0.0.1:1", access=access)
