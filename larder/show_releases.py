"""Reports on releases and experiments, as a person reads them or as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from feature_repo.errors import LarderError
from larder.display import Display, print_json
from predictors import pins, shelf

if TYPE_CHECKING:
    from feature_repo.catalog import Catalog
    from feature_repo.settings import Settings
    from predictors.evaluation.arms import ArmsReport
    from predictors.experiments import Experiment


def release(display: Display, manifest: pins.ReleaseManifest, as_json: bool) -> None:
    """What is in use now."""
    if as_json:
        print_json(manifest.to_json())
        return
    facts: dict[str, object] = {f"predictor {k}": pin.version for k, pin in manifest.predictors.items()}
    facts |= {f"index {k}": version for k, version in manifest.every_index.items()}
    display.facts(f"release {manifest.version}", facts)


def releases(display: Display, settings: Settings, catalog: Catalog, as_json: bool) -> None:
    """Releases as they were put in use, the current one first, then those that can only be named."""
    made, used = dict(catalog.releases()), shelf.history(settings)
    rows = []
    for number, version in enumerate(used):
        state = "before" if number else "in use"
        rows.append((version, state, made.get(version), _changes(settings, *used[number : number + 2])))
    rows += [(version, "", made.get(version), "") for version in shelf.releases(settings) if version not in used]
    if as_json:
        print_json([dict(zip(("release", "state", "made", "differs"), row, strict=True)) for row in rows])
        return
    table = [(version, state, f"{at:%Y-%m-%d %H:%M}" if at else "", why) for version, state, at, why in rows]
    display.table("releases", ("release", "state", "made", "differs from the one before by"), table)


def _changes(settings: Settings, version: str, before: str = "") -> str:
    """What sets a release apart from the one before it; a broken one says so."""
    try:
        if not before:
            return ""
        found = pins.differences(shelf.read_manifest(settings, before), shelf.read_manifest(settings, version))
    except LarderError as error:
        return str(error)
    return ", ".join(f"{one.kind} {one.name}" for one in found)


def differences(display: Display, versions: tuple[str, str], found: Sequence[pins.Difference], as_json: bool) -> None:
    """What sets a release apart from another."""
    if as_json:
        print_json(list(found))
        return
    rows = [(one.kind, one.name, one.before or "none", one.after or "none") for one in found]
    display.table("differences", ("part", "name", *versions), rows or [("none", "", "", "")])


def experiments(display: Display, found: Sequence[Experiment], as_json: bool) -> None:
    """Experiments and their arms, the newest first."""
    if as_json:
        print_json(list(found))
        return
    rows = [
        (one.name, arm.name, arm.release, f"{100 * arm.share:.3g} %", f"{one.started:%Y-%m-%d %H:%M}", state)
        for one in found
        for state in [f"until {one.stopped:%Y-%m-%d %H:%M}" if one.stopped else "runs"]
        for arm in one.arms
    ]
    columns = ("experiment", "arm", "release", "share", "since", "state")
    display.table("experiments", columns, rows or [("none yet", "", "", "", "", "")])


def outcomes(display: Display, found: ArmsReport, as_json: bool) -> None:
    """What became of an experiment's arms."""
    if as_json:
        print_json(found)
        return
    columns = ("arm", "release", "exposures", found.unit, "with outcome", "rate", "95 % interval")
    rows = [
        (a.name, a.release, a.exposures, a.units, a.hits, f"{a.rate:.4f}", f"{a.low:.4f} to {a.high:.4f}")
        for a in found.arms
    ]
    display.table(f"{found.experiment}: {', '.join(found.outcomes)}", columns, rows)
    tests = [
        (c.name, c.against, f"{c.difference:+.4f}", f"{c.low:+.4f} to {c.high:+.4f}", f"{c.p:.3g}")
        for c in found.comparisons
    ]
    display.table("differences", ("arm", "against", "difference", "95 % interval", "p"), tests)
    if found.share_p < found.SUSPECT:
        display.note(f"the arms' shares are not as planned (p = {found.share_p:.1g}): trust none of this, find out why")
