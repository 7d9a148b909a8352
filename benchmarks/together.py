"""What working together on calls that wait saves: the answers of 8 Predict calls as one piece of work and one by one.

In the process, by turns, in milliseconds of its CPU: each call has its own user and candidates of its own.

Usage: LARDER_HOME=<workspace with a release> python -m benchmarks.together [--calls 8] [--candidates 10] [--repeats 50]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from itertools import islice

import numpy as np

from benchmarks.harness import Row, machine, measure, publish
from benchmarks.serve import busiest
from feature_repo.catalog import Catalog
from feature_repo.settings import load_settings
from feature_repo.store import Store
from grpc_api.calls import Call
from grpc_api.messages.describe import Limits
from grpc_api.service import ScoringService
from grpc_api.wire import predict
from predictors.release import load
from predictors.torch_fit import cpu_threads
from protos.larder.v1 import scoring_pb2 as pb

AT_MOST = 0.5  # a call of several costs at most half of one alone


def requests(predictor: str, contents: list[str], callers: list[str], candidates: int) -> list[pb.PredictRequest]:
    """A call for each user, whose candidates are drawn from the contents."""
    drawn = np.random.default_rng(0)
    return [
        pb.PredictRequest(
            predictors=[predictor],
            content_ids=[contents[row] for row in drawn.permutation(len(contents))[:candidates]],
            user_id=user,
        )
        for user in callers
    ]


def cpu_ms(work: Callable[[], object]) -> Callable[[], float]:
    """Milliseconds of the process's CPU that the work takes."""

    def timed() -> float:
        start = time.process_time()
        work()
        return 1e3 * (time.process_time() - start)

    return timed


def one_by_one(service: ScoringService, asked: list[pb.PredictRequest], calls: list[Call]) -> None:
    """Answer each alone."""
    for request, call in zip(asked, calls, strict=True):
        predict.answer(service, request, call)


def claims(calls: int, candidates: int, repeats: int) -> list[Row]:
    """One for each predictor of the release."""
    settings, rows = load_settings(), []
    with Catalog(settings.catalog) as catalog, cpu_threads(1):
        release = load(settings, catalog, Store(settings))
        service = ScoringService(release, Limits())
        contents = [item.content.content_id for item in islice(catalog.items(), 100 * candidates)]
        several = [Call("Predict", f"r{number}") for number in range(calls)]
        for name in release.models:
            asked = requests(name, contents, busiest(calls), candidates)
            together = cpu_ms(partial(predict.answer_together, service, asked, several))
            alone = cpu_ms(partial(one_by_one, service, asked, several))
            claim = f"{name}: {calls} calls of {candidates} worked on together, over one by one"
            rows.append(Row(claim, *measure(together, alone, repeats), AT_MOST, "ms", repeats, machine(), most=True))
    return rows


def main() -> None:
    """Measure and publish."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=8)
    parser.add_argument("--candidates", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=50)
    given = parser.parse_args()
    publish("together", claims(given.calls, given.candidates, given.repeats))


if __name__ == "__main__":
    main()
