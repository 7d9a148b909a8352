"""When a call is tried again, and after how long: exponential back-off with full jitter, within the call's deadline.

Only what the server did not take is tried again: UNAVAILABLE, and RESOURCE_EXHAUSTED with a `RetryInfo`, whose delay
is waited out first.
"""

from __future__ import annotations

import random
import time

import grpc

from feature_repo.errors import OverloadedError
from grpc_api.errors import from_status

MOST_TRIES = 4
FIRST_S, FACTOR, LONGEST_S = 0.05, 2.0, 1.0


class Budget:
    """Keeps retries a small share of a client's calls, so that they do not make an outage worse.

    It is the throttling of gRPC's retry design (proposal A6): a failure takes a token, an answer gives a tenth back,
    and with half of the tokens or fewer nothing is tried again. Threads may lose an update to each other; it does
    not matter.
    """

    MOST, GIVEN_BACK = 20.0, 0.1

    def __init__(self) -> None:
        self._tokens = self.MOST

    def answered(self) -> None:
        """A call was answered."""
        self._tokens = min(self.MOST, self._tokens + self.GIVEN_BACK)

    def failed(self) -> bool:
        """A call failed in a way that could be tried again; whether it may be."""
        self._tokens = max(0.0, self._tokens - 1)
        return self._tokens > self.MOST / 2


class Tries:
    """The tries of one call, which ends at `until`, seconds of `time.monotonic`."""

    def __init__(self, address: str, until: float, budget: Budget) -> None:
        self._address = address
        self._until = until
        self._budget = budget
        self._failed = 0

    @property
    def remaining_s(self) -> float:
        """Seconds until the deadline; 0 after it."""
        return max(0.0, self._until - time.monotonic())

    def pause_after(self, error: grpc.RpcError) -> float:
        """Seconds until the next try. Raises the kind of the error where there is none."""
        kind = from_status(error, self._address)
        if error.code() is not grpc.StatusCode.UNAVAILABLE and not isinstance(kind, OverloadedError):
            raise kind from error
        self._failed += 1
        pause = random.uniform(0, min(LONGEST_S, FIRST_S * FACTOR ** (self._failed - 1)))
        if isinstance(kind, OverloadedError):
            pause += kind.retry_s
        if not self._budget.failed() or self._failed == MOST_TRIES or pause >= self.remaining_s:
            raise kind from error
        return pause
