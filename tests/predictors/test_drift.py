"""Sketches of distributions, how far apart they are, and the reference that training leaves."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ks_2samp

from feature_repo.columns import Columns
from feature_repo.errors import StateError
from feature_repo.settings import Settings
from predictors import drift, samples
from predictors.base import load_predictor
from predictors.drift import BINS, LEAST_ROWS, Shift, Sketch, ks, psi
from predictors.report.drift import write
from predictors.train import TrainReport

numbers = st.lists(st.one_of(st.none(), st.floats(-1e6, 1e6, width=32)), min_size=1, max_size=200)


def normal(mean: float, rows: int = 20_000, seed: int = 0) -> pl.Series:
    return pl.Series("x", np.random.default_rng(seed).normal(mean, 1, rows), pl.Float32)


@given(numbers)
def test_shares_are_shares_and_nothing_of_training_lies_outside(values: list[float | None]) -> None:
    sketch = Sketch.of(pl.Series("x", values, pl.Float32))
    there = [value for value in values if value is not None]
    assert len(sketch.edges) <= BINS + 2
    assert list(sketch.edges) == sorted(set(sketch.edges))
    assert sketch.missing == pytest.approx(1 - len(there) / len(values))
    assert sketch.binned.sum() == pytest.approx(len(values))
    if there:
        assert (sketch.shares[0], sketch.shares[-1]) == (0, 0)


@given(numbers, numbers)
def test_distances_are_none_of_the_same_and_never_negative(one: list[float | None], two: list[float | None]) -> None:
    expected = Sketch.of(pl.Series("x", one, pl.Float32))
    found = expected.like(pl.Series("x", two, pl.Float32))
    again = expected.like(pl.Series("x", one * 3, pl.Float32))
    assert psi(expected, found) >= 0
    assert 0 <= ks(expected, found) <= 1 + 1e-9
    assert psi(expected, expected) == pytest.approx(0)
    assert ks(expected, again) == pytest.approx(0)


def test_a_sketch_outlives_its_file() -> None:
    sketch = Sketch.of(normal(0))
    assert drift.read_sketch(json.loads(json.dumps(asdict(sketch)))) == sketch


def test_psi_is_what_the_integral_says() -> None:
    """Of two normal distributions of variance 1, the symmetric divergence is the squared distance of their means."""
    expected = Sketch.of(normal(0))
    for distance in (0.1, 0.3, 0.6):
        assert psi(expected, expected.like(normal(distance, seed=1))) == pytest.approx(distance**2, rel=0.15, abs=0.003)


def test_ks_is_what_scipy_says_up_to_a_bin() -> None:
    one, two = normal(0), normal(0.4, seed=1)
    expected = Sketch.of(one)
    exact = ks_2samp(one.to_numpy(), two.to_numpy()).statistic
    assert ks(expected, expected.like(two)) == pytest.approx(exact, abs=1 / BINS)


@pytest.mark.parametrize(
    ("values", "verdict"),
    [
        (normal(0, seed=1), "stable"),
        (normal(0.4, seed=1), "shifted"),
        (normal(0.8, seed=1), "drifted"),
        (normal(0.8, LEAST_ROWS - 1, seed=1), "too few rows"),
        (pl.Series("x", [None] * 1000, pl.Float32), "drifted"),
        (pl.Series("x", [50.0] * 1000, pl.Float32), "drifted"),
    ],
)
def test_verdicts(values: pl.Series, verdict: str) -> None:
    expected = Sketch.of(normal(0))
    assert Shift("x", expected, expected.like(values)).verdict == verdict


def test_a_constant_that_changes_has_drifted() -> None:
    expected = Sketch.of(pl.Series("x", [3.0] * 1000))
    for value, verdict in ((3.0, "stable"), (2.0, "drifted"), (4.0, "drifted")):
        assert Shift("x", expected, expected.like(pl.Series("x", [value] * 1000))).verdict == verdict


def test_of_what_is_no_number_presence_is_compared() -> None:
    expected = Sketch.of(pl.Series("x", [True] * 900 + [False] * 100))
    assert expected.missing == pytest.approx(0.1)
    assert Shift("x", expected, expected.like(pl.Series("x", [True] * 905 + [False] * 95))).verdict == "stable"
    assert Shift("x", expected, expected.like(pl.Series("x", [False] * 1000))).verdict == "drifted"


def sampled(settings: Settings, report: TrainReport, shift: float) -> None:
    """Samples as a server would leave them: the model's golden rows over and over, one number moved."""
    golden = pl.read_parquet(report.folder / "golden.parquet")
    predictor = load_predictor(settings, "popularity")
    rows = pl.concat([golden] * 100)
    columns = Columns.from_frame(rows.select(predictor.features))
    frame = samples.frame_of(columns, predictor).with_columns(
        pl.Series("score", predictor.score(columns).score + shift),
        pl.Series("request_id", [str(n // 8) for n in range(rows.height)]),
        time=pl.lit(datetime.now(UTC)),
    )
    folder = settings.samples_dir / "popularity" / report.version
    folder.mkdir(parents=True)
    frame.write_parquet(folder / "1-1-1.parquet")


def test_training_keeps_what_it_saw_and_online_is_compared_with_it(
    settings: Settings, report: TrainReport, tmp_path: Path
) -> None:
    with pytest.raises(StateError, match="LARDER_SAMPLE_SHARE"):
        drift.compare(settings, "popularity", report.version)
    sampled(settings, report, 1000.0)
    found = drift.compare(settings, "popularity", report.version)
    score, *features = found.shifts
    assert (found.rows, found.calls) == (800, 100)
    assert (score.name, score.verdict) == ("score", "drifted")
    predictor = load_predictor(settings, "popularity")
    assert {shift.name for shift in features} == set(samples.features_of(predictor))
    assert [shift.psi for shift in features] == sorted((shift.psi for shift in features), reverse=True)
    assert all(shift.expected.rows == report.manifest["rows"]["train"] for shift in features)
    assert score.expected.rows == report.manifest["rows"]["test"]
    page = tmp_path / "drift.html"
    write([found], page)
    html = page.read_text()
    assert html.count("<svg") == len(found.shifts)
    assert "http" not in html.replace("http://www.w3.org", "")
    before = page.read_bytes()
    write([found], page)
    assert page.read_bytes() == before


def test_only_samples_since_a_time_are_looked_at(settings: Settings, report: TrainReport) -> None:
    sampled(settings, report, 0.0)
    with pytest.raises(StateError, match="nothing was sampled"):
        drift.compare(settings, "popularity", report.version, datetime.now(UTC) + timedelta(hours=1))


def test_a_version_without_a_reference_is_to_be_trained_again(settings: Settings, report: TrainReport) -> None:
    (report.folder / drift.FILE).unlink()
    with pytest.raises(StateError, match="train again"):
        drift.compare(settings, "popularity", report.version)
