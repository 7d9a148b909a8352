"""What a predictor of interest said of held-out encounters, measured with users as what a bootstrap draws."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from predictors.evaluation.paired import Draw, Measures
from predictors.evaluation.ranking import auc, calibration_error, log_loss, mean_of_known, user_aucs
from predictors.labels import Floats


@dataclass(frozen=True)
class Outcome:
    """`engaged` (n,) 0 or 1, the `probabilities` (n,) that were predicted, and whose encounters they are, (n,)."""

    engaged: Floats
    probabilities: Floats
    users: npt.NDArray[Any]

    @cached_property
    def _owners(self) -> npt.NDArray[np.intp]:
        return np.unique(self.users, return_inverse=True)[1]

    @cached_property
    def _areas(self) -> Floats:
        """The AUC of each user's own encounters, NaN where all were alike."""
        return user_aucs(self._owners, self.engaged, self.probabilities)[1]

    @property
    def units(self) -> int:
        """How many users there are."""
        return int(self._owners.max()) + 1

    def measure(self, drawn: Draw | None = None, /) -> Measures:
        """AUC, GAUC, log-loss and calibration error, each user's rows as often as the user is drawn."""
        times = np.ones(self.units) if drawn is None else np.bincount(drawn, minlength=self.units).astype(np.float64)
        weights = times[self._owners]
        return {
            "auc": auc(self.engaged, self.probabilities, weights),
            "gauc": mean_of_known(self._areas, 0.5, times),
            "log_loss": log_loss(self.engaged, self.probabilities, weights),
            "calibration_error": calibration_error(self.engaged, self.probabilities, weights),
        }
