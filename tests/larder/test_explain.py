"""`larder explain` on a small feed, its errors included."""

import json
from pathlib import Path

import numpy as np
import pytest

from feature_repo.catalog import Catalog
from feature_repo.settings import load_settings
from tests.larder.shell import Shell
from tests.larder.worlds import add_random_vectors, ingest_world

QUICK = ("--iterations", "20", "--set", "folds=2", "--set", "resamples=5", "--set", "threads=1")


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    """With a predictor that reads vectors of pictures which say nothing."""
    shell = Shell(tmp_path_factory.mktemp("explain") / "home")
    settings = load_settings(home=shell.home)
    with Catalog(settings.catalog) as catalog:
        ingest_world(settings, catalog, contents=150, users=20)
        add_random_vectors(settings, catalog, "efficientnet_lite0", without=3)
    for command in (("apply",), ("materialize",), ("train", *QUICK)):
        shell.ok(*command)
    return shell


@pytest.fixture(scope="module")
def contents(shell: Shell) -> list[str]:
    """Ids of contents."""
    with Catalog(load_settings(home=shell.home).catalog) as catalog:
        return [item.content.content_id for item in catalog.items()]


def test_what_a_score_is_made_of_is_shown(shell: Shell, contents: list[str]) -> None:
    said = shell.ok("explain", "popularity", contents[0], "--top", "3", "--json").json
    asked: dict[str, object] = {"predictor": "popularity", "content_id": contents[0], "user_id": None, "pictures": []}
    assert asked.items() <= said.items()
    assert said["base"] + sum(said["by_modality"].values()) == pytest.approx(said["total"])
    assert sum(each["value"] for each in said["contributions"]) == pytest.approx(said["total"] - said["base"])
    shown = shell.ok("explain", "popularity", contents[0], "--top", "3").out
    assert said["contributions"][2]["name"] in shown
    assert said["contributions"][9]["name"] not in shown
    assert "SHAP values of trees" in shown


def test_pictures_are_written(shell: Shell, contents: list[str], tmp_path: Path) -> None:
    said = shell.ok("explain", "popularity", contents[0], "--out", tmp_path / "why", "--json").json
    (path,) = map(Path, said["pictures"])
    assert path.parent == tmp_path / "why"
    assert path.read_bytes().startswith(b"\x89PNG")
    assert np.load(path.with_suffix(".npy")).shape == (224, 224)
    assert str(path) in shell.ok("explain", "popularity", contents[0], "--out", tmp_path / "why").err


def test_what_cannot_be_explained_is_said(shell: Shell, contents: list[str], tmp_path: Path) -> None:
    for arguments, code, said in (
        (("popularity", "nobody"), 4, "no content 'nobody'"),
        (("oracle", contents[0]), 2, "unknown predictor 'oracle'"),
        (("interest", contents[0]), 6, "train"),
        (("popularity", contents[0], "--user", "u1"), 2, "popularity takes no user"),
    ):
        outcome = shell("explain", *arguments)
        assert outcome.code == code, outcome.err
        assert said in outcome.err


def test_a_content_without_a_picture_has_none_to_show(shell: Shell, contents: list[str], tmp_path: Path) -> None:
    settings = load_settings(home=shell.home)
    with Catalog(settings.catalog) as catalog:
        item = catalog.get([contents[1]])[contents[1]]
    picture = next(path for modality, path in item.content.media.items() if modality == "image")
    aside = picture.rename(tmp_path / picture.name)
    try:
        outcome = shell("explain", "popularity", contents[1], "--out", tmp_path / "why")
    finally:
        aside.rename(picture)
    assert outcome.code == 3
    assert f"content {contents[1]!r}: " in outcome.err
    assert "leave --out out" in outcome.err
    assert not (tmp_path / "why").exists()
    assert json.loads(shell.ok("explain", "popularity", contents[1], "--json").out)["pictures"] == []
