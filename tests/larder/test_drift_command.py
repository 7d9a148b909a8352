"""`larder drift`, over the samples that a server leaves and the distributions that a training does."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from feature_repo.catalog import Catalog
from feature_repo.columns import Columns
from feature_repo.settings import Settings, load_settings
from predictors import samples, shelf, versions
from predictors.base import Scores
from predictors.drift import write_reference
from predictors.pins import PredictorPin, ReleaseManifest
from tests.larder.shell import Shell

ROWS = 2000


class Adding:
    """A predictor of the sum of two features."""

    name = service = "popularity"
    version = "v1"
    features = ("content_views", "duration_s")
    embeddings: Mapping[str, str] = {}

    def score(self, columns: Columns) -> Scores:
        total = sum(columns.numbers(name) for name in self.features)
        return Scores(np.asarray(total, np.float64), np.ones((columns.rows, 1)), np.zeros(columns.rows, np.int64))


def rows(seed: int, longer: float = 0.0) -> Columns:
    rng = np.random.default_rng(seed)
    values = {"content_views": rng.normal(100, 10, ROWS), "duration_s": rng.normal(60 + longer, 5, ROWS)}
    return Columns.from_frame(pl.DataFrame(values, dict.fromkeys(values, pl.Float32)))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A workspace with a release of the predictor, trained but never asked."""
    settings = load_settings(home=tmp_path / "home")

    def train(folder: Path) -> versions.Manifest:
        write_reference(folder, Adding(), [rows(0)], [rows(1)])
        return {}

    versions.publish(settings, Adding.name, Adding.version, train)
    manifest = ReleaseManifest({}, {}, {Adding.name: PredictorPin(Adding.version, Adding.service)}, {})
    with Catalog(settings.catalog) as catalog:
        shelf.publish(settings, catalog, manifest)
    return settings


@pytest.fixture
def sampled(settings: Settings) -> Settings:
    """Then it was asked, 8 candidates a call, about contents that are longer than those of its training."""
    seen = rows(2, longer=20.0)
    frame = samples.frame_of(seen, Adding()).with_columns(
        pl.Series(samples.SCORE, Adding().score(seen).score),
        pl.Series("request_id", [str(row // 8) for row in range(ROWS)]),
        pl.lit(datetime.now(UTC)).alias(samples.TIME),
    )
    folder = settings.samples_dir / Adding.name / Adding.version
    folder.mkdir(parents=True)
    frame.write_parquet(folder / "1-1-1.parquet")
    return settings


def test_says_what_has_drifted_and_writes_a_page(sampled: Settings, tmp_path: Path) -> None:
    page = tmp_path / "drift.html"
    outcome = Shell(sampled.home).ok("drift", "--out", page)
    said = outcome.out
    assert f"popularity v1: {ROWS:,} rows of {ROWS // 8:,} calls" in said
    verdicts = {"duration_s": "drifted", "score": "drifted", "content_views": "stable"}
    for name, verdict in verdicts.items():
        assert any(name in line and verdict in line for line in said.splitlines()), name
    assert f"page: {page}" in outcome.err.replace("\n", "")
    html = page.read_text()
    assert html.count("<svg") == 3
    assert "duration_s" in html


def test_says_the_same_as_json(sampled: Settings) -> None:
    [found] = Shell(sampled.home).ok("drift", "popularity", "--json").json
    assert (found["predictor"], found["version"], found["rows"], found["calls"]) == ("popularity", "v1", 2000, 250)
    score, *features = found["shifts"]
    assert (score["name"], score["verdict"]) == ("score", "drifted")
    assert [(one["name"], one["verdict"]) for one in features] == [
        ("duration_s", "drifted"),
        ("content_views", "stable"),
    ]
    assert features[0]["psi"] > features[1]["psi"]
    assert (features[0]["missing"], features[0]["missing_in_training"]) == (0, 0)


def test_without_samples_it_says_how_to_have_them(settings: Settings, tmp_path: Path) -> None:
    failed = Shell(settings.home)("drift", "--out", tmp_path / "drift.html")
    assert failed.code == 6
    assert "nothing was sampled of popularity v1: serve it with LARDER_SAMPLE_SHARE=0.01" in failed.err
    assert not (tmp_path / "drift.html").exists()


def test_samples_that_are_too_old_are_none(sampled: Settings) -> None:
    [path] = sampled.samples_dir.rglob("*.parquet")
    pl.read_parquet(path).with_columns(pl.col(samples.TIME).dt.offset_by("-2h")).write_parquet(path)
    assert "nothing was sampled" in Shell(sampled.home)("drift", "--hours", "1").err
    assert Shell(sampled.home).ok("drift", "--hours", "3").out


def test_a_predictor_that_is_not_released_is_told_with_those_that_are(sampled: Settings) -> None:
    failed = Shell(sampled.home)("drift", "interest")
    assert failed.code != 0
    assert "interest" in failed.err
    assert "popularity" in failed.err
