"""What is known of a call under way, whatever it came in by: gRPC, a stream's message, or HTTP."""

from __future__ import annotations

import random
import re
import time
from contextvars import ContextVar
from dataclasses import dataclass, field

from feature_repo.errors import DeadlineError

REQUEST_ID = "x-request-id"
CALLER = "x-caller"
TRACEPARENT = "traceparent"  # W3C Trace Context
AUTHENTICATED = ContextVar("AUTHENTICATED", default="")  # the caller that a token names; see security/
_NAME = re.compile(r"[\w.:/@-]{1,64}", re.ASCII)


def new_id() -> str:
    """A request id: 16 hex digits."""
    return f"{random.getrandbits(64):016x}"


def told(value: str | bytes | None) -> str:
    """A name that a caller gave in its metadata; empty where it is none that a log may hold."""
    return value if isinstance(value, str) and _NAME.fullmatch(value) else ""


@dataclass(slots=True)
class Call:
    """One call: `caller` is whose share of the server it takes, `deadline` in seconds of `time.monotonic`.

    `gone` is set by the side that hears the caller hang up; whoever works on the call looks at it through `check`.
    `traceparent` is the caller's span, where it said one. `begun` is set once a dispatcher has taken the call.
    """

    method: str
    request_id: str = field(default_factory=new_id)
    caller: str = ""
    deadline: float = float("inf")
    gone: bool = False
    traceparent: str = ""
    begun: bool = False

    @property
    def remaining_s(self) -> float:
        """Seconds until the deadline, below 0 after it."""
        return self.deadline - time.monotonic()

    def check(self) -> None:
        """Raise DeadlineError where nobody waits for the answer any more."""
        if self.gone:
            raise DeadlineError("the caller hung up")
        if self.remaining_s <= 0:
            raise DeadlineError("the deadline passed before there was an answer: allow more time, or ask for less")
