"""What each user likes, read off their own history: a Gaussian process over contents (Rasmussen and Williams 2006).

The reaction of a user to a content, less what anybody's would be, is a function of the content that is alike for
contents which are alike. What is left after the history is seen is, for any content, a dot product with one vector a
block of the content space: the history is solved once a user, whatever the number of candidates.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from predictors.interest.history import Histories
from predictors.labels import Floats

Matrix = npt.NDArray[np.float32]
Blocks = Mapping[str, Matrix]

_AT_ONCE = 1024  # histories solved together


@dataclass(frozen=True, slots=True)
class Tastes:
    """Of h histories: how much above others the user reacts to anything, `leniency` (h,), and to what lies along each
    block, `wants` (h, k) by block.
    """

    leniency: Matrix
    wants: Blocks

    def __call__(self, of_row: npt.NDArray[np.int64], blocks: Blocks) -> dict[str, Matrix]:
        """How much better than others each row's user will like its content (n,), by block: they add up."""
        return {name: np.einsum("nk,nk->n", blocks[name], wanted[of_row]) for name, wanted in self.wants.items()}


def solve_tastes(
    histories: Histories,
    expected: Floats,
    blocks: Blocks,
    weights: Mapping[str, float],
    leniency: float,
    noise: float,
) -> Tastes:
    """`expected` (r,) and `blocks` (r, k) are of the related contents; `weights` are the prior
    variances of the blocks, `leniency` that of a user's own level and `noise` that of a single reaction.
    """
    h = len(histories.items)
    scaled = {name: blocks[name] * np.float32(np.sqrt(weight)) for name, weight in weights.items()}
    space = np.hstack([*scaled.values(), np.full((len(expected), 1), np.sqrt(leniency), np.float32)])
    space = np.vstack([space, np.zeros(space.shape[1], np.float32)])  # the last row: no event
    surprises = np.where(histories.known, histories.reactions - np.r_[expected, 0.0][histories.items], 0.0)
    found = np.empty((h, space.shape[1]), np.float32)
    for start in range(0, h, _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        found[part] = _posterior(space[histories.items[part]], surprises[part].astype(np.float32), noise)
    ends = np.cumsum([block.shape[1] for block in scaled.values()])
    parts = np.split(found[:, :-1], ends[:-1], axis=1)
    wants = {name: part * np.float32(np.sqrt(weights[name])) for name, part in zip(scaled, parts, strict=True)}
    return Tastes(found[:, -1] * np.float32(np.sqrt(leniency)), wants)


def _posterior(events: Matrix, surprises: Matrix, noise: float) -> Matrix:
    """(c, d): the mean of the weights of the space's d directions after events (c, L, d) with surprises (c, L)."""
    gram = events @ events.transpose(0, 2, 1)
    places = np.arange(gram.shape[1])
    gram[:, places, places] += np.float32(noise)
    duals = np.linalg.solve(gram, surprises[:, :, None])
    mean: Matrix = np.einsum("cld,cl->cd", events, duals[:, :, 0])
    return mean
