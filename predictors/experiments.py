"""Experiments: releases side by side, each for its share of the users, of which at most one runs at a time.

A user's arm hangs on the experiment's name and the user alone, so every process and every start agrees on it, and the
users of two experiments are mixed anew. A name is used once: what was measured under it is of one set of arms.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from math import isfinite
from pathlib import Path

from feature_repo.contracts import digest
from feature_repo.errors import InputError, NotFoundError, StateError
from feature_repo.files import only_writer, sweep, write_json
from feature_repo.settings import Settings

_NAME = re.compile(r"[\w-][\w.-]{0,63}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Arm:
    """A release and the share of the users who are answered from it, 0 to 1."""

    name: str
    release: str
    share: float


@dataclass(frozen=True, slots=True)
class Experiment:
    """Arms whose shares sum to 1; the first is what the others are compared with. Times are in UTC."""

    name: str
    arms: tuple[Arm, ...]
    started: datetime
    stopped: datetime | None = None

    def arm_of(self, unit: str) -> int:
        """The number of a user's arm: where a hash of experiment and user falls among the shares."""
        place = int(digest(self.name, unit, size=8), 16) / 2**64
        for number, arm in enumerate(self.arms[:-1]):
            place -= arm.share
            if place < 0:
                return number
        return len(self.arms) - 1


def arms_of(given: Sequence[str]) -> tuple[Arm, ...]:
    """Arms written as NAME=VERSION:WEIGHT, at least two; weights are made shares. Raises InputError."""
    arms = []
    for text in given:
        name, _, rest = text.partition("=")
        version, _, weight = rest.rpartition(":")
        try:
            arms.append(Arm(name, version, float(weight)))
        except ValueError:
            raise InputError(f"arm {text!r}: write NAME=VERSION:WEIGHT, as in new=4f0c2a9be1d37c55:0.5") from None
        if not (_NAME.fullmatch(name) and version and arms[-1].share > 0 and isfinite(arms[-1].share)):
            raise InputError(f"arm {text!r}: a name is letters, digits, dots and dashes, a weight a number above 0")
    if len({arm.name for arm in arms}) < len(given) or len(arms) < 2:
        raise InputError("an experiment has two arms or more, each with a name of its own")
    total = sum(arm.share for arm in arms)
    return tuple(replace(arm, share=arm.share / total) for arm in arms)


def start(settings: Settings, name: str, arms: tuple[Arm, ...]) -> Experiment:
    """Start an experiment; servers take it when they load a release. Raises InputError for a name that was used before
    or is none, StateError where another runs.
    """
    if not _NAME.fullmatch(name):
        raise InputError(f"experiment {name!r}: a name is letters, digits, dots and dashes, 64 at most")
    with only_writer(settings.experiments_dir):
        if (other := running(settings)) is not None:
            raise StateError(f"experiment {other.name} runs: stop it first, `larder experiment stop`")
        if _path(settings, name).exists():
            raise InputError(f"experiment {name!r} was run before: give this one another name")
        sweep(settings.experiments_dir)
        experiment = Experiment(name, arms, datetime.now(UTC))
        _write(settings, experiment)
        return experiment


def stop(settings: Settings) -> Experiment:
    """Stop the experiment that runs. Raises StateError where none does."""
    with only_writer(settings.experiments_dir):
        experiment = running(settings)
        if experiment is None:
            raise StateError("no experiment runs")
        stopped = replace(experiment, stopped=datetime.now(UTC))
        _write(settings, stopped)
        return stopped


def running(settings: Settings) -> Experiment | None:
    """The experiment that runs. Raises StateError where one cannot be read."""
    return next((one for one in every(settings) if one.stopped is None), None)


def every(settings: Settings) -> list[Experiment]:
    """All experiments, the newest first. Raises StateError where one cannot be read."""
    found = [_read(path) for path in settings.experiments_dir.glob("*.json")]
    return sorted(found, key=lambda one: one.started, reverse=True)


def named(settings: Settings, name: str) -> Experiment:
    """An experiment by name; empty: the newest. Raises NotFoundError."""
    known = every(settings)
    found = next((one for one in known if name in ("", one.name)), None)
    if found is None:
        names = ", ".join(one.name for one in known) or "none yet; see `larder experiment start --help`"
        raise NotFoundError(f"no experiment {name!r}; there are: {names}")
    return found


def _path(settings: Settings, name: str) -> Path:
    return settings.experiments_dir / f"{name}.json"


def _write(settings: Settings, experiment: Experiment) -> None:
    times = {
        "started": experiment.started.isoformat(),
        "stopped": experiment.stopped and experiment.stopped.isoformat(),
    }
    write_json(_path(settings, experiment.name), asdict(experiment) | times)


def _read(path: Path) -> Experiment:
    try:
        said = json.loads(path.read_text())
        stopped = datetime.fromisoformat(said["stopped"]) if said["stopped"] else None
        arms = tuple(Arm(**arm) for arm in said["arms"])
        return Experiment(said["name"], arms, datetime.fromisoformat(said["started"]), stopped)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StateError(
            f"experiment {path.stem} cannot be read ({type(error).__name__}: {error}): restore it, or "
            "remove its file to end it"
        ) from error
