"""What all users together say of contents: biases, factors of who liked what, and of who met what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix
from scipy.sparse.linalg import svds

from predictors.interest.company import Company
from predictors.labels import Floats

Ints = npt.NDArray[np.int64]
Matrix = npt.NDArray[np.float32]

_SWEEPS = 8  # of the alternating least squares behind the biases
_SHRINK = 20.0  # users that a content's factors are shrunken by


@dataclass(frozen=True, slots=True)
class Crowd:
    """Of m contents, and in a last row of one that nobody has met: `bias` (m + 1,) of the reactions to it above or
    below what its users give others, `counts` (m + 1,) of its encounters, `taste` (m + 1, k) factors of who liked
    what. `company` says who met what. `level` is the mean reaction.
    """

    level: float
    bias: Matrix
    counts: Matrix
    taste: Matrix
    company: Company

    @classmethod
    def fit(
        cls, users: Ints, items: Ints, reactions: Floats, prior: Floats, company: Company, factors: int, pull: float
    ) -> Crowd:
        """From n encounters of users with contents 0 to m - 1; see `fit_biases`."""
        m, level = len(prior), float(reactions.mean())
        counts = np.bincount(items, minlength=m).astype(np.float64)
        bias, of_user = fit_biases(users, items, reactions, prior, pull)
        left = reactions - level - bias[items] - of_user[users]
        taste = _factors(users, items, left, counts, factors)
        ended_bias, ended_counts = (np.r_[values, 0.0].astype(np.float32) for values in (bias, counts))
        return cls(level, ended_bias, ended_counts, taste, company)

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """As saved."""
        company = {"company": self.company.factors, "unmet": self.company.unmet}
        return {"level": np.array(self.level), "bias": self.bias, "counts": self.counts, "taste": self.taste, **company}

    @classmethod
    def of(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> Crowd:
        """What `arrays` gave."""
        company = Company(arrays["company"], arrays["unmet"])
        return cls(float(arrays["level"]), arrays["bias"], arrays["counts"], arrays["taste"], company)


def fit_biases(users: Ints, items: Ints, reactions: Floats, prior: Floats, pull: float) -> tuple[Floats, Floats]:
    """Biases of contents (m,) and of users around the mean reaction, each fitted to what the other leaves. A content's
    starts at `prior` (m,) and counts it as `pull` encounters.
    """
    m, level = len(prior), reactions.mean()
    counts, per_user = np.bincount(items, minlength=m), np.bincount(users)
    of_user, bias = np.zeros(len(per_user)), prior
    for _ in range(_SWEEPS):
        sums = np.bincount(items, reactions - level - of_user[users], m)
        bias = (sums + pull * prior) / (counts + pull)
        of_user = np.bincount(users, reactions - level - bias[items]) / (per_user + pull)
    return bias, of_user


def _factors(users: Ints, items: Ints, values: Floats, counts: Floats, k: int) -> Matrix:
    """(m + 1, k): right singular vectors of the shrunken (users, m) matrix by their singular values, so that dot
    products are shrunken correlations; scaled to a mean square length of 1 over the encounters.
    """
    scale = 1 / np.sqrt(counts + _SHRINK)
    matrix = csr_matrix((values * scale[items], (users, items)), shape=(int(users.max()) + 1, len(counts)))
    k = min(k, min(matrix.shape) - 1)
    _, sizes, axes = svds(matrix, k=k, v0=np.ones(min(matrix.shape)))
    made = (axes * sizes[:, None]).T
    length = np.sqrt((np.square(made).sum(axis=1) @ counts) / counts.sum())
    made = np.vstack([made / max(length, 1e-12), np.zeros(k)])
    return made.astype(np.float32)
