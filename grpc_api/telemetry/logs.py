"""The log: a line for a call, and lines as JSON on request. Neither ever holds a secret or what a request contains."""

from __future__ import annotations

import json
import logging
import random
from datetime import UTC, datetime
from typing import Any

import grpc

from grpc_api.telemetry.record import Record

log = logging.getLogger(__name__)

_MANY = (grpc.StatusCode.OK, grpc.StatusCode.RESOURCE_EXHAUSTED)
"""Codes of which a share of the lines is enough: under too much load, a line for each refusal would add to it."""


class CallLog:
    """A line for each call that failed, and for a share of the others."""

    def __init__(self, share: float) -> None:
        self._share = share

    def tell(self, record: Record) -> None:
        """A call is over."""
        if not log.isEnabledFor(logging.INFO) or (record.code in _MANY and random.random() >= self._share):
            return
        call, milliseconds = record.call, round(1e3 * record.seconds, 3)
        said = {
            "request_id": call.request_id,
            "caller": call.caller,
            "method": call.method,
            "code": record.code.name,
            "ms": milliseconds,
            "stages_ms": record.stages_ms,
            "candidates": record.candidates,
            "release": record.release,
            "variant": record.variant,
        }
        log.info("%s %s %.1f ms", call.method, record.code.name, milliseconds, extra={"fields": said})

    def turned_away(self, method: str, request_id: str, caller: str, code: grpc.StatusCode) -> None:
        """A call ended that was not worked on."""
        said = {"request_id": request_id, "caller": caller, "method": method, "code": code.name}
        log.info("%s %s", method, code.name, extra={"fields": said})


class JsonLines(logging.Formatter):
    """One JSON object a line: `time`, `level`, `logger`, `message`, the record's `fields`, and what was raised."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        said: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            said["raised"] = self.formatException(record.exc_info)
        return json.dumps(said, ensure_ascii=False)


def log_as_json() -> None:
    """From here on this process logs JSON, calls too."""
    for handler in logging.getLogger().handlers:
        handler.setFormatter(JsonLines())
    log.setLevel(logging.INFO)
