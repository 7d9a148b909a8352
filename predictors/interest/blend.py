"""Predictor `interest_blend`: a calibrated logistic blend of several predictors of interest.

Each member says its chance; the log odds are weighed by a logistic regression on the validation rows, which no member
was fitted on. Members that err differently are better together than the best of them alone (Wolpert 1992). Lists are
sorted by a mix of the members' ranks, chosen on the same rows.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from functools import reduce
from operator import or_
from pathlib import Path
from typing import Protocol, cast

import numpy as np

from feature_repo.columns import Columns, Wanted
from feature_repo.errors import StateError
from feature_repo.files import write_json
from predictors.base import PREDICTORS, Predictor, Preparing, Savable, Scores
from predictors.interest.blocks import ENGAGED, RANK
from predictors.interest.config import BlendConfig
from predictors.interest.content_inputs import Matrix
from predictors.interest.examples import EventExamples
from predictors.interest.labels import ExampleConfig
from predictors.interest.platt import Platt, log_odds
from predictors.interest.rank import rank_weights
from predictors.labels import Floats
from predictors.recipes import Fitted, named, recipe_of
from predictors.splits import Rows
from predictors.tracking import Run

_SAID = "blend.json"


class Member(Preparing, Savable, Protocol):
    """What can be blended."""


class InterestBlend:
    """P(engaged) and ranks by all members."""

    name = "interest_blend"
    service = "interest"

    def __init__(
        self, members: Sequence[Member], calibration: Platt, rank_weights: Sequence[float], version: str
    ) -> None:
        self._version = version
        self.members = tuple(members)
        self.calibration = calibration
        self.rank_weights = tuple(rank_weights)

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
        return self._weighed([member.score(columns) for member in self.members])

    @property
    def width(self) -> int:
        """Numbers of a content, the members' side by side."""
        return sum(member.width for member in self.members)

    @property
    def prepared(self) -> tuple[str, ...]:
        """What any member prepares from."""
        return tuple(dict.fromkeys(name for member in self.members for name in member.prepared))

    @property
    def live(self) -> Wanted:
        """What any member reads beside."""
        return reduce(or_, (member.live for member in self.members))

    def prepare(self, contents: Columns) -> Matrix:
        """See `Preparing.prepare`."""
        return np.hstack([member.prepare(contents) for member in self.members])

    def score_prepared(self, columns: Columns, contents: Matrix, met: Matrix) -> Scores:
        """See `Preparing.score_prepared`."""
        ends = np.cumsum([member.width for member in self.members])[:-1]
        parts = zip(self.members, np.split(contents, ends, axis=1), np.split(met, ends, axis=1), strict=True)
        return self._weighed([member.score_prepared(columns, own, related) for member, own, related in parts])

    def _weighed(self, said: Sequence[Scores]) -> Scores:
        """The answer from the members'."""
        p = self.calibration(log_odds(np.stack([each.score for each in said], axis=1)))
        rank = np.array(self.rank_weights) @ np.stack([each.details[RANK] for each in said])
        own = {member.name: each.score for member, each in zip(self.members, said, strict=True)}
        heads = {name: value for name, value in said[0].details.items() if name != RANK}
        details = {**heads, **own, RANK: rank}
        return Scores(p, np.stack([1 - p, p], axis=1), (p >= 0.5).astype(np.int64), details)

    def save(self, folder: Path) -> None:
        """Write each member into a folder of its own, and how they are weighed."""
        for member in self.members:
            (folder / member.name).mkdir()
            member.save(folder / member.name)
        said = {
            "members": [member.name for member in self.members],
            "calibration": self.calibration.to_json(),
            "rank_weights": self.rank_weights,
        }
        write_json(folder / _SAID, said)

    @classmethod
    def load(cls, folder: Path) -> InterestBlend:
        """Read what `save` wrote. Raises StateError where it cannot be read."""
        try:
            said = json.loads((folder / _SAID).read_text())
            members = [named(PREDICTORS[name]).load(folder / name) for name in said["members"]]  # type: ignore[attr-defined]
            calibration, weights = Platt(**said["calibration"]), said["rank_weights"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StateError(f"{folder}: the model cannot be read ({error}); train again") from error
        return cls(members, calibration, weights, folder.name)


def fit_blend(examples: EventExamples, config: BlendConfig, run: Run) -> Fitted:
    """Fit the members, weigh them by the validation rows, as they were before they learnt from these; the test rows are
    not looked at.

    The members are measured beside the blend. Raises StateError where there is too little to learn from.
    """
    fits = []
    for name in config.members:
        recipe = recipe_of(name)
        said = {**_shared(config), **config.options.get(name, {})}
        fits.append(recipe.run(examples, recipe.configure(said), run))
    judged = [fitted.judged or fitted.predictor for fitted in fits]
    valid = examples.splits.valid
    odds = log_odds(np.stack([chances_of(member, examples, valid) for member in judged], axis=1))
    calibration = Platt.fit(odds, examples.labels[ENGAGED][valid])
    ranks = rank_weights(examples, judged)
    members = [cast(Member, fitted.predictor) for fitted in fits]
    weights = dict(zip(config.members, calibration.weights, strict=True))
    rivals = {member.name: member for member in members}
    return Fitted(InterestBlend(members, calibration, ranks, run.version), {"weights": weights}, rivals)


def chances_of(member: Predictor, examples: EventExamples, rows: Rows) -> Floats:
    """What a member says of those rows, (n,)."""
    return np.concatenate([member.score(batch).score for batch in examples.batches(rows)])


def _shared(config: BlendConfig) -> dict[str, object]:
    """What all predictors of interest are told."""
    return {each.name: getattr(config, each.name) for each in fields(ExampleConfig)}
