import json
from pathlib import Path

import polars as pl
import pytest

from feature_repo.errors import ConfigurationError, NotFoundError, StateError
from feature_repo.files import digest_file
from feature_repo.settings import Settings
from predictors import versions
from predictors.base import PREDICTORS, load_predictor
from predictors.train import TrainReport


@pytest.fixture
def folder(report: TrainReport) -> Path:
    return report.folder


def rewrite(folder: Path, **changes: object) -> None:
    """Change a manifest so that it still agrees with the files' digests."""
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"] = {name: digest_file(folder / name) for name in manifest["files"]}
    (folder / "manifest.json").write_text(json.dumps(manifest | changes))


@pytest.mark.parametrize("name", PREDICTORS)
def test_nothing_trained_says_what_to_run(settings: Settings, name: str) -> None:
    with pytest.raises(StateError, match=f"larder train {name}"):
        load_predictor(settings, name)


def test_unknown_names_list_the_valid_ones(settings: Settings, folder: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"valid: .*popularity"):
        load_predictor(settings, "popularty")
    with pytest.raises(NotFoundError, match=folder.name):
        load_predictor(settings, "popularity", "0123")
    with pytest.raises(NotFoundError):
        load_predictor(settings, "popularity", "../popularity/" + folder.name)


@pytest.mark.parametrize(
    "name", ["regressor.cbm", "classifier.cbm", "assembler.npz", "assembler.json", "golden.parquet"]
)
def test_a_file_other_than_the_trained_one_is_refused(settings: Settings, folder: Path, name: str) -> None:
    path = folder / name
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(StateError, match=f"{name} is not the file that was trained"):
        load_predictor(settings, "popularity")
    path.unlink()
    with pytest.raises(StateError, match=f"{name} cannot be read"):
        load_predictor(settings, "popularity")


@pytest.mark.parametrize(
    "change", [{"features": ["views"]}, {"embeddings": {"vec": "other"}}, {"service": "interest"}, {"version": "x"}]
)
def test_a_manifest_that_says_otherwise_is_refused(settings: Settings, folder: Path, change: dict[str, object]) -> None:
    rewrite(folder, **change)
    with pytest.raises(StateError, match="the manifest says"):
        load_predictor(settings, "popularity")


def test_a_manifest_that_is_no_json_is_refused(settings: Settings, folder: Path) -> None:
    (folder / "manifest.json").write_text("{")
    with pytest.raises(StateError, match="cannot be read"):
        load_predictor(settings, "popularity")


def test_a_model_that_scores_its_golden_batch_otherwise_is_refused(settings: Settings, folder: Path) -> None:
    path = folder / "golden.parquet"
    pl.read_parquet(path).with_columns(pl.col("expected_score") + 0.01).write_parquet(path)
    rewrite(folder)
    with pytest.raises(StateError, match=r"golden batch 0\.01 off"):
        load_predictor(settings, "popularity")


def test_versions_are_listed_and_the_current_one_named(settings: Settings, folder: Path) -> None:
    assert versions.versions_of(settings, "popularity") == [folder.name]
    assert versions.current(settings, "popularity") == folder.name
    versions.make_current(settings, "popularity", "gone")
    with pytest.raises(NotFoundError, match="gone"):
        load_predictor(settings, "popularity")
