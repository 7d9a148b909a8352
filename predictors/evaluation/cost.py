"""What predictions cost: CPU time by the row."""

from __future__ import annotations

import time
from collections.abc import Mapping

from feature_repo.columns import Columns
from predictors.base import Predictor, Scores


class Metered:
    """A predictor that counts the rows it is asked of, and the CPU-seconds of this process, all threads, they take."""

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor
        self.name = predictor.name
        self.service = predictor.service
        self.rows = 0
        self.cpu_seconds = 0.0

    @property
    def version(self) -> str:
        """That of the predictor."""
        return self._predictor.version

    @property
    def features(self) -> tuple[str, ...]:
        """Those of the predictor."""
        return self._predictor.features

    @property
    def embeddings(self) -> Mapping[str, str]:
        """Those of the predictor."""
        return self._predictor.embeddings

    def score(self, columns: Columns) -> Scores:
        """What the predictor says."""
        begun = time.process_time()
        said = self._predictor.score(columns)
        self.cpu_seconds += time.process_time() - begun
        self.rows += columns.rows
        return said

    @property
    def cost(self) -> dict[str, float]:
        """Rows so far, and their CPU-seconds."""
        return {"rows": self.rows, "cpu_seconds": self.cpu_seconds}
