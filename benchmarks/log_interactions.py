"""LogInteraction under kills: every acknowledged event once in the log and in the features, and seen at once.

Two servers share a port, the log and the online store; senders stream events out of order, a tenth of them twice;
servers and senders are killed with SIGKILL at random and started again. Beside them one prober sends an event, and
from its acknowledgement on asks Predict until the score knows of it. In the end the log and the features online are
compared with what was sent and with the batch's own statistics of the log.

Usage: python -m benchmarks.log_interactions [--events 1000000] [--kill-every 15] [--home FOLDER]
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
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import MappingProxyType

import numpy as np
from rich.console import Console

from benchmarks.harness import Row, machine, publish
from benchmarks.log_faults import wrong
from feature_repo.catalog import Catalog
from feature_repo.columns import Columns
from feature_repo.contracts import Content, Event, EventType, Interaction, User
from feature_repo.errors import LarderError
from feature_repo.events import EventLog
from feature_repo.facts import read_facts
from feature_repo.recorder import Recorder
from feature_repo.settings import Settings, load_settings
from feature_repo.statistics import write_statistics
from feature_repo.store import Store
from grpc_api.client import Scorer
from grpc_api.ports import reserved
from grpc_api.server import serve
from predictors.base import Scores
from predictors.loaded import Encoder, Encoders, LoadedRelease, Model
from predictors.pins import PredictorPin, ReleaseManifest

USERS, CONTENTS, PROBED = 10_000, 2_000, 50
HISTORY = 20_000  # events that were there before
SERVERS, SENDERS = 2, 2
TWICE = 0.1
SEEN_MS = 50.0
START = datetime(2025, 1, 1, tzinfo=UTC)
SERVICE = "interest"


class Counting:
    """A predictor whose score is how many likes of the user the features know."""

    name = SERVICE
    service = SERVICE
    version = "v1"
    features = ("user_likes",)
    embeddings: Mapping[str, str] = MappingProxyType({})

    def score(self, columns: Columns) -> Scores:
        """The likes, 0 for unknown users."""
        if not columns.rows:
            return Scores(np.empty(0), np.empty((0, 1)), np.empty(0, np.int64))
        likes = np.nan_to_num(columns.numbers("user_likes"))
        return Scores(likes, np.ones((len(likes), 1)), np.zeros(len(likes), np.int64))


def events(seed: int, count: int) -> list[Event]:
    """Events of a sender in no order, some twice; sums of stars are exact in floats."""
    rng = np.random.default_rng(seed)
    fields = [rng.integers(most, size=count) for most in (USERS, CONTENTS, len(EventType), 30 * 86_400, 20)]
    kinds = list(EventType)
    made = [
        Event(f"{seed}-{n}", Interaction(f"u{u}", f"c{c}", kinds[k], START + timedelta(seconds=s), v / 4), f"call-{n}")
        for n, (u, c, k, s, v) in enumerate(zip(*(field.tolist() for field in fields), strict=True))
    ]
    order = rng.permutation(np.concatenate([np.arange(count), rng.integers(count, size=round(TWICE * count))]))
    return [made[n] for n in order.tolist()]


def prepare(settings: Settings) -> None:
    """A workspace with contents, users and a history, online."""
    with Catalog(settings.catalog) as catalog:
        catalog.upsert_contents([Content(f"c{n}", f"Content {n}", START) for n in range(CONTENTS)], "benchmark")
        catalog.upsert_users([User(f"u{n}") for n in range(USERS)])
        list(EventLog(settings.interactions_dir).append(one.interaction for one in events(99, HISTORY)))
        list(write_statistics(settings, catalog))
    store = Store(settings)
    store.apply()
    list(store.materialize())


def run_server(settings: Settings) -> None:
    """Serve a release of the counting predictor until killed."""
    store = Store(settings)
    manifest = ReleaseManifest({}, {}, {SERVICE: PredictorPin("v1", SERVICE)}, {})
    models = {SERVICE: Model(Counting(), {})}
    encoders = Encoders({}, dict[str, Encoder]().__getitem__)
    release = LoadedRelease(manifest, store, models, {}, encoders, read_facts(settings, {}))
    serve(settings, release, open_recorder=lambda: Recorder(settings, store.push))


def run_sender(address: str, seed: int, count: int, acknowledged: Path) -> None:
    """Send the events of a seed from the offset that the file holds on."""
    done = int(acknowledged.read_text() or 0) if acknowledged.exists() else 0
    with Scorer(address) as scorer:
        scorer.log(
            events(seed, count)[done:],
            patience_s=300,
            told=lambda said: acknowledged.write_text(str(done + said.offset)),
        )


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
                scorer.log(self.events[-1:], patience_s=300)
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
        return scorer.predict(["c0"], SERVICE, user)[0].score >= likes
    except LarderError:  # a server that was killed just now
        return False


class Fleet:
    """Processes that are killed at random and started again."""

    def __init__(self, home: Path, address: str, count: int) -> None:
        own = [sys.executable, "-m", "benchmarks.log_interactions", "--home", str(home), "--address", address]
        share = ["--events", str(count // SENDERS)]
        self._commands = [[*own, "--role", "server"]] * SERVERS
        self._commands += [[*own, *share, "--role", "sender", "--seed", str(n)] for n in range(SENDERS)]
        self.processes = [subprocess.Popen(command) for command in self._commands[:SERVERS]]
        self.kills = 0

    def send(self) -> None:
        """Start the senders, once the servers answer."""
        self.processes += [subprocess.Popen(command) for command in self._commands[SERVERS:]]

    @property
    def sending(self) -> bool:
        """Whether a sender is not done."""
        return any(process.poll() is None for process in self.processes[SERVERS:])

    def kill_one(self, chance: random.Random) -> None:
        """Kill a process that runs and start it again."""
        number = chance.choice([n for n, process in enumerate(self.processes) if process.poll() is None])
        self.processes[number].kill()
        self.processes[number].wait()
        self.processes[number] = subprocess.Popen(self._commands[number])
        self.kills += 1

    def stop(self) -> None:
        """Kill all."""
        for process in self.processes:
            process.kill()
            process.wait()


@contextmanager
def fleet(home: Path, address: str, count: int) -> Iterator[Fleet]:
    """A fleet at work."""
    made = Fleet(home, address, count)
    try:
        yield made
    finally:
        made.stop()


def main(settings: Settings, count: int, kill_every: float) -> None:
    """The whole run."""
    prepare(settings)
    chance = random.Random(settings.seed)
    with reserved("127.0.0.1", 0) as port, fleet(settings.home, address := f"127.0.0.1:{port}", count) as running:
        while not _answers(address):
            time.sleep(0.2)
        started = time.monotonic()
        running.send()
        with Prober(address) as prober:
            while running.sending:
                time.sleep(chance.uniform(0.5, 1.5) * kill_every)
                if running.sending:
                    running.kill_one(chance)
        seconds = time.monotonic() - started
    assert all(process.returncode == 0 for process in running.processes[SERVERS:])
    sent = [one for seed in range(SENDERS) for one in events(seed, count // SENDERS)] + prober.events
    history = {one.interaction.event_id for one in events(99, HISTORY)}
    faults = wrong(settings, {one.event_id for one in sent} | history, SERVICE)
    acknowledged, seen = (np.percentile(ms, [50, 99]) for ms in (prober.acknowledged_ms, prober.seen_ms))
    Console().print(
        f"{len(sent):,} events ({count:,} ids) in {seconds:,.0f} s, {len(sent) / seconds:,.0f} a second, "
        f"{running.kills} kills; {faults}; {len(prober.events):,} probes: sent to acknowledged "
        f"p50 {acknowledged[0]:.0f} p99 {acknowledged[1]:.0f} ms, acknowledged to seen p50 {seen[0]:.1f} "
        f"p99 {seen[1]:.1f} ms"
    )
    publish(
        "log_interactions",
        [
            Row(f"{name} after {running.kills} kills", amiss, count, 0.0, "of events", 1, machine(), most=True)
            for name, amiss in faults.items()
        ]
        + [Row("acknowledged to seen, p99", seen[1], SEEN_MS, 1.0, "ms", len(prober.seen_ms), machine(), most=True)],
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--events", type=int, default=1_000_000, help="events with an id of their own")
    parser.add_argument("--kill-every", type=float, default=15.0, help="seconds between kills, on average")
    parser.add_argument("--home", type=Path, help="an empty folder; default: one that is removed")
    parser.add_argument("--role", choices=["main", "server", "sender"], default="main", help=argparse.SUPPRESS)
    parser.add_argument("--address", default="", help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=0, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    given = _arguments()
    if given.role == "server":
        port = int(given.address.rpartition(":")[2])
        run_server(load_settings(home=given.home, port=port, reuse_port=True))
    elif given.role == "sender":
        run_sender(given.address, given.seed, given.events, given.home / f"acknowledged-{given.seed}")
    else:
        with tempfile.TemporaryDirectory(prefix="larder-log-") as folder:
            main(load_settings(home=given.home or Path(folder)), given.events, given.kill_every)
