"""The gateway's pages: `POST /v1/<rpc>` for each request with one answer, health, and what OpenAPI says of them."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Sequence
from functools import partial
from hashlib import sha256
from importlib.resources import files

from fastapi import FastAPI, Request, Response
from fastapi.middleware.cors import CORSMiddleware
from google.rpc import code_pb2, status_pb2
from starlette.exceptions import HTTPException

from grpc_api.calls import CALLER, REQUEST_ID
from grpc_api.gateway.calls import TIMEOUT, Answerer
from grpc_api.gateway.openapi import openapi, path_of
from grpc_api.gateway.transcode import dumped
from grpc_api.rpcs import UNARY
from grpc_api.security.gate import AUTHORIZATION


def make_app(answerer: Answerer, ready: Callable[[], bool], origins: Sequence[str]) -> FastAPI:
    """The application. `ready` says whether the server answers; pages of `origins` may call it from a browser."""
    app = FastAPI(title="Larder", docs_url=None, redoc_url=None)
    document = openapi(UNARY.values())
    app.openapi = lambda: document  # type: ignore[method-assign]  # FastAPI's way to give one's own
    for rpc in UNARY.values():
        app.add_api_route(path_of(rpc), partial(answerer.answer, rpc), methods=["POST"], name=rpc.name)
    app.add_route("/docs", lambda _: _page())
    app.add_api_route("/healthz", _alive, methods=["GET"])
    app.add_api_route("/readyz", partial(_ready, ready), methods=["GET"])
    app.add_exception_handler(HTTPException, _no_such_page)
    if origins:
        headers = ["content-type", AUTHORIZATION, CALLER, REQUEST_ID, TIMEOUT]
        exposed = [REQUEST_ID, "retry-after"]
        app.add_middleware(
            CORSMiddleware, allow_origins=origins, allow_methods=["POST"], allow_headers=headers, expose_headers=exposed
        )
    return app


def _page() -> Response:
    """The page for people. It may run its own script and call its own server, and no more: tokens are typed into it."""
    page = files("grpc_api.gateway").joinpath("page.html").read_bytes()
    script = page.partition(b"<script>")[2].partition(b"</script>")[0]
    digest = b64encode(sha256(script).digest()).decode()
    policy = f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; connect-src 'self'"
    return Response(page, headers={"content-security-policy": policy}, media_type="text/html")


async def _alive() -> Response:
    return Response("alive\n", media_type="text/plain")


async def _ready(ready: Callable[[], bool]) -> Response:
    serves = ready()
    return Response("ready\n" if serves else "not ready\n", 200 if serves else 503, media_type="text/plain")


async def _no_such_page(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = code_pb2.UNIMPLEMENTED if error.status_code == 405 else code_pb2.NOT_FOUND
    status = status_pb2.Status(code=code, message=f"{error.detail}: see /docs for what there is")
    return Response(dumped(status), error.status_code, error.headers, "application/json")
