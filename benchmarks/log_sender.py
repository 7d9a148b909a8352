"""Events that two senders share, and a sender, which may be killed: it goes on from what was acknowledged.

Usage: python -m benchmarks.log_sender ADDRESS SENDER EVENTS RATE FILE
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import numpy.typing as npt

from feature_repo.contracts import Event, EventType, Interaction
from feature_repo.files import replacing
from grpc_api.client import Scorer
from grpc_api.interactions.sending import BATCH

USERS, CONTENTS = 10_000, 2_000
SENDERS = 2
SEED = 0
TWICE = 0.05  # of a sender's events, sent again by it; as many are sent by the next one too
PATIENCE_S = 3600.0  # that a sender goes on without an answer
START = datetime(2025, 1, 1, tzinfo=UTC)


def events(seed: int, count: int, order: Iterable[int] | None = None) -> Iterator[Event]:
    """So many events of a seed, or those in `order`; sums of stars are exact in floats."""
    rng = np.random.default_rng(seed)
    fields = np.stack([rng.integers(most, size=count) for most in (USERS, CONTENTS, len(EventType), 30 * 86_400, 20)])
    kinds = list(EventType)
    for n in range(count) if order is None else order:
        user, content, kind, second, value = fields[:, n].tolist()
        moment = START + timedelta(seconds=second)
        yield Event(
            event_id(seed, n), Interaction(f"u{user}", f"c{content}", kinds[kind], moment, value / 4), f"call-{n}"
        )


def event_id(seed: int, number: int) -> str:
    """What an event is sent as."""
    return f"{seed}-{number}"


def share(sender: int, count: int) -> npt.NDArray[np.intp]:
    """Which events a sender sends, in no order: its part, some of it twice, and some of the next sender's."""
    rng = np.random.default_rng(sender)
    own, others = (np.arange(part % SENDERS, count, SENDERS) for part in (sender, sender + 1))
    again = [rng.choice(part, round(TWICE * len(part))) for part in (own, others)]
    return rng.permutation(np.concatenate([own, *again]))


def send(address: str, sender: int, count: int, rate: float, acknowledged: Path) -> None:
    """Send a sender's share of so many events, from the offset that the file holds on."""
    done = int(acknowledged.read_text()) if acknowledged.exists() else 0

    def note(offset: int) -> None:
        with replacing(acknowledged, durable=False) as beside:
            beside.write_text(str(done + offset))

    with Scorer(address) as scorer:
        sent = events(SEED, count, share(sender, count)[done:].tolist())
        scorer.log(paced(sent, rate / SENDERS), patience_s=PATIENCE_S, told=lambda said: note(said.offset))


def paced(sent: Iterable[Event], rate: float) -> Iterator[Event]:
    """So many a second, a message at a time; as fast as they are taken where `rate` is 0."""
    start = time.monotonic()
    for number, event in enumerate(sent):
        if rate and not number % BATCH:
            time.sleep(max(0.0, start + number / rate - time.monotonic()))
        yield event


if __name__ == "__main__":
    send(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]), Path(sys.argv[5]))
