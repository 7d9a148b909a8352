"""The command that says whether what is served is still what was trained for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from feature_repo.errors import unknown_name
from larder.session import Json, workspace

if TYPE_CHECKING:
    from larder.display import Display
    from predictors.drift import Drift


def drift(
    predictors: Annotated[
        list[str] | None, typer.Argument(help="Predictors of the current release; default: all of them.")
    ] = None,
    hours: Annotated[float, typer.Option(help="Look at the samples of so many hours.", min=0.01)] = 24.0,
    out: Annotated[Path | None, typer.Option(help="Write a page with histograms here, too.")] = None,
    as_json: Json = False,
) -> None:
    """Compare the features and scores that a server sampled with those of the predictors' training.

    A server samples where LARDER_SAMPLE_SHARE says so: start it with 0.01, and ask a day later. For each feature and
    the score: PSI (from 0.1 on it has shifted, from 0.25 on drifted; fewer than 500 rows say nothing), KS, and the
    share of rows without a value.

    Example: `larder drift --out drift.html`
    """
    with workspace() as space:
        from larder.display import print_json
        from predictors import shelf
        from predictors.drift import compare

        pins = shelf.read_manifest(space.settings, shelf.current(space.settings)).predictors
        for name in predictors or ():
            if name not in pins:
                raise unknown_name("predictor of the release", name, pins)
        since = datetime.now(UTC) - timedelta(hours=hours)
        found = [compare(space.settings, name, pins[name].version, since) for name in predictors or sorted(pins)]
        if as_json:
            print_json([_plain(one) for one in found])
        else:
            _show(space.display, found)
        if out is not None:
            from predictors.report.drift import write

            write(found, out)
            space.display.note(f"page: {out}")


def _show(display: Display, found: list[Drift]) -> None:
    for one in found:
        rows = [
            (shift.name, shift.psi, shift.ks, 100 * shift.expected.missing, 100 * shift.found.missing, shift.verdict)
            for shift in one.shifts
        ]
        title = f"{one.predictor} {one.version}: {one.rows:,} rows of {one.calls:,} calls"
        display.table(title, ("feature", "PSI", "KS", "% missing, trained", "% missing, online", "verdict"), rows)


def _plain(one: Drift) -> dict[str, object]:
    shifts = [
        {
            "name": shift.name,
            "psi": shift.psi,
            "ks": shift.ks,
            "missing_in_training": shift.expected.missing,
            "missing": shift.found.missing,
            "verdict": shift.verdict,
        }
        for shift in one.shifts
    ]
    return {"predictor": one.predictor, "version": one.version, "rows": one.rows, "calls": one.calls, "shifts": shifts}
