"""What surrounds every call, outermost first: see `INTERCEPTORS`."""

from __future__ import annotations

import logging
import time
from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import grpc

from grpc_api.errors import to_status

log = logging.getLogger(__name__)

Behaviour = Callable[[Any, grpc.ServicerContext], Any]


class _UnaryInterceptor(grpc.ServerInterceptor):  # type: ignore[type-arg]  # only its stub has parameters
    """Wraps unary calls, which all of Scoring's are; streams (health watches, reflection) pass by."""

    def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], grpc.RpcMethodHandler[Any, Any] | None],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        """The handler with `around` about its behaviour."""
        handler = continuation(handler_call_details)
        if handler is None or handler.unary_unary is None:
            return handler
        inner, method = handler.unary_unary, handler_call_details.method
        return grpc.unary_unary_rpc_method_handler(
            lambda request, context: self.around(inner, method, request, context),
            handler.request_deserializer,
            handler.response_serializer,
        )

    @abstractmethod
    def around(self, inner: Behaviour, method: str, request: Any, context: grpc.ServicerContext) -> Any:
        """Call `inner`; what it returns is the response."""


class LogCalls(_UnaryInterceptor):
    """One line a call: method, status and milliseconds."""

    def around(self, inner: Behaviour, method: str, request: Any, context: grpc.ServicerContext) -> Any:
        """Time the call."""
        start = time.perf_counter()
        try:
            return inner(request, context)
        finally:
            if log.isEnabledFor(logging.INFO):
                code = context.code() or grpc.StatusCode.OK  # type: ignore[attr-defined]  # its stub is older
                log.info("%s %s %.1f ms", method, code.name, 1e3 * (time.perf_counter() - start))


class MapErrors(_UnaryInterceptor):
    """Errors become statuses."""

    def around(self, inner: Behaviour, method: str, request: Any, context: grpc.ServicerContext) -> Any:
        """Abort with the status of whatever is raised."""
        try:
            return inner(request, context)
        except Exception as error:
            context.abort(*to_status(error, method))


INTERCEPTORS: list[grpc.ServerInterceptor[Any, Any]] = [LogCalls(), MapErrors()]
