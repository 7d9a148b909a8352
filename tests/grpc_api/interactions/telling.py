"""A sender, for the tests that kill it: `python -m tests.grpc_api.interactions.telling PORT SEED COUNT FILE`.

Sends the events of a seed, some twice, out of order, from the offset that FILE holds; what is acknowledged goes there.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import numpy as np

from feature_repo.contracts import Event, EventType, Interaction
from grpc_api.interactions import sending
from protos.larder.v1 import scoring_pb2_grpc

USERS, CONTENTS = 20, 30
START = datetime(2025, 1, 1, tzinfo=UTC)


def events(seed: int, count: int) -> list[Event]:
    """Events of a seed, a tenth of them twice. Half of the ids are those of the seed before it too, on purpose."""
    rng = np.random.default_rng(seed)
    numbers = rng.permutation(np.concatenate([np.arange(count), rng.integers(count, size=count // 10)]))
    return [_event(number + seed * count // 2) for number in numbers.tolist()]


def _event(number: int) -> Event:
    rng = np.random.default_rng(number)
    user, content, kind, second, value = rng.integers([USERS, CONTENTS, len(EventType), 10 * 86_400, 20]).tolist()
    moment = START + timedelta(seconds=second)
    interaction = Interaction(f"u{user}", f"c{content}", list(EventType)[kind], moment, value / 4)
    return Event(f"e{number}", interaction, f"call-{number}")


def main(port: int, seed: int, count: int, acknowledged: Path) -> None:
    sending.BATCH = 20
    done = int(acknowledged.read_text() or 0) if acknowledged.exists() else 0
    with grpc.insecure_channel(f"127.0.0.1:{port}", options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        stub: Any = scoring_pb2_grpc.ScoringServiceStub(channel)  # type: ignore[no-untyped-call]  # generated

        def open_stream(requests: Any) -> Any:
            return stub.LogInteraction(requests, timeout=sending.STREAM_S)

        for said in sending.send(open_stream, events(seed, count)[done:], "the server", patience_s=60):
            acknowledged.write_text(str(done + said.offset))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))
