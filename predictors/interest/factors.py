"""Predictor `interest_factors`: what a user thinks of a content by Bayesian matrix factorisation with side information.

It knows a user by what they did up to its training, what they did last before all (their tastes wander), and a content
that came later by its features.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from feature_repo.columns import Columns, Wanted
from feature_repo.errors import StateError
from feature_repo.files import write_json
from predictors.base import Scores
from predictors.interest.blocks import ENGAGED, MEETING, RANK, REACTION, require_learnable
from predictors.interest.config import FactorsConfig
from predictors.interest.content_inputs import CREATOR, WORDS, ContentInputs
from predictors.interest.examples import EventExamples
from predictors.interest.gibbs import Draw, Values, draws
from predictors.interest.platt import Platt, log_odds, logistic
from predictors.interest.rank import asked_in_full, rank_weight
from predictors.labels import Floats
from predictors.recipes import Fitted
from predictors.splits import Rows
from predictors.tracking import Run

Matrix = npt.NDArray[np.float32]

_ARRAYS, _SAID = "factors.npz", "factors.json"
_PROBIT = 1.702  # a logistic curve of this slope is the normal distribution within 0.01
_AT_ONCE = 4096


@dataclass(frozen=True, slots=True)
class Posterior:
    """S samples, float32. `users` (S, u + 1, K + 1) and `contents` (S, c + 1, K + 1) are factors and, last, levels: of
    the users by ascending id and of the contents that training met; the last user is the mean one, the last content
    stands for a later one, to which `side` (S, features, K + 1) adds what its features say. `noise` is (S,).
    """

    users: Matrix
    contents: Matrix
    side: Matrix
    noise: Matrix

    @classmethod
    def of(cls, kept: list[Draw]) -> Posterior:
        """From draws."""
        users = [np.vstack([draw.users, draw.user]) for draw in kept]
        contents = [np.vstack([draw.contents, draw.content]) for draw in kept]
        parts = (users, contents, [draw.side for draw in kept], [draw.noise for draw in kept])
        return cls(*(np.array(part, np.float32) for part in parts))

    def chances(self, users: Rows, contents: Rows, features: Matrix, cut: float) -> Floats:
        """How likely each value is above `cut`, (n,); the features (n, features) are read of later contents."""
        sums = np.zeros(len(users))
        late = np.flatnonzero(contents == self.contents.shape[1] - 1)
        for mine, theirs, side, noise in zip(self.users, self.contents, self.side, self.noise, strict=True):
            own, other = mine[users], theirs[contents]
            other[late] += np.vecdot(features[late, None, :], side.T)  # rounds alike however many rows there are
            value = np.vecdot(own[:, :-1], other[:, :-1]) + own[:, -1] + other[:, -1]
            sums += logistic(_PROBIT * (value.astype(np.float64) - cut) / noise)
        return sums / len(self.noise)


class InterestFactors:
    """P(engaged) of users with contents."""

    name = "interest_factors"
    service = "interest"

    def __init__(
        self,
        inputs: ContentInputs,
        posterior: Posterior,
        keys: tuple[list[str], list[str]],
        familiar: Floats,
        cut: float,
        calibration: Platt,
        rank_weight: float,
        embeddings: Mapping[str, str],
        version: str,
    ) -> None:
        """`keys` are the ids of the posterior's users and contents, `familiar` (c + 1,) logs of how often each content
        was met.
        """
        self._version = version
        self.inputs = inputs
        self.posterior = posterior
        self._keys = keys
        self.user_rows, self.content_rows = ({key: row for row, key in enumerate(ids)} for ids in keys)
        self._familiar = familiar
        self.cut = cut
        self.calibration = calibration
        self.rank_weight = rank_weight
        self._embeddings = {name: embeddings[name] for name in inputs.projections}

    @property
    def version(self) -> str:
        """Names what it was trained from."""
        return self._version

    @property
    def features(self) -> tuple[str, ...]:
        """Columns that `score` reads."""
        return ("content_id", "user_id", *self.inputs.columns)

    @property
    def embeddings(self) -> Mapping[str, str]:
        """Embedding name -> digest of its spec."""
        return self._embeddings

    def score(self, columns: Columns) -> Scores:
        """Score every row; see `Predictor.score`. `details` has `rank`."""
        if columns.rows == 0:
            none = np.empty(0)
            return Scores(none, np.empty((0, 2)), np.empty(0, np.int64), {RANK: none, MEETING: none})
        features = np.zeros((columns.rows, self.width), np.float32)
        contents = _rows(self.content_rows, columns.objects("content_id"))
        late = np.flatnonzero(contents == len(self.content_rows))
        for start in range(0, len(late), _AT_ONCE):
            part = late[start : start + _AT_ONCE]
            features[part] = self.prepare(columns.take(part))
        return self.score_prepared(columns, features)

    @property
    def width(self) -> int:
        """Numbers of a content's features."""
        return self.inputs.width

    @property
    def prepared(self) -> tuple[str, ...]:
        """The features of contents."""
        return self.inputs.columns

    @property
    def live(self) -> Wanted:
        """Nothing: users are known by what they did up to the training."""
        return Wanted(frozenset())

    def prepare(self, contents: Columns) -> Matrix:
        """The features of contents, (n, width), which those that training met need not; see `Preparing.prepare`."""
        return self.inputs(contents)

    def score_prepared(self, columns: Columns, features: Matrix, met: Matrix | None = None) -> Scores:
        """See `Preparing.score_prepared`."""
        users = _rows(self.user_rows, columns.objects("user_id"))
        contents = _rows(self.content_rows, columns.objects("content_id"))
        p = np.empty(columns.rows)
        for start in range(0, columns.rows, _AT_ONCE):
            part = slice(start, start + _AT_ONCE)
            p[part] = self.posterior.chances(users[part], contents[part], features[part], self.cut)
        p = self.calibration(log_odds(p)[:, None])
        familiar = self._familiar[contents]
        rank = familiar + self.rank_weight * np.log(p)
        details = {RANK: rank, MEETING: familiar}
        return Scores(p, np.stack([1 - p, p], axis=1), (p >= 0.5).astype(np.int64), details)

    def read_as(self, calibration: Platt, rank_weight: float) -> InterestFactors:
        """The same factors, whose chances are read otherwise."""
        parts = (self.inputs, self.posterior, self._keys, self._familiar, self.cut)
        return InterestFactors(*parts, calibration, rank_weight, self._embeddings, self._version)

    def save(self, folder: Path) -> None:
        """Write the model's files into `folder`; the same model gives the same bytes."""
        posterior = {f"posterior.{name}": getattr(self.posterior, name) for name in Posterior.__slots__}
        arrays = {**self.inputs.arrays(), **posterior, "familiar": self._familiar}
        np.savez(folder / _ARRAYS, allow_pickle=False, **arrays)
        said = {
            "contents": self.inputs.facts(),
            "keys": self._keys,
            "cut": self.cut,
            "calibration": self.calibration.to_json(),
            "rank_weight": self.rank_weight,
            "embeddings": self._embeddings,
        }
        write_json(folder / _SAID, said)

    @classmethod
    def load(cls, folder: Path) -> InterestFactors:
        """Read what `save` wrote. Raises StateError where it cannot be read."""
        try:
            said = json.loads((folder / _SAID).read_text())
            with np.load(folder / _ARRAYS, allow_pickle=False) as file:
                arrays = dict(file)
            inputs = ContentInputs.of(arrays, said["contents"])
            posterior = Posterior(*(arrays[f"posterior.{name}"] for name in Posterior.__slots__))
            users, contents = said["keys"]
            calibration = Platt(**said["calibration"])
            parts = (arrays["familiar"], said["cut"], calibration, said["rank_weight"], said["embeddings"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StateError(f"{folder}: the model cannot be read ({error}); train again") from error
        return cls(inputs, posterior, (users, contents), *parts, folder.name)


def fit_factors(examples: EventExamples, config: FactorsConfig, run: Run) -> Fitted:
    """Draw from the posterior given the training rows, choose how it is read by the validation rows, and with
    `config.refit` draw again given both. The test rows are not looked at.

    Raises StateError where there is too little to learn from.
    """
    require_learnable(examples)
    train, valid = examples.splits.train, examples.splits.valid
    raw = _drawn(examples, train, config, run, "sweeps")
    chances = np.concatenate([raw.score(batch).score for batch in examples.batches(valid)])
    calibration = Platt.fit(log_odds(chances)[:, None], examples.labels[ENGAGED][valid])
    judged = raw.read_as(calibration, 1.0)
    judged = raw.read_as(calibration, rank_weight(examples, asked_in_full(judged, examples)))
    if not config.refit:
        return Fitted(judged)
    both = _drawn(examples, np.sort(np.concatenate([train, valid])), config, run, "sweeps of the refit")
    return Fitted(both.read_as(calibration, judged.rank_weight), judged=judged)


def _drawn(examples: EventExamples, rows: Rows, config: FactorsConfig, run: Run, stage: str) -> InterestFactors:
    """From the posterior given these rows, as it is: neither calibrated nor weighed for lists."""
    users, owners = np.unique([user or "" for user in examples.columns.objects("user_id")[rows]], return_inverse=True)
    met, items = np.unique(examples.items[rows], return_inverse=True)
    known = examples.contents.take(met)
    inputs = ContentInputs.fit(known, examples.digests, config.components, config.top_words, texts=(*WORDS, CREATOR))
    reactions = examples.labels.get(REACTION, examples.labels[ENGAGED])[rows]
    level, spread = reactions.mean(), reactions.std()
    times = examples.columns.numbers("event_timestamp")[rows]
    values = Values(owners, items, (reactions - level) / spread, times)
    kept: list[Draw] = []
    chosen = set(np.linspace(config.burn_in, config.sweeps - 1, config.kept).astype(int).tolist())
    features = inputs(known).astype(np.float64)
    for sweep, draw in enumerate(draws(values, len(users), features, config.factors, config.sweeps, config.seed)):
        run.stage(stage, sweep + 1, config.sweeps)
        run.metric("factors.noise", stage, draw.noise)
        run.metric("factors.half_life", stage, draw.half_life)
        if sweep in chosen:
            kept.append(draw)
    keys = (users.tolist(), known.objects("content_id").tolist())
    familiar = np.log1p(np.append(np.bincount(items), 0.0))
    cut = (_between(reactions, examples.labels[ENGAGED][rows]) - level) / spread
    plain = Platt([1.0], 0.0)
    return InterestFactors(inputs, Posterior.of(kept), keys, familiar, cut, plain, 1.0, examples.digests, run.version)


def _between(reactions: Floats, engaged: Floats) -> float:
    """The reaction that best parts engaged rows from the others: halfway between two that occur."""
    levels, place = np.unique(reactions, return_inverse=True)
    wrong = np.cumsum(np.bincount(place, engaged)) - np.cumsum(np.bincount(place, 1 - engaged))
    best = min(int(wrong.argmin()), len(levels) - 2)
    return float(levels[best] + levels[best + 1]) / 2


def _rows(places: Mapping[str, int], ids: npt.NDArray[np.object_]) -> Rows:
    """The row of each id; the last row of all for an id that training has not met."""
    return np.array([places.get(key, len(places)) for key in ids], np.intp)
