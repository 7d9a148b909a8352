"""Commands from features to answers. Each imports what it needs when it runs, so that help is instant."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from feature_repo.errors import ConfigurationError, unknown_name
from larder.session import Json, workspace

Address = Annotated[str, typer.Option(help="Server to ask, HOST:PORT; default: where `larder serve` binds.")]


def train(
    name: Annotated[str, typer.Argument(help="A predictor or an encoder, see above.")] = "popularity",
    config: Annotated[Path | None, typer.Option(help="Predictors: fields of the configuration, a TOML file.")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="Predictors: one field, before the file; repeatable.", metavar="KEY=VALUE"),
    ] = None,
    tune: Annotated[int | None, typer.Option(help="Predictors: try so many configurations first.", min=1)] = None,
    split: Annotated[
        str | None, typer.Option(help="How rows are held out: a name, or a folder; see `larder evaluate`.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of split and model; default: LARDER_SEED.")] = None,
    iterations: Annotated[int | None, typer.Option(help="Predictors of trees: trees at most.", min=1)] = None,
    epochs: Annotated[int | None, typer.Option(help="Encoders: passes over the data at most.", min=1)] = None,
    as_json: Json = False,
) -> None:
    """Train a predictor on the store's features, or fit an encoder on the catalog itself.

    Predictors, measured on held-out rows with baselines beside them: **popularity** (trees), **engagement_fusion**
    and **engagement_end_to_end** (nets) say how popular a content will be; **interest** (a net),
    **interest_factors**, **interest_catboost** and **interest_blend** whether a user will care. The same data and
    options are not trained on twice. `--tune 30` searches on the validation rows for a better
    configuration, trains that one and keeps it as `tuning/PREDICTOR.toml`; a search that was stopped goes on.
    Trainings are runs in MLflow (LARDER_TRACKING: a server, or off).

    Encoders: **conv3d**, a small 3D CNN, on clips and how engaging they were; **aligned**, heads over picture and text
    vectors, on which belong together; **clip_tuned**, CLIP's projections, on the same; **user_sequence**, a Transformer
    over users' events, on what they did next. A fit is a new version of its embedding: `larder embed` fills it beside
    the old one, `larder apply` puts it in use.

    Example: `larder train popularity --split time --set depth=4`
    """
    with workspace() as space:
        from larder import show, steps
        from larder.encoders import ENCODERS, FitOptions
        from predictors.base import PREDICTORS
        from predictors.config_file import configure
        from predictors.recipes import recipe_of

        if name in ENCODERS:
            for option, value in {"config": config, "set": settings, "tune": tune, "iterations": iterations}.items():
                _refuse(f"--{option}", value, "predictors", name)
            options = FitOptions(split or "random", space.settings.seed if seed is None else seed, epochs)
            show.fitted(space.display, steps.fit(space, name, options), as_json)
            return
        if name not in PREDICTORS:
            raise unknown_name("predictor or encoder", name, [*PREDICTORS, *ENCODERS])
        _refuse("--epochs", epochs, "encoders", name)
        given = _fields(config, settings or (), split=split, seed=seed, iterations=iterations)
        configured = configure(recipe_of(name), {"seed": space.settings.seed, **given})
        search = steps.tune(space, name, configured, tune, given) if tune else None
        trained = steps.train(space, name, search.config if search else configured)
        show.train(space.display, trained, as_json, search)


def _fields(config: Path | None, settings: Sequence[str], **options: object) -> dict[str, object]:
    """Fields of a configuration that are given: `--set` goes before an option, and that before the file."""
    from predictors.config_file import read_assignments, read_config

    named = {key: value for key, value in options.items() if value is not None}
    return {**(read_config(config) if config else {}), **named, **read_assignments(settings)}


def _refuse(option: str, value: object, kind: str, name: str) -> None:
    if value is not None:
        raise ConfigurationError(f"{option} is for {kind}, and {name} is none: leave it out")


def release(
    predictors: Annotated[list[str] | None, typer.Argument(help="Predictors to pin; default: popularity.")] = None,
    listed: Annotated[bool, typer.Option("--list", help="Show releases as they were put in use.")] = False,
    diff: Annotated[
        tuple[str, str] | None, typer.Option(help="Show what sets release B apart from A.", metavar="A B")
    ] = None,
    rollback: Annotated[bool, typer.Option("--rollback", help="Put the release before in use again.")] = False,
    to: Annotated[str | None, typer.Option(help="Put this release in use again.", metavar="VERSION")] = None,
    as_json: Json = False,
) -> None:
    """Pin the current models, indexes and embeddings as what is served.

    Parts that disagree (a model trained on other vectors than the index holds) are refused by name, and so is a release
    that fails a few requests of its own; the one before then stays in use. A running server takes what is in use at
    SIGHUP, without dropping a call: `kill -HUP` it after this. To try a release on some users only, see `larder
    experiment`.

    `--list` shows which there are, `--diff` compares two, `--rollback` and `--to` go back to one.

    Example: `larder release popularity`, then `larder release --list`
    """
    asked = {"predictors": predictors, "--list": listed, "--diff": diff, "--rollback": rollback, "--to": to}
    if len(given := [name for name, value in asked.items() if value]) > 1:
        raise ConfigurationError(f"{' and '.join(given)} do not go together: choose one")
    with workspace() as space:
        from larder import show_releases as show
        from larder import steps
        from predictors import pins, shelf

        settings = space.settings
        if listed:
            show.releases(space.display, settings, space.catalog, as_json)
        elif diff:
            before, after = (shelf.read_manifest(settings, version) for version in diff)
            show.differences(space.display, diff, pins.differences(before, after), as_json)
        else:
            version = shelf.rollback(settings) if rollback else to
            manifest = shelf.use(settings, version) if version else steps.release(space, predictors or ["popularity"])
            show.release(space.display, manifest, as_json)


def serve(
    host: Annotated[str | None, typer.Option(help="Address to bind; default: LARDER_HOST.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to bind, 0 for any; default: LARDER_PORT.")] = None,
    port_file: Annotated[Path | None, typer.Option(help="Write the port here once requests are answered.")] = None,
    warm: Annotated[bool, typer.Option(help="Load the embedders for text and image queries first.")] = True,
    workers: Annotated[
        int | None, typer.Option(help="Processes that share the port; default: LARDER_SERVE_WORKERS.", min=1)
    ] = None,
) -> None:
    """Serve the current release over gRPC until SIGTERM, which drains; SIGHUP takes a new release.

    With several workers, each on cores of its own, this process only looks after them: it hands both signals on and
    replaces one that dies.

    Example: `larder serve --port 50051 --workers 2`
    """
    with workspace(host=host, port=port, serve_workers=workers) as space:
        from larder import steps

        steps.serve(space, port_file, warm)


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

        with Scorer.of(space.settings, address) as scorer:
            show.predictions(space.display, scorer.predict(content_ids, predictor, user), as_json)
