"""Metrics for Prometheus. Each process has its own and its own port, so nothing is shared on the way of a call.

Only the event loop counts, so no count needs a lock. The counters of `prometheus_client` have one; worse, Feast makes
them write to mapped files, by an environment variable that it sets when it is imported.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from prometheus_client import CollectorRegistry, ProcessCollector, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from feature_repo.errors import UnavailableError
from feature_repo.settings import Settings
from grpc_api.lane import Lane
from grpc_api.ports import address
from grpc_api.rpcs import ROLES
from grpc_api.telemetry.record import Record
from predictors.loaded import LoadedRelease

SECONDS = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
STAGE_SECONDS = (0.00005, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.5)
OTHER = "other"
_PREPARED = ("predictor", "version", "origin")
_NAMES = {path: path.rpartition("/")[2] for path in ROLES}

Labels = tuple[str, ...]


class Histogram:
    """How many values lie up to each of some bounds and above the last, and their sum."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        """One more value."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def add_to(self, family: HistogramMetricFamily, labels: Labels) -> None:
        """Show it under these labels."""
        names = (*map(str, self._bounds), "+Inf")
        family.add_metric(labels, list(zip(names, accumulate(self._counts), strict=True)), self._sum)


@dataclass(frozen=True, slots=True)
class Watched:
    """What is looked at when the metrics are read, and not before: it costs calls nothing.

    `release` gives the one that answers, `lanes` those there are, `events` are those of LogInteraction by their
    outcome, `exposures_dropped` gives how many answers of an experiment were not written down.
    """

    release: Callable[[], LoadedRelease]
    lanes: Callable[[], Sequence[Lane]]
    events: Mapping[str, int]
    exposures_dropped: Callable[[], int]


class Metrics(Collector):
    """The metrics of a server. All but `collect` belong to its event loop."""

    def __init__(self, watched: Watched) -> None:
        self._watched = watched
        self._calls: Counter[Labels] = Counter()
        self._seconds: defaultdict[Labels, Histogram] = defaultdict(lambda: Histogram(SECONDS))
        self._stages: defaultdict[Labels, Histogram] = defaultdict(lambda: Histogram(STAGE_SECONDS))
        self._candidates: Counter[Labels] = Counter()
        self._missing: Counter[Labels] = Counter()
        self.swaps = 0
        self.releases_refused = 0
        self.samples_dropped = 0

    def tell(self, record: Record) -> None:
        """A call is over."""
        key = record.rpc, record.code.name
        self._calls[key] += 1
        self._seconds[key].observe(record.seconds)
        for name, start, end in record.stages:
            self._stages[record.rpc, name].observe(end - start)
        if record.candidates:
            self._candidates["hit",] += record.candidates - record.unknown
            self._candidates["miss",] += record.unknown
        for embedding, rows in record.missing.items():
            self._missing[embedding,] += rows

    def count(self, path: str, code: str) -> None:
        """A call ended that was not worked on: it was turned away, or it was a stream of events."""
        self._calls[_NAMES.get(path, OTHER), code] += 1

    def collect(self) -> Iterator[Metric]:
        """Everything, as it is now."""
        watched, lanes = self._watched, self._watched.lanes()
        yield _histograms("call", "From when a call was received to its answer", ("rpc", "code"), self._seconds)
        yield _histograms("stage", "What a stage of a call took", ("rpc", "stage"), self._stages)
        for name, meaning, labels, counts in (
            ("calls", "Calls that ended", ("rpc", "code"), self._calls),
            ("candidates", "Contents to be scored, by whether the store had them", ("store",), self._candidates),
            ("missing_features", "Scored contents that lacked an embedding", ("embedding",), self._missing),
            ("shed_calls", "Calls that a lane did not take", ("lane", "reason"), _shed(lanes)),
            ("events", "Events of LogInteraction", ("outcome",), {(name,): n for name, n in watched.events.items()}),
            ("swaps", "Releases that were put in use", (), {(): self.swaps}),
            ("releases_refused", "Releases that could not be put in use", (), {(): self.releases_refused}),
            ("samples_dropped", "Sampled calls that were not kept", (), {(): self.samples_dropped}),
            (
                "exposures_dropped",
                "Answers of an experiment that were not written down",
                (),
                {(): watched.exposures_dropped()},
            ),
            ("prepared_contents", "Contents whose numbers a predictor needed", _PREPARED, _prepared(watched.release())),
        ):
            yield _filled(CounterMetricFamily(f"larder_{name}", f"{meaning}.", labels=labels), counts)
        waiting = GaugeMetricFamily("larder_waiting_calls", "Calls that wait for a lane.", labels=("lane",))
        yield _filled(waiting, {(lane.name,): lane.waiting for lane in lanes})
        yield from _info(watched.release())


def _histograms(name: str, meaning: str, labels: Labels, histograms: Mapping[Labels, Histogram]) -> Metric:
    family = HistogramMetricFamily(f"larder_{name}_seconds", f"{meaning}.", labels=labels)
    for key, histogram in list(histograms.items()):  # the event loop may add one meanwhile
        histogram.add_to(family, key)
    return family


def _filled(family: CounterMetricFamily | GaugeMetricFamily, counts: Mapping[Any, float]) -> Metric:
    for key, count in list(counts.items()):
        family.add_metric(key, count)
    return family


def _shed(lanes: Iterable[Lane]) -> dict[Labels, int]:
    return {(lane.name, reason): calls for lane in lanes for reason, calls in list(lane.shed.items())}


def _prepared(release: LoadedRelease) -> Mapping[Labels, int]:
    """Where predictors had the numbers of contents from, over the arms that serve them."""
    found: Counter[Labels] = Counter()
    for one in release.every:
        for name, model in one.models.items():
            if model.prepared is not None:
                for origin, contents in list(model.prepared.found.items()):
                    found[name, model.predictor.version, origin] += contents
    return found


def _info(release: LoadedRelease) -> Iterator[Metric]:
    info = GaugeMetricFamily("larder_release_info", "1 for each release that answers.", labels=("release",))
    yield _filled(info, {(one.version,): 1 for one in release.every})
    models = {(name, model.predictor.version): 1 for one in release.every for name, model in one.models.items()}
    labels = ("predictor", "version")
    yield _filled(GaugeMetricFamily("larder_predictor_info", "1 for each predictor of them.", labels=labels), models)


class Exposition:
    """`/metrics` over HTTP on a thread of its own. Raises UnavailableError where the address is taken."""

    def __init__(self, metrics: Metrics, settings: Settings) -> None:
        registry = CollectorRegistry()
        registry.register(metrics)
        ProcessCollector(registry=registry)
        host, port = settings.metrics_host, settings.metrics_port or 0
        try:
            self._server, self._thread = start_http_server(port, host, registry)
        except OSError as error:
            raise UnavailableError(
                f"cannot listen on {address(host, port)} for metrics: stop what listens there, or set "
                "LARDER_METRICS_PORT (0: any free port) or LARDER_METRICS_HOST"
            ) from error
        self.port = self._server.server_port

    def close(self) -> None:
        """Answer no more."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
