"""What a training tells while it runs: its stages, and its metrics by step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

Stage = Callable[[str, int, int], None]
"""Told the name of a stage, how much of it is done, and of how much; 0 of 0 where it cannot be counted."""

OnMetric = Callable[[str, str, int, float], None]
"""Told a curve, its split, a step counted from 0, and the value there."""

Curves = dict[str, dict[str, list[float]]]


class Run(Protocol):
    """One training. `version` names what it will make, `folder` is where checkpoints lie until it is published."""

    @property
    def version(self) -> str:
        """Digest of everything that decides the model."""

    @property
    def folder(self) -> Path:
        """For checkpoints: a killed training finds there what it left."""

    def stage(self, name: str, done: int = 0, total: int = 0, /) -> None:
        """Say what goes on."""

    def metric(self, curve: str, split: str, value: float, /) -> None:
        """Add the next value of a learning curve, as of ("regressor", "valid")."""


@dataclass(frozen=True, slots=True)
class LocalRun:
    """A training that is told to the one who waits for it; its curves are kept for the manifest."""

    version: str
    folder: Path
    on_stage: Stage = lambda name, done, total: None
    on_metric: OnMetric = lambda curve, split, step, value: None
    curves: Curves = field(default_factory=dict)

    def stage(self, name: str, done: int = 0, total: int = 0, /) -> None:
        """Pass it on."""
        self.on_stage(name, done, total)

    def metric(self, curve: str, split: str, value: float, /) -> None:
        """Keep it, and pass it on."""
        values = self.curves.setdefault(curve, {}).setdefault(split, [])
        self.on_metric(curve, split, len(values), float(value))
        values.append(float(value))
