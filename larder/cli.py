"""The command `larder`: its commands in the order of the main job, and what becomes of errors."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from feature_repo.errors import LarderError
from larder import (
    commands_ask,
    commands_bench,
    commands_data,
    commands_drift,
    commands_evaluate,
    commands_events,
    commands_experiment,
    commands_explain,
    commands_models,
    commands_report,
    commands_tokens,
)
from larder.exits import INTERRUPTED, exit_code
from larder.session import Json, workspace

app = typer.Typer(
    name="larder",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def _start(
    home: Annotated[Path | None, typer.Option(help="The workspace; default: LARDER_HOME, else .larder.")] = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log what goes on to stderr.")] = False,
) -> None:
    """Vectors once, features offline and online, neighbours and scores in milliseconds.

    The main job, in order: **ingest** → **embed** → **apply** → **materialize** → **index** → **train** →
    **release** → **serve**; then **predict**, **similar** and **recommend** ask the server. `larder demo` does all of
    it; **fetch** gets clips to begin with, **evaluate** compares predictors, **report** says which to use.

    Settings are environment variables, `LARDER_HOME` (the workspace) first of all; the README lists them.
    """
    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING, format="%(levelname)s %(name)s: %(message)s"
    )
    if home is not None:
        os.environ["LARDER_HOME"] = str(home)


for _command in (
    commands_data.fetch,
    commands_data.ingest,
    commands_data.embed,
    commands_data.apply,
    commands_data.materialize,
    commands_events.compact,
    commands_data.index,
    commands_models.train,
    commands_evaluate.evaluate,
    commands_explain.explain,
    commands_report.report,
    commands_drift.drift,
    commands_models.release,
    commands_models.serve,
    commands_models.predict,
    commands_ask.similar,
    commands_ask.recommend,
    commands_ask.describe,
    commands_ask.health,
    commands_events.log,
):
    app.command()(_command)
app.add_typer(commands_tokens.app)
app.add_typer(commands_experiment.app)
app.add_typer(commands_bench.app)


@app.command()
def status(as_json: Json = False) -> None:
    """Say how the workspace stands: contents, vectors made and failed (with reasons), indexes, models, releases.

    Example: `larder status --json`
    """
    with workspace() as space:
        from larder import show
        from larder.status import read_status

        show.status(space.display, read_status(space.settings, space.catalog), as_json)


@app.command()
def demo(
    dataset: Annotated[str, typer.Argument(help="synthetic, movielens, pixelrec or microlens")] = "synthetic",
    path: Annotated[Path | None, typer.Argument(help="Folder of the dataset; synthetic has none.")] = None,
    contents: Annotated[int, typer.Option(help="synthetic: how many contents")] = 2000,
    users: Annotated[int, typer.Option(help="synthetic: how many users")] = 500,
    seed: Annotated[int | None, typer.Option(help="Seed of world, split and model; default: LARDER_SEED.")] = None,
    report: Annotated[Path, typer.Option(help="Where the report goes.")] = Path("report.html"),
    calls: Annotated[int, typer.Option(help="Timed calls of each kind.", min=1)] = 300,
) -> None:
    """Run every step, ask the server it starts, and write a report. What is fresh is not done again.

    It works in a workspace of its own, `<workspace>/demo-<dataset>`, and says how to go on there by hand.

    Example: `larder demo movielens data/ml-100k`
    """
    with workspace(sub=f"demo-{dataset}") as space:
        from larder.demo import DemoOptions, run

        chosen = space.settings.seed if seed is None else seed
        run(space, DemoOptions(dataset, path, contents, users, chosen, report, calls))


def main(arguments: list[str] | None = None) -> None:
    """Run a command line; errors become one line on stderr and the exit code of their kind."""
    try:
        code: Any = app(arguments, standalone_mode=False)
    except LarderError as error:
        sys.stderr.write(f"larder: {error}\n")
        code = exit_code(error)
    except typer.Exit as stop:
        code = stop.exit_code
    except (KeyboardInterrupt, typer.Abort):
        sys.stderr.write("larder: interrupted; run the same command again to go on\n")
        code = INTERRUPTED
    except Exception as error:
        show = getattr(error, "show", None)
        if show is None:
            raise
        show()
        code = getattr(error, "exit_code", 2)
    sys.exit(code if isinstance(code, int) else 0)
