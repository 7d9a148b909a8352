"""Commands from features to answers. Each imports what it needs when it runs, so that help is instant."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from feature_repo.errors import ConfigurationError, unknown_name
from larder.session import Json, read_file, workspace

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
