"""The command `larder`. Each command imports what it needs when it runs, so that help is instant."""

from __future__ import annotations

import logging
import os
import sys
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from feature_repo.errors import LarderError, StateError
from larder.exits import INTERRUPTED, exit_code
from larder.session import read_file, utc, workspace

app = typer.Typer(
    name="larder",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)

Json = Annotated[bool, typer.Option("--json", help="Print the result as one JSON document.")]
Address = Annotated[str, typer.Option(help="Server to ask, HOST:PORT; default: where `larder serve` binds.")]


@app.callback()
def _start(
    home: Annotated[Path | None, typer.Option(help="The workspace; default: LARDER_HOME, else .larder.")] = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log what goes on to stderr.")] = False,
) -> None:
    """Vectors once, features offline and online, neighbours and scores in milliseconds.

    The main job, in order: **ingest** → **embed** → **apply** → **materialize** → **index** → **train** →
    **release** → **serve**; then **predict** and **similar** ask the server. `larder demo` does all of it.

    Settings are environment variables, `LARDER_HOME` (the workspace) first of all; the README lists them.
    """
    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING, format="%(levelname)s %(name)s: %(message)s"
    )
    if home is not None:
        os.environ["LARDER_HOME"] = str(home)


@app.command()
def ingest(
    dataset: Annotated[str, typer.Argument(help="movielens, pixelrec, microlens or synthetic")],
    path: Annotated[Path | None, typer.Argument(help="Folder of the dataset; synthetic has none.")] = None,
    contents: Annotated[int | None, typer.Option(help="synthetic: how many contents")] = None,
    users: Annotated[int | None, typer.Option(help="synthetic: how many users")] = None,
    seed: Annotated[int | None, typer.Option(help="synthetic: seed of the world")] = None,
    as_json: Json = False,
) -> None:
    """Read a dataset into the catalog, the event log and the feature files.

    Rows that cannot be used are counted and listed with file and line; ingesting again adds nothing twice.

    Example: `larder ingest movielens data/ml-100k`
    """
    with workspace() as space:
        from larder import show, steps

        report = steps.ingest(space, dataset, path, contents=contents, users=users, seed=seed)
        show.ingest(space.display, report, as_json)


@app.command()
def embed(
    names: Annotated[list[str] | None, typer.Argument(help="Embedders; default: LARDER_EMBEDDINGS.")] = None,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Try broken media once more.")] = False,
    as_json: Json = False,
) -> None:
    """Turn contents into vectors; only what is new or changed is encoded.

    Broken media is skipped and listed with its reason. A run that was killed goes on where it was.

    Example: `larder embed efficientnet_lite0 minilm`
    """
    with workspace() as space:
        from larder import show, steps

        reports = [steps.embed(space, name, retry_failed) for name in names or space.settings.embeddings]
        show.embed(space.display, reports, as_json)


@app.command()
def apply(as_json: Json = False) -> None:
    """Bring Feast's registry in line with the definitions and the embeddings that have been run.

    The same as `feast -c feature_repo apply`.

    Example: `larder apply`
    """
    with workspace() as space:
        from larder import show, steps

        show.apply(space.display, steps.apply(space), as_json)


@app.command()
def materialize(
    views: Annotated[list[str] | None, typer.Argument(help="Views; default: all that are applied.")] = None,
    start: Annotated[datetime | None, typer.Option(help="First event time (UTC); default: all.")] = None,
    end: Annotated[datetime | None, typer.Option(help="Last event time (UTC); default: now.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Also views that are online as they are on disk.")] = False,
    as_json: Json = False,
) -> None:
    """Bring the latest features of every content, creator and user into the online store.

    Views whose files have not changed are skipped. `feast -c feature_repo materialize` works as well.

    Example: `larder materialize content_meta minilm`
    """
    with workspace() as space:
        from larder import show, steps

        done = steps.materialize(space, views or (), utc(start), utc(end), force)
        show.materialize(space.display, done, as_json)


@app.command()
def index(
    embeddings: Annotated[list[str] | None, typer.Argument(help="Embeddings; default: all that were run.")] = None,
    kind: Annotated[str, typer.Option(help="auto, exact, hnsw or ivf, with parameters: hnsw:ef_search=256")] = "auto",
    rollback: Annotated[bool, typer.Option("--rollback", help="Go back to the version before.")] = False,
    as_json: Json = False,
) -> None:
    """Build a FAISS index of an embedding, measure its recall and publish it.

    An index whose recall@10 against exact search is under LARDER_RECALL_GATE is not published.

    Example: `larder index minilm --kind hnsw:ef_search=256`
    """
    with workspace() as space:
        from indexers import versions
        from larder import show, steps

        names = embeddings or list(space.catalog.embeddings())
        if not names:
            raise StateError("nothing is embedded yet: run `larder embed`")
        if rollback:
            manifests = [versions.rollback(space.settings, name) for name in names]
        else:
            manifests = [steps.index(space, name, kind) for name in names]
        show.index(space.display, manifests, as_json)


@app.command()
def train(
    predictor: Annotated[str, typer.Argument(help="popularity")] = "popularity",
    split: Annotated[str, typer.Option(help="How contents are held out: random or time.")] = "random",
    seed: Annotated[int | None, typer.Option(help="Seed of split and model; default: LARDER_SEED.")] = None,
    iterations: Annotated[int | None, typer.Option(help="Trees at most.")] = None,
    as_json: Json = False,
) -> None:
    """Train a predictor from the store's point-in-time frame and measure it on held-out contents.

    Baselines stand beside the metrics. The same data and options are not trained on twice.

    Example: `larder train popularity --split time`
    """
    with workspace() as space:
        from larder import show, steps
        from predictors.config import TrainConfig

        given = {"split": split, "seed": space.settings.seed if seed is None else seed, "iterations": iterations}
        config = TrainConfig(**{k: v for k, v in given.items() if v is not None})  # type: ignore[arg-type]
        show.train(space.display, steps.train(space, predictor, config), as_json)


@app.command()
def release(
    predictors: Annotated[list[str] | None, typer.Argument(help="Predictors to pin; default: popularity.")] = None,
    rollback: Annotated[bool, typer.Option("--rollback", help="Put the release before in use again.")] = False,
    as_json: Json = False,
) -> None:
    """Pin the current models, indexes and embeddings as what is served.

    Parts that disagree (a model trained on other vectors than the index holds) are refused by name.
    A running server takes a new release at SIGHUP.

    Example: `larder release popularity`
    """
    with workspace() as space:
        from larder import show, steps
        from predictors import release as releases

        if rollback:
            manifest = releases.read_manifest(space.settings, releases.rollback(space.settings))
        else:
            manifest = steps.release(space, predictors or ["popularity"])
        show.release(space.display, manifest, as_json)


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to bind; default: LARDER_HOST.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to bind, 0 for any; default: LARDER_PORT.")] = None,
    port_file: Annotated[Path | None, typer.Option(help="Write the port here once requests are answered.")] = None,
    warm: Annotated[bool, typer.Option(help="Load the embedders for text and image queries first.")] = True,
) -> None:
    """Serve the current release over gRPC until SIGTERM, which drains; SIGHUP takes a new release.

    Example: `larder serve --port 50051`
    """
    with workspace(host=host, port=port) as space:
        from larder import steps

        steps.serve(space, port_file, warm)


@app.command()
def predict(
    content_ids: Annotated[list[str], typer.Argument(help="Contents to score.")],
    predictor: Annotated[str, typer.Option(help="Which predictor.")] = "popularity",
    user: Annotated[str | None, typer.Option(help="For whom, where the predictor takes a user.")] = None,
    address: Address = "",
    as_json: Json = False,
) -> None:
    """Ask the server how popular contents will be.

    Example: `larder predict 50 95 183`
    """
    with workspace() as space:
        from grpc_api.client import Scorer
        from larder import show

        with Scorer(address or f"{space.settings.host}:{space.settings.port}") as scorer:
            show.predictions(space.display, scorer.predict(content_ids, predictor, user), as_json)


@app.command()
def similar(
    content: Annotated[str | None, typer.Argument(help="Id of the content to start from.")] = None,
    text: Annotated[str | None, typer.Option(help="Start from a text instead.")] = None,
    image: Annotated[Path | None, typer.Option(help="Start from a picture file instead.")] = None,
    k: Annotated[int, typer.Option("-k", help="How many neighbours.", min=1)] = 10,
    embedding: Annotated[str, typer.Option(help="Which embedding; default: the release's for this query.")] = "",
    address: Address = "",
    as_json: Json = False,
) -> None:
    """Ask the server for the nearest contents to a content, a text or a picture.

    Example: `larder similar --text "a cat on a skateboard" -k 5`
    """
    with workspace() as space:
        from grpc_api.client import Scorer
        from larder import show

        with Scorer(address or f"{space.settings.host}:{space.settings.port}") as scorer:
            picture = None if image is None else read_file(image)
            found = scorer.similar(content_id=content, text=text, image=picture, k=k, embedding=embedding)
        show.similarities(space.display, found, as_json)


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
