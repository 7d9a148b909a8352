import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from predictors.evaluation.ranking import calibration_error
from predictors.report.calibration import reliability_bins


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=60))
def test_the_bins_hold_every_row_and_give_the_calibration_error(rows: list[tuple[float, bool]]) -> None:
    said, true = np.array([p for p, _ in rows]), np.array([float(came) for _, came in rows])
    bins = reliability_bins(said, true)
    assert bins[:, 2].sum() == len(rows)
    assert (np.diff(bins[:, 0]) > 0).all()
    error = np.abs(bins[:, 0] - bins[:, 1]) @ bins[:, 2] / len(rows)
    assert np.isclose(error, calibration_error(true, said))
