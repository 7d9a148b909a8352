"""What a bare call costs that scores 500 candidates: columns and prepared contents in memory, nothing read or sent.

Each predictor of the release, for the user of the longest history, on one thread. Beside it stands what the same sizes
cost: for the net its matrix products alone, for trees the two walks of CatBoost.

Usage: LARDER_HOME=<workspace with a release> python -m benchmarks.score [--candidates 500] [--repeats 50]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from itertools import islice
from statistics import median
from typing import Any

import numpy as np
import torch

from benchmarks.harness import Row, machine, publish
from benchmarks.serve import busiest
from benchmarks.serve_parts import Parts
from feature_repo.catalog import Catalog
from feature_repo.schema import RECENT
from feature_repo.settings import load_settings
from feature_repo.store import Store
from predictors.interest.predictor import Interest
from predictors.popularity.predictor import Popularity
from predictors.release import load
from predictors.torch_fit import cpu_threads

BARS_MS = {"interest": 1.0, "popularity": 0.8}
IN_A_ROW = 10

Call = Callable[[], object]


def products(predictor: Interest, candidates: int) -> Call:
    """The products of the net's matrices that hang on the candidates, over numbers drawn at random."""
    config = predictor.net.config
    features, both = predictor.net.out.in_features - config.hidden, predictor.net.out.in_features
    heads, width, rank = config.heads, config.width, config.cross_rank
    ups, downs = [((features, rank), (rank,))] * config.cross_layers, [((rank, features), (features,))]
    shapes = [
        ((heads * RECENT, width), (width,)),
        ((heads, width // heads + 2, RECENT), (heads, RECENT)),
        ((width, width), (width,)),
        ((rank + config.hidden + config.outputs, features), (features,)),
        ((config.outputs, both), (both,)),
        *ups,
        *downs * (config.cross_layers - 1),
    ]
    drawn = torch.Generator().manual_seed(0)
    pairs = [
        (torch.randn(left, generator=drawn), torch.randn((*right, candidates), generator=drawn))
        for left, right in shapes
    ]
    return lambda: [left @ right for left, right in pairs]


def walks(predictor: Popularity, contents: Any) -> Call:
    """Both models of trees over a pool that is there."""
    from catboost import Pool

    pool = Pool(np.asfortranarray(contents))
    return lambda: [model.predict(pool, thread_count=1) for model in predictor.models.values()]


def in_turns(calls: list[Call], repeats: int) -> list[float]:
    """Median milliseconds of each, some calls in a row and then the next one's turn; a turn's first does not count."""
    taken: list[list[float]] = [[] for _ in calls]
    with cpu_threads(1), torch.inference_mode():
        for _ in range(repeats):
            for call, found in zip(calls, taken, strict=True):
                call()
                for _ in range(IN_A_ROW):
                    start = time.perf_counter()
                    call()
                    found.append(1e3 * (time.perf_counter() - start))
    return [median(found) for found in taken]


def measure(candidates: int, repeats: int) -> list[Row]:
    """The claims."""
    settings, rows = load_settings(), []
    with Catalog(settings.catalog) as catalog:
        release = load(settings, catalog, Store(settings))
        ids = [item.content.content_id for item in islice(catalog.items(), candidates)]
        for name, model in release.models.items():
            said = {"predictor": name, "ids": ids, "user": busiest()[0]}
            whole = Parts(release).work("Model", said)
            predictor: Any = model.predictor
            if isinstance(predictor, Interest):
                floor, what = products(predictor, len(ids)), "its matrix products"
            elif isinstance(predictor, Popularity):
                columns = release.store.read(predictor.service, ids, None, wanted=model.wanted)
                prepared: Any = model.prepared
                floor, what = walks(predictor, prepared(columns)), "CatBoost's walks of its trees"
            else:
                continue
            ours, least = in_turns([whole, floor], repeats)
            bar = BARS_MS[name]
            rows += [
                Row(
                    f"{name}: a bare call of {len(ids)}, against {bar} ms",
                    ours,
                    bar,
                    1.0,
                    "ms",
                    repeats,
                    machine(),
                    True,
                ),
                Row(f"{name}: over {what}", ours, least, float("inf"), "ms", repeats, machine(), True),
            ]
    return rows


def main() -> None:
    """Measure and publish."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--candidates", type=int, default=500)
    parser.add_argument("--repeats", type=int, default=50)
    given = parser.parse_args()
    publish("score", measure(given.candidates, given.repeats))


if __name__ == "__main__":
    main()
