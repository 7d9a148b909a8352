"""`larder report`: what a comparison, or the published predictors, come to."""

from pathlib import Path

import pytest

from feature_repo.catalog import Catalog
from feature_repo.settings import load_settings
from tests.larder.shell import Shell
from tests.larder.worlds import add_random_vectors, ingest_world


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """In a workspace with contents and vectors that say nothing."""
    shell = Shell(tmp_path_factory.mktemp("report") / "home")
    settings = load_settings(home=shell.home)
    with Catalog(settings.catalog) as catalog:
        ingest_world(settings, catalog, contents=150, users=20)
        add_random_vectors(settings, catalog, "minilm", without=3)
    shell.ok("apply")
    return shell


def test_a_comparison_is_reported_without_and_with_each_modality(shell: Shell, tmp_path: Path) -> None:
    config = tmp_path / "quick.toml"
    config.write_text("iterations = 10\nfolds = 2\nthreads = 1\nbags = 1\n")
    out, page = tmp_path / "out", tmp_path / "page.html"
    shell.ok("evaluate", "popularity", "--config", f"popularity={config}", "--out", out, "--resamples", "20")
    assert str(page) in shell.ok("report", out, "--out", page).err
    assert "Not measured: <code>larder report --ablate</code>" in page.read_text()
    shell.ok("report", out, "--out", page, "--ablate", "--price", "7")
    assert "fitted again without each modality" in page.read_text()
    assert "minilm" in page.read_text()
    assert "at 7 a CPU-hour" in page.read_text()


def test_published_predictors_are_reported_where_there_are_any(shell: Shell, tmp_path: Path) -> None:
    outcome = shell("report", "--out", tmp_path / "page.html")
    assert outcome.code != 0
    assert "no predictor is trained yet" in outcome.err
    shell.ok("train", "--iterations", "10", "--set", "threads=1")
    shell.ok("report", "--out", tmp_path / "page.html")
    assert "popularity" in (tmp_path / "page.html").read_text()


def test_what_cannot_be_reported_is_refused(shell: Shell, tmp_path: Path) -> None:
    outcome = shell("report", "--ablate")
    assert outcome.code == 2
    assert "--ablate needs the folder of a comparison" in outcome.err
    assert "holds no comparison.json" in shell("report", tmp_path).err
