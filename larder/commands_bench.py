"""Commands that measure. Each imports what it needs when it runs, so that help is instant."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from larder.commands_models import Address
from larder.session import Json, workspace

app = typer.Typer(
    name="bench",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="""Measure what a server takes.

    Example: `larder bench serve --rate 200 --duration 30`
    """,
)


@app.callback()
def _bench() -> None:
    """A group, although it has one command."""


@app.command()
def serve(
    rate: Annotated[float, typer.Option(help="Calls a second, on average.", min=0.1)] = 200.0,
    mix: Annotated[
        str, typer.Option(help="Kinds of calls and their weights: predict, similar, recommend, explain, describe.")
    ] = "predict=0.8,similar=0.2",
    candidates: Annotated[int, typer.Option(help="Contents of a Predict, pool of a Recommend.", min=1)] = 100,
    k: Annotated[int, typer.Option("-k", help="Neighbours of a Similar, contents of a Recommend.", min=1)] = 10,
    predictor: Annotated[str, typer.Option(help="Which predictor scores.")] = "popularity",
    users: Annotated[bool, typer.Option(help="Ask for users of the catalog, or for no one in particular.")] = True,
    duration: Annotated[
        float, typer.Option(help="Seconds; of each try, where the peak is looked for.", min=0.1)
    ] = 30.0,
    connections: Annotated[int, typer.Option(help="Connections; several workers need several each.", min=1)] = 4,
    deadline_ms: Annotated[float, typer.Option(help="Milliseconds that a caller waits for an answer.", min=1)] = 1000.0,
    find_peak: Annotated[
        bool, typer.Option("--find-peak", help="Look for the highest rate whose p99 is under the deadline.")
    ] = False,
    core: Annotated[int | None, typer.Option(help="Core that this runs on; default: the last.", min=0)] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of times and requests; default: LARDER_SEED.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw it into FILE.png, .svg or .pdf.")] = None,
    address: Address = "",
    as_json: Json = False,
) -> None:
    """Ask a running server at random times and say how long answers take, by percentile.

    Times are from when a call was due, whatever became of the calls before it, so that a server that stalls is seen to.
    What is asked is about the workspace's contents and users. The generator keeps to one core: leave it to it.

    Example: `larder bench serve --rate 200 --mix predict=0.8,similar=0.2 --candidates 100 --plot load.svg`

    Example: `larder bench serve --find-peak --deadline-ms 50 --duration 10`
    """
    with workspace() as space:
        from larder.bench import Load, bench

        load = Load(rate, mix, candidates, k, predictor, users, duration, connections, deadline_ms / 1e3, seed, core)
        bench(space, load, address, find_peak, plot, as_json)
