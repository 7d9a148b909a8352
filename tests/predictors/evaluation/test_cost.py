from typing import Any

import numpy as np
import pytest

from feature_repo.columns import Columns
from predictors.base import Scores
from predictors.evaluation.cost import Metered


class Slow:
    """Takes a hundredth of a CPU-second a row by the test's clock."""

    name, service, version, features = "slow", "none", "v1", ("a",)
    embeddings: dict[str, str] = {}  # noqa: RUF012

    def __init__(self) -> None:
        self.spent = 0.0

    def score(self, columns: Columns) -> Scores:
        self.spent += columns.rows / 100
        return Scores(np.zeros(columns.rows), np.zeros((columns.rows, 2)), np.zeros(columns.rows, np.int64))


def test_rows_and_their_cpu_time_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = Slow()
    monkeypatch.setattr("time.process_time", lambda: slow.spent)
    predictor: Any = slow
    metered = Metered(predictor)
    for rows in (3, 7):
        assert len(metered.score(Columns(rows, {}, {})).score) == rows
    assert metered.cost == {"rows": 10, "cpu_seconds": pytest.approx(0.1)}
    assert (metered.name, metered.version, metered.features) == ("slow", "v1", ("a",))
