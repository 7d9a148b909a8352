"""The command that compares predictors."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from feature_repo.errors import ConfigurationError
from larder.session import Json, workspace


def evaluate(
    predictors: Annotated[list[str], typer.Argument(help="Predictors to compare.", metavar="PREDICTOR")],
    out: Annotated[Path, typer.Option(help="Folder for predictions and comparison.")] = Path("comparison"),
    split: Annotated[str | None, typer.Option(help="A name, or a folder; default: each task's own.")] = None,
    seeds: Annotated[int, typer.Option(help="Trainings of each predictor, with seeds one after the other.", min=1)] = 1,
    seed: Annotated[int | None, typer.Option(help="The first seed; default: LARDER_SEED.")] = None,
    config: Annotated[
        list[str] | None,
        typer.Option(help="Fields for one of them, as TOML; may be repeated.", metavar="PREDICTOR=FILE"),
    ] = None,
    resamples: Annotated[int, typer.Option(help="Of the bootstrap behind intervals and tests.", min=1)] = 1000,
    as_json: Json = False,
) -> None:
    """Fit predictors on the same training rows and compare what they say of the same test rows.

    Splits of events (interest): **per-user** (the last 10 % of each user), **global** (the last 10 % of all),
    **cold-item** (contents never seen), **random**. Of contents (engagement): **random**, **global**. Or a FOLDER with
    train.csv, valid.csv and test.csv: columns user_id and item_id, or id.

    Beside the predictors stand naive baselines. Intervals and paired tests draw contents or users. The folder gets
    every prediction (CSV and Parquet), comparison.json and comparison.md; a second run fits only what is new.

    Nothing is published: the models in use stay what they are.

    Example: `larder evaluate popularity --split random --seeds 3 --out comparison`
    """
    with workspace() as space:
        from larder import show, steps
        from predictors.config_file import read_config
        from predictors.evaluation.comparison import CompareOptions

        options = CompareOptions(
            split=split,
            seed=space.settings.seed if seed is None else seed,
            seeds=seeds,
            resamples=resamples,
            configs={name: read_config(path) for name, path in map(_configured, config or ())},
        )
        if strays := sorted(options.configs.keys() - set(predictors)):
            raise ConfigurationError(
                f"--config names {', '.join(strays)}, which is not among the predictors to compare"
            )
        show.comparison(space.display, steps.evaluate(space, predictors, out, options), out, as_json)


def _configured(text: str) -> tuple[str, Path]:
    name, equals, path = text.partition("=")
    if not (name and equals and path):
        raise ConfigurationError(f"cannot read --config {text!r}: write PREDICTOR=FILE")
    return name, Path(path)
