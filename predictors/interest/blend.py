"""Predictor `interest_blend`: a calibrated logistic blend of several predictors of interest.

Each member says its chance; the log odds are weighed by a logistic regression on the validation rows, which no member
was fitted on. Members that err differently are better together than the best of them alone (Wolpert 1992).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path

import numpy as np

from feature_repo.columns import Columns
from feature_repo.errors import StateError
from feature_repo.files import write_json
from predictors.base import PREDICTORS, Predictor, Savable, Scores
from predictors.interest.blocks import ENGAGED, MEETING, RANK
from predictors.interest.config import BlendConfig
from predictors.interest.examples import EventExamples
from predictors.interest.labels import ExampleConfig
from predictors.interest.platt import Platt, log_odds
from predictors.interest.rank import asked_in_full, rank_weight
from predictors.labels import Floats
from predictors.recipes import Fitted, named, recipe_of
from predictors.splits import Rows
from predictors.tracking import Run

_SAID = "blend.json"


class InterestBlend:
    """P(engaged) by all members; what is likely to be met is asked of the first."""

    name = "interest_blend"
    service = "interest"

    def __init__(self, members: Sequence[Savable], calibration: Platt, rank_weight: float, version: str) -> None:
        self._version = version
        self.members = tuple(members)
        self.calibration = calibration
        self.rank_weight = rank_weight

    @property
    def version(self) -> str:
        """Names what it was trained from."""
        return self._version

    @property
    def features(self) -> tuple[str, ...]:
        """Columns that `score` reads."""
        return tuple(dict.fromkeys(name for member in self.members for name in member.features))

    @property
    def embeddings(self) -> Mapping[str, str]:
        """Embedding name -> digest of its spec."""
        return {name: digest for member in self.members for name, digest in member.embeddings.items()}

    def score(self, columns: Columns) -> Scores:
        """Score every row; see `Predictor.score`. `details` has `rank` and each member's probability."""
        said = [member.score(columns) for member in self.members]
        p = self.calibration(log_odds(np.stack([each.score for each in said], axis=1)))
        meeting = said[0].details[MEETING]
        rank = meeting + self.rank_weight * np.log(p)
        own = {member.name: each.score for member, each in zip(self.members, said, strict=True)}
        heads = {name: value for name, value in said[0].details.items() if name != RANK}
        details = {**heads, **own, RANK: rank, MEETING: meeting}
        return Scores(p, np.stack([1 - p, p], axis=1), (p >= 0.5).astype(np.int64), details)

    def save(self, folder: Path) -> None:
        """Write each member into a folder of its own, and how they are weighed."""
        for member in self.members:
            (folder / member.name).mkdir()
            member.save(folder / member.name)
        said = {
            "members": [member.name for member in self.members],
            "calibration": self.calibration.to_json(),
            "rank_weight": self.rank_weight,
        }
        write_json(folder / _SAID, said)

    @classmethod
    def load(cls, folder: Path) -> InterestBlend:
        """Read what `save` wrote. Raises StateError where it cannot be read."""
        try:
            said = json.loads((folder / _SAID).read_text())
            members = [named(PREDICTORS[name]).load(folder / name) for name in said["members"]]  # type: ignore[attr-defined]
            calibration, weight = Platt(**said["calibration"]), said["rank_weight"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StateError(f"{folder}: the model cannot be read ({error}); train again") from error
        return cls(members, calibration, weight, folder.name)


def fit_blend(examples: EventExamples, config: BlendConfig, run: Run) -> Fitted:
    """Fit the members on the training rows, weigh them by the validation rows; the test rows are not looked at.

    The members are measured beside the blend. Raises StateError where there is too little to learn from.
    """
    members = []
    for name in config.members:
        recipe = recipe_of(name)
        said = {**_shared(config), **config.options.get(name, {})}
        members.append(recipe.run(examples, recipe.configure(said), run).predictor)
    valid = examples.splits.valid
    odds = log_odds(np.stack([chances_of(member, examples, valid) for member in members], axis=1))
    calibration = Platt.fit(odds, examples.labels[ENGAGED][valid])
    even = InterestBlend(members, calibration, 1.0, run.version)
    weight = rank_weight(examples, asked_in_full(even, examples))
    weights = dict(zip(config.members, calibration.weights, strict=True))
    rivals = {member.name: member for member in members}
    return Fitted(InterestBlend(members, calibration, weight, run.version), {"weights": weights}, rivals)


def chances_of(member: Predictor, examples: EventExamples, rows: Rows) -> Floats:
    """What a member says of those rows, (n,)."""
    return np.concatenate([member.score(batch).score for batch in examples.batches(rows)])


def _shared(config: BlendConfig) -> dict[str, object]:
    """What all predictors of interest are told."""
    return {each.name: getattr(config, each.name) for each in fields(ExampleConfig)}
