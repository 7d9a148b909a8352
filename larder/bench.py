"""`larder bench`: loads, and what is shown of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from feature_repo.errors import UnavailableError
from grpc_api.client import Access
from grpc_api.load import plot as plots
from grpc_api.load.outcome import QUANTILES, Outcome, Tally
from grpc_api.load.peak import LEAST, find_peak
from grpc_api.load.plan import Subjects, draw, parse_mix
from grpc_api.load.run import Target, pinned, run, runner
from grpc_api.ports import address as written
from larder.display import Display, print_json
from larder.steps import Workspace

_MOST = 100_000  # contents, and users, that are asked about
_LAGGED = (
    "the generator lags: 1 call in 100 was sent over {:.1f} ms late, which is in the times; give it a core of its own"
)


@dataclass(frozen=True, slots=True)
class Load:
    """The options of `larder bench serve`; `core` and `seed` None: the last, and that of the settings."""

    rate: float
    mix: str
    candidates: int
    k: int
    predictor: str
    users: bool
    seconds: float
    connections: int
    deadline_s: float
    seed: int | None
    core: int | None


def bench(space: Workspace, load: Load, address: str, peak: bool, plot: Path | None, as_json: bool) -> None:
    """Put the load on the server, look for its peak where `peak`, and show the last run that held.

    Raises ConfigurationError, StateError, UnavailableError.
    """
    settings, weights = space.settings, parse_mix(load.mix)
    if plot is not None:
        plots.check(plot)
    server = address or written(settings.host, settings.port)
    target = Target(server, Access.of(settings), load.connections, load.deadline_s)
    about = _subjects(space, load)
    seed = settings.seed if load.seed is None else load.seed

    def measure(rate: float) -> Outcome:
        with space.display.bar(f"{rate:,.0f} calls/s") as advance:
            outcome = loop.run(run(draw(about, weights, rate, load.seconds, seed), target, advance))
        if outcome.lagged:
            space.display.note(_LAGGED.format(1e3 * outcome.lag.quantile(0.99)))
        return outcome

    with pinned(load.core), runner() as loop:
        outcome = _highest(space.display, measure, load) if peak else measure(load.rate)
    if plot is not None:
        plots.write(outcome, f"{load.mix}, {load.candidates} candidates, {outcome.rate:,.0f} calls/s asked", plot)
    if as_json:
        print_json(outcome.as_json())
    else:
        _show(space.display, outcome)


def _highest(display: Display, measure: Callable[[float], Outcome], load: Load) -> Outcome:
    """The run of the highest rate that holds."""
    tried: dict[float, Outcome] = {}

    def holds(rate: float) -> bool:
        tried[rate] = outcome = measure(rate)
        held = outcome.holds(load.deadline_s)
        display.note(f"{rate:,.0f} calls/s: {'held' if held else 'too much'} ({_codes(outcome.whole)})")
        return held

    rate = find_peak(holds, load.rate)
    if not rate:
        raise UnavailableError(
            f"not even {LEAST:g} call a second is answered within {1e3 * load.deadline_s:g} ms: ask for less at once"
        )
    return tried[rate]


def _subjects(space: Workspace, load: Load) -> Subjects:
    contents = [item.content.content_id for item in islice(space.catalog.items(), _MOST)]
    users = [user.user_id for user in islice(space.catalog.users(), _MOST)] if load.users else []
    return Subjects(contents, users, load.predictor, load.candidates, load.k)


def _show(display: Display, outcome: Outcome) -> None:
    columns = ("calls", "answered/s", *(f"p{100 * share:g} ms" for share in QUANTILES), "max ms", "failed")
    rows = [
        (
            name,
            tally.answered / outcome.seconds,
            *(1e3 * time for time in tally.times.quantiles(list(QUANTILES))),
            1e3 * tally.times.largest,
            tally.failed,
        )
        for name, tally in {**outcome.kinds, "all": outcome.whole}.items()
    ]
    display.table(f"{outcome.rate:,.0f} calls/s asked for {outcome.seconds:g} s", columns, rows)
    display.facts("calls by code", outcome.whole.codes)


def _codes(tally: Tally) -> str:
    return ", ".join(f"{code} {count:,}" for code, count in tally.codes.most_common())
