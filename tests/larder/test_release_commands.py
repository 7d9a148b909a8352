"""`larder release --list`, `--diff`, `--rollback`, `--to`, and `larder experiment`, over manifests alone."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from feature_repo import exposures
from feature_repo.catalog import Catalog
from feature_repo.contracts import EventType, Interaction
from feature_repo.events import EventLog
from feature_repo.settings import Settings, load_settings
from predictors import experiments, shelf
from predictors.pins import PredictorPin, ReleaseManifest
from tests.larder.shell import Shell


def manifest(model: str, predictor: str = "popularity") -> ReleaseManifest:
    return ReleaseManifest({}, {"minilm": "i1"}, {predictor: PredictorPin(model, predictor)}, {"content": "minilm"})


FIRST, SECOND, OTHER = manifest("v1"), manifest("v2"), manifest("v1", "interest")


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    """A workspace in which three releases were made; the second is in use, the first can be gone back to."""
    settings = load_settings(home=tmp_path / "home")
    with Catalog(settings.catalog) as catalog:
        for made in (OTHER, FIRST, SECOND):
            shelf.publish(settings, catalog, made)
    pointer = settings.releases_dir / "CURRENT"
    pointer.write_text(f"{SECOND.version}\n{FIRST.version}\n")
    return Shell(settings.home)


@pytest.fixture
def settings(shell: Shell) -> Settings:
    return load_settings(home=shell.home)


class TestRelease:
    def test_the_list_says_which_is_in_use_and_what_changed(self, shell: Shell) -> None:
        said = shell.ok("release", "--list", "--json").json
        assert [(row["release"], row["state"], row["differs"]) for row in said] == [
            (SECOND.version, "in use", "predictor popularity"),
            (FIRST.version, "before", ""),
            (OTHER.version, "", ""),
        ]
        assert all(row["made"] for row in said)
        assert SECOND.version in shell.ok("release", "--list").out

    def test_the_list_says_which_is_broken(self, shell: Shell, settings: Settings) -> None:
        (settings.releases_dir / f"{FIRST.version}.json").write_text("{")
        [newest, *_] = shell.ok("release", "--list", "--json").json
        assert f"the manifest of release {FIRST.version} cannot be read" in newest["differs"]

    def test_a_difference_names_both_sides(self, shell: Shell) -> None:
        assert shell.ok("release", "--diff", FIRST.version, SECOND.version, "--json").json == [
            {"kind": "predictor", "name": "popularity", "before": "v1", "after": "v2"}
        ]
        assert "none" in shell.ok("release", "--diff", FIRST.version, FIRST.version).out

    def test_back_and_to_any(self, shell: Shell, settings: Settings) -> None:
        assert shell.ok("release", "--rollback", "--json").json["version"] == FIRST.version
        assert shelf.history(settings) == [FIRST.version]
        assert shell.ok("release", "--to", SECOND.version, "--json").json["version"] == SECOND.version
        assert shelf.history(settings) == [SECOND.version, FIRST.version]

    @pytest.mark.parametrize(
        ("arguments", "code", "told"),
        [
            (("--list", "--rollback"), 2, "--list and --rollback do not go together"),
            (("popularity", "--to", "x"), 2, "predictors and --to do not go together"),
            (("--to", "x"), 4, "no release 'x'; there are: "),
            (("--diff", FIRST.version, "x"), 4, "no release 'x'"),
        ],
    )
    def test_what_cannot_be_done_is_told(self, shell: Shell, arguments: tuple[str, ...], code: int, told: str) -> None:
        outcome = shell("release", *arguments)
        assert (outcome.code, outcome.out) == (code, "")
        assert told in outcome.err


class TestExperiment:
    def test_is_started_shown_and_stopped(self, shell: Shell, settings: Settings) -> None:
        arms = ("--arm", "control=current:1", "--arm", f"new={FIRST.version}:3")
        [started] = shell.ok("experiment", "start", "depth", *arms, "--json").json
        assert [(arm["name"], arm["release"], arm["share"]) for arm in started["arms"]] == [
            ("control", SECOND.version, 0.25),
            ("new", FIRST.version, 0.75),
        ]
        assert experiments.running(settings) is not None
        assert "runs" in shell.ok("experiment", "show").out
        shell.ok("experiment", "stop")
        assert experiments.running(settings) is None
        assert shell("experiment", "start", "depth", *arms).code == 3, "a name is used once"

    @pytest.mark.parametrize(
        ("arms", "code", "told"),
        [
            (["a=current:1"], 3, "two arms or more"),
            (["a=current:1", "b=x:1"], 4, "no release 'x'"),
            (
                ["a=current:1", f"b={OTHER.version}:1"],
                6,
                "do not have the same predictors (a: popularity; b: interest)",
            ),
        ],
    )
    def test_arms_that_cannot_be_served_are_told(self, shell: Shell, arms: list[str], code: int, told: str) -> None:
        outcome = shell("experiment", "start", "depth", *(part for arm in arms for part in ("--arm", arm)))
        assert outcome.code == code
        assert told in outcome.err
        assert "none yet" in shell.ok("experiment", "show").out

    def test_its_report_joins_the_log(self, shell: Shell, settings: Settings) -> None:
        shell.ok("experiment", "start", "depth", "--arm", "control=current:1", "--arm", f"new={FIRST.version}:1")
        began = experiments.named(settings, "").started
        rows = [
            (began, "depth", arm, "v", "Recommend", f"{arm}{n}", f"{arm}{n}", "popularity", ["c1"], [0.5])
            for arm in ("control", "new")
            for n in range(50)
        ]
        settings.exposures_dir.mkdir()
        pl.DataFrame(rows, exposures.SCHEMA, orient="row").write_parquet(settings.exposures_dir / "1.parquet")
        later = began + timedelta(hours=1)
        likes = [("control", 5), ("new", 30)]
        events = [Interaction(f"{arm}{n}", "c1", EventType.LIKE, later) for arm, hits in likes for n in range(hits)]
        list(EventLog(settings.interactions_dir).append(events))
        said = shell.ok("experiment", "report", "depth", "--json").json
        assert [(arm["name"], arm["units"], arm["hits"], arm["rate"]) for arm in said["arms"]] == [
            ("control", 50, 5, 0.1),
            ("new", 50, 30, 0.6),
        ]
        [comparison] = said["comparisons"]
        assert comparison["p"] < 1e-6
        assert 0 < comparison["low"] < comparison["difference"] < comparison["high"]
        assert "+0.5000" in shell.ok("experiment", "report").out
        shares = shell.ok("experiment", "report", "--event", "share", "--hours", "2", "--json").json
        assert [arm["hits"] for arm in shares["arms"]] == [0, 0]
