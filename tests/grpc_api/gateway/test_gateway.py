"""The gateway over real sockets, beside gRPC in one server."""

from __future__ import annotations

import re
import socket
import time
from contextlib import closing
from typing import Any

import pytest

from feature_repo.errors import OverloadedError, UnavailableError
from feature_repo.settings import Settings
from grpc_api.client import Scorer
from grpc_api.dispatch import Dispatcher
from grpc_api.gateway import server as gateway_server
from grpc_api.rpcs import UNARY
from predictors.loaded import LoadedRelease
from protos.descriptors import described
from tests.grpc_api.doors import Answer, ask
from tests.grpc_api.parts import TableStore, until
from tests.grpc_api.running import RunningServer, running

BODY = b'{"predictors": ["popularity"], "content_ids": ["c03", "nobody"]}'


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"http_port": 0})


@pytest.fixture
def port(server: RunningServer) -> int:
    assert server.server.gateway is not None
    return server.server.gateway.port


def _reason(answer: Answer) -> str:
    detail = next(one for one in answer.json["details"] if one["@type"].endswith("ErrorInfo"))
    return str(detail["reason"])


class TestAnswers:
    def test_the_same_scores_as_over_grpc(self, port: int, scorer: Scorer) -> None:
        answer = ask(port, "/v1/predict", BODY, [("x-request-id", "mine")])
        assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
        [scores] = answer.json["results"]
        expected = scorer.predict_columns(["c03", "nobody"])
        assert scores["scores"] == [expected.results[0].scores[0], "NaN"]
        assert answer.json["release"] == expected.release
        assert answer.json["request_id"] == answer.headers["x-request-id"] == "mine"

    def test_what_was_answered_is_given_though_the_lane_takes_no_more(
        self, server: RunningServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        gateway = server.server.gateway
        assert gateway is not None
        answered = Dispatcher.answer

        async def full_since(dispatcher: Dispatcher, *asked: Any) -> bytes:
            answer = await answered(dispatcher, *asked)
            monkeypatch.setattr(gateway.lane, "_open", False)
            return answer

        monkeypatch.setattr(Dispatcher, "answer", full_since)
        assert ask(gateway.port, "/v1/predict", BODY).status == 200
        assert ask(gateway.port, "/v1/predict", BODY).status == 503

    def test_every_request_with_one_answer_has_a_page(self, port: int) -> None:
        for name in UNARY:
            assert ask(port, f"/v1/{name.lower()}", b"{}").status in (200, 400, 404), name

    def test_describe_needs_no_body(self, port: int) -> None:
        assert ask(port, "/v1/describe", b"").json["predictors"][0]["name"] == "popularity"

    def test_an_id_that_no_log_should_hold_is_replaced(self, port: int) -> None:
        answer = ask(port, "/v1/predict", BODY, [("x-request-id", "<script>")])
        assert re.fullmatch("[0-9a-f]{16}", answer.headers["x-request-id"])

    def test_connections_are_kept(self, port: int) -> None:
        with closing(socket.create_connection(("127.0.0.1", port), timeout=10)) as caller:
            for _ in range(3):
                caller.sendall(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
                answered = b""
                while b"alive" not in answered:
                    answered += caller.recv(4096) or pytest.fail("the connection was closed")


class TestRefusals:
    @pytest.mark.parametrize(
        ("path", "body", "headers", "status", "told"),
        [
            ("/v1/predict", b'{"wind": 1}', [], 400, "wind: there is no such field"),
            ("/v1/predict", b"{}", [], 400, "predictors: is empty"),
            ("/v1/predict", b"{", [], 400, "request: Failed to load JSON"),
            ("/v1/predict", BODY.replace(b"pop", b"unpop"), [], 404, "predictor: 'unpopularity'"),
            ("/v1/predict", BODY, [("content-type", "text/plain")], 415, "content-type: send application/json"),
            ("/v1/predict", BODY, [("x-timeout-ms", "soon")], 400, "x-timeout-ms: is no whole number"),
            ("/v1/predict", BODY, [("x-timeout-ms", "0")], 400, "x-timeout-ms: is no whole number"),
            ("/v1/predict", BODY, [("x-timeout-ms", "600001")], 400, "x-timeout-ms: is no whole number"),
            ("/v1/predictstream", BODY, [], 404, "Not Found: see /docs"),
            ("/../../etc/passwd", None, [], 404, "Not Found: see /docs"),
            ("/v1/predict", None, [], 405, "Method Not Allowed: see /docs"),
        ],
    )
    def test_a_status_as_json(
        self, port: int, path: str, body: bytes | None, headers: list[tuple[str, str]], status: int, told: str
    ) -> None:
        answer = ask(port, path, body, headers)
        assert answer.status == status
        assert answer.json["message"].startswith(told)
        assert answer.headers["content-type"] == "application/json"

    def test_the_field_is_told_apart(self, port: int) -> None:
        details = ask(port, "/v1/similar", b'{"embeddings": [{"weight": "much"}]}').json["details"]
        [violation] = next(one for one in details if one["@type"].endswith("BadRequest"))["field_violations"]
        assert violation["field"] == "embeddings[0].weight"

    @pytest.mark.parametrize("size", [100_000, 10**12])
    def test_a_body_over_the_limit_is_not_read(self, port: int, size: int) -> None:
        with closing(socket.create_connection(("127.0.0.1", port), timeout=10)) as caller:
            head = f"POST /v1/predict HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {size}"
            caller.sendall(f"{head}\r\n\r\n".encode())
            assert caller.recv(4096).startswith(b"HTTP/1.1 413")

    def test_nor_is_one_that_does_not_say_how_long_it_is(self, port: int) -> None:
        chunk = b"8000\r\n" + b" " * 0x8000 + b"\r\n"
        with closing(socket.create_connection(("127.0.0.1", port), timeout=10)) as caller:
            caller.sendall(
                b"POST /v1/predict HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
                b"transfer-encoding: chunked\r\n\r\n"
            )
            answered = b""
            while not answered:
                caller.sendall(chunk)
                caller.settimeout(0.05)
                try:
                    answered = caller.recv(4096)
                except TimeoutError:
                    continue
            assert answered.startswith(b"HTTP/1.1 413")

    def test_too_much_to_do_says_when_to_try_again(self, port: int, store: TableStore) -> None:
        def busy() -> None:
            raise OverloadedError("too much to do", 1.2)

        store.before_read = busy
        answer = ask(port, "/v1/predict", BODY)
        assert (answer.status, answer.headers["retry-after"], _reason(answer)) == (429, "2", "OverloadedError")

    def test_a_fault_of_ours_tells_nothing_but_an_id(self, port: int, store: TableStore) -> None:
        def fail() -> None:
            raise RuntimeError("secret path")

        store.before_read = fail
        answer = ask(port, "/v1/predict", BODY)
        assert answer.status == 500
        assert answer.json["message"].startswith(f"internal error {answer.headers['x-request-id']}")
        assert b"secret" not in answer.body

    def test_a_port_that_is_taken(self, port: int, settings: Settings, release: LoadedRelease) -> None:
        with pytest.raises(UnavailableError, match=rf"port {port}: stop .*LARDER_HTTP_PORT"):
            running(settings.model_copy(update={"http_port": port}), release).__enter__()


class TestTime:
    def test_the_deadline_of_the_header(self, port: int, store: TableStore) -> None:
        store.before_read = lambda: time.sleep(0.5)
        answer = ask(port, "/v1/predict", BODY, [("x-timeout-ms", "50")])
        assert (answer.status, _reason(answer)) == (504, "DeadlineError")

    def test_a_body_that_does_not_come(self, port: int) -> None:
        with closing(socket.create_connection(("127.0.0.1", port), timeout=10)) as caller:
            caller.sendall(
                b"POST /v1/predict HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 9\r\n"
                b"x-timeout-ms: 100\r\n\r\n{"
            )
            assert caller.recv(4096).startswith(b"HTTP/1.1 504")

    def test_who_hangs_up_is_not_worked_for(self, port: int, store: TableStore) -> None:
        reads: list[float] = []

        def slow() -> None:
            reads.append(time.monotonic())
            time.sleep(0.3)

        store.before_read = slow
        head = f"POST /v1/predict HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {len(BODY)}"
        callers = [socket.create_connection(("127.0.0.1", port)) for _ in range(8)]
        for caller in callers:
            caller.sendall(f"{head}\r\n\r\n".encode() + BODY)
        assert until(lambda: bool(reads))
        for caller in callers:
            caller.close()
        store.before_read = lambda: None
        assert ask(port, "/v1/predict", BODY).status == 200
        assert len(reads) < 4, "those who wait for nothing are dropped before they are worked on"

    @pytest.mark.parametrize(("asked_before", "head"), [(False, b""), (False, b"GET /heal"), (True, b"GET /heal")])
    def test_a_head_that_never_ends(
        self, asked_before: bool, head: bytes, port: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(gateway_server, "HEAD_S", 0.2)
        with closing(socket.create_connection(("127.0.0.1", port), timeout=30)) as caller:
            if asked_before:
                caller.sendall(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
                while not caller.recv(4096).endswith(b"alive\n"):
                    pass
            caller.sendall(head)
            while caller.recv(4096):
                pass
        assert ask(port, "/healthz").status == 200

    def test_nonsense_changes_nothing_for_others(self, port: int) -> None:
        for sent in (b"\x16\x03\x01\x00", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"GET / HTTP/1.1\r\n" + b"x" * 100_000):
            with closing(socket.create_connection(("127.0.0.1", port), timeout=10)) as caller:
                caller.sendall(sent)
                caller.shutdown(socket.SHUT_WR)
                assert ask(port, "/v1/predict", BODY).status == 200


class TestHealth:
    def test_ready_is_what_grpc_says(self, port: int, server: RunningServer, store: TableStore) -> None:
        def fail() -> None:
            raise UnavailableError("the store is out of reach")

        assert (ask(port, "/healthz").status, ask(port, "/readyz").status) == (200, 200)
        store.before_read = fail
        server.refresh()
        assert (ask(port, "/healthz").status, ask(port, "/readyz").status) == (200, 503)

    def test_no_gateway_unless_it_is_asked_for(self, settings: Settings, release: LoadedRelease) -> None:
        with running(settings.model_copy(update={"http_port": None}), release) as server:
            assert server.server.gateway is None


class TestOrigins:
    ASKED = (("origin", "https://feed.example"), ("access-control-request-method", "POST"))

    def test_no_page_of_another_origin_by_default(self, port: int) -> None:
        assert ask(port, "/v1/predict", None, self.ASKED, method="OPTIONS").status == 405
        assert "access-control-allow-origin" not in ask(port, "/v1/predict", BODY, self.ASKED).headers

    def test_pages_of_the_origins_that_are_named(self, settings: Settings, release: LoadedRelease) -> None:
        named = settings.model_copy(update={"http_origins": ("https://feed.example",)})
        with running(named, release) as server:
            assert server.server.gateway is not None
            port = server.server.gateway.port
            allowed = ask(port, "/v1/predict", None, self.ASKED, method="OPTIONS")
            assert allowed.headers["access-control-allow-origin"] == "https://feed.example"
            other = (("origin", "https://evil.example"), self.ASKED[1])
            assert "access-control-allow-origin" not in ask(port, "/v1/predict", None, other, method="OPTIONS").headers


class TestPages:
    def test_the_document_has_every_rpc_and_every_message_with_its_comment(self, port: int) -> None:
        document = ask(port, "/openapi.json").json
        assert set(document["paths"]) == {f"/v1/{name.lower()}" for name in UNARY}
        [file] = described().file
        schemas = document["components"]["schemas"]
        assert {message.name for message in file.message_type} < set(schemas)
        predict = schemas["PredictRequest"]["properties"]
        assert predict["content_ids"]["description"].startswith("Candidates that the store has.")
        assert predict["raw_contents"]["items"] == {"$ref": "#/components/schemas/RawContent"}
        assert schemas["Predictor"]["properties"]["metrics"]["additionalProperties"]["anyOf"]
        assert schemas["Source"]["enum"][0] == "SOURCE_UNSPECIFIED"

    def test_the_page_brings_all_it_needs(self, port: int) -> None:
        page = ask(port, "/docs")
        assert page.headers["content-type"].startswith("text/html")
        assert not re.findall(rb"(?:src|href)=.?https?:", page.body), "a token typed into it is nobody else's to see"
        assert b"/openapi.json" in page.body
        assert "default-src 'none'" in page.headers["content-security-policy"]
