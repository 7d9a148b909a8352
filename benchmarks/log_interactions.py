"""LogInteraction under kills: every acknowledged event once in the log and in the features, and seen at once.

Two servers share a port, the log and the online store. Two senders send a million events out of order, a tenth of them
twice, by the same sender or by the other; servers and senders are killed with SIGKILL at random and started again.
Beside them one prober sends an event, and from its acknowledgement on asks Predict until the score knows of it. In the
end the log is compared with what was sent, and the features online with the batch's own statistics of the log.

Usage: python -m benchmarks.log_interactions [--events 1000000] [--rate 0] [--kill-every 15] [--home FOLDER]
"""

from __future__ import annotations

import argparse
import logging
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from rich.console import Console

from benchmarks import log_sender as sender
from benchmarks import log_server as server
from benchmarks.harness import Row, machine, publish
from benchmarks.log_faults import wrong
from feature_repo.contracts import Event, EventType, Interaction
from feature_repo.errors import LarderError
from feature_repo.settings import Settings, load_settings
from grpc_api.client import Scorer
from grpc_api.ports import reserved

PROBED = 50  # users of the prober's own
SERVERS = 2
SEEN_MS = 50.0


class Prober:
    """Sends likes one by one; `acknowledged_ms` and `seen_ms` are of each, the second from the first on."""

    def __init__(self, address: str) -> None:
        self.acknowledged_ms: list[float] = []
        self.seen_ms: list[float] = []
        self.events: list[Event] = []
        self._address = address
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._probe)

    def __enter__(self) -> Prober:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _probe(self) -> None:
        with Scorer(self._address) as scorer:
            while not self._over.wait(0.02):
                number = len(self.events)
                interaction = Interaction(f"p{number % PROBED}", "c0", EventType.LIKE, datetime.now(UTC))
                self.events.append(Event(f"probe-{number}", interaction))
                sent = time.perf_counter()
                scorer.log(self.events[-1:], patience_s=sender.PATIENCE_S)
                told = time.perf_counter()
                while not _sees(scorer, interaction.user_id, number // PROBED + 1):
                    continue
                self.acknowledged_ms.append(1e3 * (told - sent))
                self.seen_ms.append(1e3 * (time.perf_counter() - told))


def _answers(address: str) -> bool:
    with Scorer(address) as scorer:
        return scorer.ready()


def _sees(scorer: Scorer, user: str, likes: int) -> bool:
    try:
        return scorer.predict(["c0"], server.SERVICE, user)[0].score >= likes
    except LarderError:  # a server that was killed just now
        return False


class Fleet:
    """Processes that are killed at random and started again."""

    def __init__(self, home: Path, address: str, count: int, rate: float) -> None:
        python = [sys.executable, "-m"]
        self._commands = [[*python, server.__name__, str(home), address.rpartition(":")[2]]] * SERVERS
        self._commands += [
            [*python, sender.__name__, address, str(n), str(count), str(rate), str(home / f"acknowledged-{n}")]
            for n in range(sender.SENDERS)
        ]
        self.processes = [subprocess.Popen(command) for command in self._commands[:SERVERS]]
        self.kills = Counter[str]()

    def send(self) -> None:
        """Start the senders, once the servers answer."""
        self.processes += [subprocess.Popen(command) for command in self._commands[SERVERS:]]

    @property
    def sending(self) -> bool:
        """Whether a sender is not done. Raises SystemExit where a process ended in another way than by a kill."""
        codes = [process.poll() for process in self.processes]
        if any(code is not None for code in codes[:SERVERS]) or any(codes[SERVERS:]):
            raise SystemExit(f"ended unasked: servers {codes[:SERVERS]}, senders {codes[SERVERS:]}")
        return None in codes[SERVERS:]

    def kill_one(self, chance: random.Random) -> None:
        """Kill a process that runs and start it again."""
        number = chance.choice([n for n, process in enumerate(self.processes) if process.poll() is None])
        self.processes[number].kill()
        self.processes[number].wait()
        self.processes[number] = subprocess.Popen(self._commands[number])
        self.kills["servers" if number < SERVERS else "senders"] += 1

    def stop(self) -> None:
        """Kill all."""
        for process in self.processes:
            process.kill()
            process.wait()


@contextmanager
def fleet(home: Path, address: str, count: int, rate: float) -> Iterator[Fleet]:
    """A fleet at work."""
    made = Fleet(home, address, count, rate)
    try:
        yield made
    finally:
        made.stop()


def main(settings: Settings, count: int, rate: float, kill_every: float) -> None:
    """The whole run."""
    server.prepare(settings)
    chance = random.Random(settings.seed)
    with reserved("127.0.0.1", 0) as port, fleet(settings.home, address := f"127.0.0.1:{port}", count, rate) as running:
        while not _answers(address):
            time.sleep(0.2)
        started = time.monotonic()
        running.send()
        with Prober(address) as prober:
            due = started + kill_every
            while running.sending:
                if time.monotonic() >= due:
                    due += chance.uniform(0.5, 1.5) * kill_every
                    running.kill_one(chance)
                time.sleep(0.2)
        seconds = time.monotonic() - started
    ids = {one.interaction.event_id for one in sender.events(server.SEED_BEFORE, server.HISTORY)}
    ids |= {sender.event_id(sender.SEED, n) for n in range(count)} | {one.event_id for one in prober.events}
    faults = wrong(settings, ids, server.SERVICE)
    sent = sum(len(sender.share(n, count)) for n in range(sender.SENDERS)) + len(prober.events)
    acknowledged, seen = (np.percentile(ms, [50, 99]).tolist() for ms in (prober.acknowledged_ms, prober.seen_ms))
    at = f"{sent / seconds:,.0f} events/s"
    kills = " and ".join(f"{many} of {what}" for what, many in sorted(running.kills.items())) or "none"
    Console().print(
        f"{sent:,} events ({count:,} ids) in {seconds:,.0f} s, {at}; kills: {kills}; {faults}; "
        f"{len(prober.events):,} probes: sent to acknowledged p50 {acknowledged[0]:.0f} p99 {acknowledged[1]:.0f} ms, "
        f"acknowledged to seen p50 {seen[0]:.1f} p99 {seen[1]:.1f} ms"
    )
    publish(
        "log_interactions",
        [
            Row(f"{name}; kills: {kills}", amiss, count, 0.0, "of events", 1, machine(), most=True)
            for name, amiss in faults.items()
        ]
        + [
            Row(
                f"acknowledged to seen, p99 at {at}",
                seen[1],
                SEEN_MS,
                1.0,
                "ms",
                len(prober.seen_ms),
                machine(),
                most=True,
            )
        ],
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--events", type=int, default=1_000_000, help="events with an id of their own")
    parser.add_argument("--rate", type=float, default=0.0, help="events a second; 0: as fast as they are taken")
    parser.add_argument("--kill-every", type=float, default=15.0, help="seconds between kills, on average")
    parser.add_argument("--home", type=Path, help="an empty folder; default: one that is removed")
    return parser.parse_args()


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    given = _arguments()
    with tempfile.TemporaryDirectory(prefix="larder-log-") as folder:
        main(load_settings(home=given.home or Path(folder)), given.events, given.rate, given.kill_every)
