"""How good predictions of interest are: who tells engaged events from others, is calibrated, and lists what is wanted.

Measures of events take weights, so that a bootstrap over users is a change of weights and sorts nothing twice.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from predictors.labels import Floats

Keys = npt.NDArray[Any]

K = 10  # of hit rate and gain
BINS = 10  # of the calibration error
_CLIP = 1e-6  # a certain and wrong prediction costs 13.8 nats, not infinitely many


def auc(labels: Floats, scores: Floats, weights: Floats | None = None) -> float:
    """Chance that an engaged event scores above another, ties half (Hanley and McNeil 1982); all arrays (n,).

    0.5 where there is one kind of event only.
    """
    weights = _weights(labels, weights)
    _, group = np.unique(scores, return_inverse=True)
    positive = np.bincount(group, labels * weights)
    negative = np.bincount(group, (1 - labels) * weights)
    pairs = positive.sum() * negative.sum()
    below = np.cumsum(negative) - negative / 2
    return float(positive @ below / pairs) if pairs > 0 else 0.5


def user_aucs(users: Keys, labels: Floats, scores: Floats) -> tuple[Keys, Floats]:
    """The users (u,) in ascending order, and the AUC (u,) of each one's events; NaN for one kind of event only."""
    known, owner = np.unique(users, return_inverse=True)
    order = np.lexsort((scores, owner))
    owner, ordered, sorted_labels = owner[order], scores[order], labels[order]
    starts = np.ones(len(order), bool)  # of runs of one user's equal scores
    starts[1:] = (owner[1:] != owner[:-1]) | (ordered[1:] != ordered[:-1])
    run = np.cumsum(starts) - 1
    first, sizes = np.flatnonzero(starts), np.bincount(run)
    events = np.bincount(owner, minlength=len(known))
    begins = np.cumsum(events) - events
    ranks = first[run] - begins[owner] + (sizes[run] + 1) / 2  # ties at their mean rank
    positives = np.bincount(owner, sorted_labels, len(known))
    pairs = positives * (events - positives)
    above = np.bincount(owner, ranks * sorted_labels, len(known)) - positives * (positives + 1) / 2
    return known, np.divide(above, pairs, out=np.full(len(known), np.nan), where=pairs > 0)


def gauc(users: Keys, labels: Floats, scores: Floats) -> float:
    """Mean AUC over the users who have both kinds of events, each user counting once; 0.5 where nobody has."""
    return mean_of_known(user_aucs(users, labels, scores)[1], 0.5)


def log_loss(labels: Floats, probabilities: Floats, weights: Floats | None = None) -> float:
    """Mean negative log-likelihood in nats; probabilities are held off 0 and 1 by 1e-6."""
    p = np.clip(probabilities, _CLIP, 1 - _CLIP)
    return float(-np.average(labels * np.log(p) + (1 - labels) * np.log1p(-p), weights=_weights(labels, weights)))


def calibration_error(labels: Floats, probabilities: Floats, weights: Floats | None = None) -> float:
    """Expected calibration error over ten bins of equal width (Guo et al. 2017), in units of probability."""
    weights = _weights(labels, weights)
    bins = np.minimum((probabilities * BINS).astype(np.int64), BINS - 1)
    gaps = np.bincount(bins, weights * (labels - probabilities))
    return float(np.abs(gaps).sum() / weights.sum())


def list_measures(
    lists: Mapping[str, Sequence[str]], wanted: Mapping[str, Collection[str]], k: int = K
) -> tuple[Floats, Floats]:
    """Hit rate and NDCG (Järvelin and Kekäläinen 2002) of each user's first k contents, (u,) each, as `wanted` is
    ordered. A user without a list, or with a shorter one, hits what is on it.
    """
    discounts = 1 / np.log2(np.arange(k) + 2)
    hits, gains = np.zeros(len(wanted)), np.zeros(len(wanted))
    for row, (user, relevant) in enumerate(wanted.items()):
        found = [place for place, content in enumerate(lists.get(user, ())[:k]) if content in relevant]
        hits[row] = bool(found)
        gains[row] = discounts[found].sum() / discounts[: len(relevant)].sum()
    return hits, gains


def mean_of_known(values: Floats, otherwise: float, weights: Floats | None = None) -> float:
    """Weighted mean of the values that are not NaN; `otherwise` where there is none."""
    known = ~np.isnan(values)
    weights = _weights(values, weights)[known]
    return float(values[known] @ weights / weights.sum()) if weights.sum() > 0 else otherwise


def _weights(like: Floats, weights: Floats | None) -> Floats:
    return np.ones(len(like)) if weights is None else weights
