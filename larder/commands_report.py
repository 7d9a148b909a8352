"""The command that says which predictor to use, and why."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from feature_repo.errors import ConfigurationError
from larder.session import workspace


def report(
    evaluation: Annotated[
        Path | None, typer.Argument(help="Folder of a comparison; default: what the published versions say themselves.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Where the report goes.")] = Path("predictors.html"),
    ablate: Annotated[bool, typer.Option("--ablate", help="Fit again without each modality first.")] = False,
    price: Annotated[float, typer.Option(help="Of a CPU-hour, in any currency.", min=0)] = 0.05,
) -> None:
    """Write which predictor to use, and why, as one HTML file that needs nothing beside it.

    Of a comparison (`larder evaluate`): the data, the splits, the table with its intervals and what is significant,
    learning curves, confusion, calibration, what features weigh, the largest errors with pictures, cost. With
    `--ablate` each predictor is fitted once more for each modality; a run that was stopped goes on, and later reports
    of the folder show the result.

    Example: `larder report comparison --out predictors.html`
    """
    if ablate and evaluation is None:
        raise ConfigurationError("--ablate needs the folder of a comparison: make it by `larder evaluate`")
    with workspace() as space:
        from larder import steps

        steps.report(space, evaluation, out, ablate, price)
        space.display.note(f"report: {out}")
