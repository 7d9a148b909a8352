"""Commands for releases side by side. Each imports what it needs when it runs, so that help is instant."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

import typer

from feature_repo.contracts import EventType
from feature_repo.errors import StateError
from larder.session import Json, workspace

app = typer.Typer(
    name="experiment",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="""Serve releases side by side, each to its share of the users, and see which does better.

    **start** → `kill -HUP` the server → **report**, as often as you like → **stop** → `kill -HUP`. A user always gets
    the same arm; answers name it, and what was answered is kept in `exposures` in the workspace.

    Example: `larder experiment start depth --arm control=current:0.5 --arm new=4f0c2a9be1d37c55:0.5`
    """,
)


@app.command()
def start(
    name: Annotated[str, typer.Argument(help="A name that was not used before.")],
    arms: Annotated[
        list[str],
        typer.Option("--arm", help="NAME=VERSION:WEIGHT; `current` is the release in use; repeat for each arm."),
    ],
    as_json: Json = False,
) -> None:
    """Start an experiment. The first arm is what the others are compared with; weights need not sum to 1.

    The arms must have the same predictors, since a caller asks for one by name. Running servers take the experiment
    at SIGHUP.

    Example: `larder experiment start depth --arm control=current:0.5 --arm new=4f0c2a9be1d37c55:0.5`
    """
    with workspace() as space:
        from larder import show_releases as show
        from predictors import experiments, shelf

        settings = space.settings
        planned = experiments.arms_of([arm.replace("=current:", f"={shelf.current(settings)}:") for arm in arms])
        predictors = {arm.name: set(shelf.read_manifest(settings, arm.release).predictors) for arm in planned}
        if any(names != predictors[planned[0].name] for names in predictors.values()):
            said = "; ".join(f"{arm}: {', '.join(sorted(names))}" for arm, names in predictors.items())
            raise StateError(f"the arms do not have the same predictors ({said}): release them with the same")
        show.experiments(space.display, [experiments.start(settings, name, planned)], as_json)


@app.command()
def stop(as_json: Json = False) -> None:
    """Stop the experiment that runs: from the next SIGHUP on the release in use answers everyone.

    To keep an arm, put its release in use with `larder release --to VERSION`.

    Example: `larder experiment stop`
    """
    with workspace() as space:
        from larder import show_releases as show
        from predictors import experiments

        show.experiments(space.display, [experiments.stop(space.settings)], as_json)


@app.command("show")
def show_all(as_json: Json = False) -> None:
    """Show the experiment that runs and those before it.

    Example: `larder experiment show`
    """
    with workspace() as space:
        from larder import show_releases as show
        from predictors import experiments

        show.experiments(space.display, experiments.every(space.settings), as_json)


@app.command()
def report(
    name: Annotated[str, typer.Argument(help="Which experiment; default: the newest.")] = "",
    events: Annotated[
        list[EventType] | None, typer.Option("--event", help="What is hoped for; default: like; repeatable.")
    ] = None,
    hours: Annotated[
        float, typer.Option(help="An event without a request id counts so long after its content was shown.", min=0)
    ] = 24,
    as_json: Json = False,
) -> None:
    """Compare the arms by the share of their users who did one of some events after they were shown contents.

    An event belongs to the call that its `request_id` names, else to the last answer that showed its content to its
    user. Each arm is compared with the first by a two-proportion test; p is for one look and one comparison, so
    decide beforehand when to look.

    Example: `larder experiment report depth --event like --event share`
    """
    with workspace() as space:
        from feature_repo import exposures
        from feature_repo.events import EventLog
        from larder import show_releases as show
        from predictors import experiments
        from predictors.evaluation import arms

        settings = space.settings
        found = arms.report(
            experiments.named(settings, name),
            exposures.scan(settings.exposures_dir),
            EventLog(settings.interactions_dir).scan(),
            events or [EventType.LIKE],
            timedelta(hours=hours),
        )
        show.outcomes(space.display, found, as_json)
