import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from feature_repo.catalog import Catalog
from feature_repo.errors import ConfigurationError, InputError
from feature_repo.settings import Settings
from predictors.evaluation import comparison as comparison
from predictors.evaluation.comparison import CompareOptions, compare
from predictors.evaluation.engagement_metrics import r2
from predictors.evaluation.kept import keep
from predictors.evaluation.text import tables
from predictors.popularity import predictor as catboost
from predictors.recipes import RECIPES
from tests.predictors.planted import FrameStore, Planted

Fill = Callable[[Planted], Catalog]
Compare = Callable[..., dict[str, Any]]

QUICK: dict[str, Any] = {
    "iterations": 60,
    "patience": 20,
    "depth": 4,
    "learning_rate": 0.2,
    "resamples": 20,
    "threads": 1,
}


@pytest.fixture
def run(settings: Settings, fill: Fill, planted: Planted, tmp_path: Path) -> Compare:
    """Compares `popularity` on the planted contents, into `tmp_path / "out"`."""
    catalog = fill(planted)

    def of(**options: Any) -> dict[str, Any]:
        fields = {**QUICK, **options.pop("fields", {})}
        chosen = CompareOptions(**{"resamples": 100, **options}, configs={"popularity": fields})
        return compare(settings, catalog, FrameStore(planted.frame), ["popularity"], tmp_path / "out", chosen)

    return of


@pytest.fixture
def fits(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The seeds of the fits that were made."""
    seeds: list[int] = []
    fit = catboost.fit_popularity

    def counted(examples: Any, config: Any, run: Any) -> Any:
        seeds.append(config.seed)
        return fit(examples, config, run)

    monkeypatch.setattr(catboost, "fit_popularity", counted)
    return seeds


def test_predictors_stand_beside_their_rivals_and_naive_baselines(run: Compare, tmp_path: Path) -> None:
    report = run()
    models = report["tasks"]["engagement"]["models"]
    assert list(models) == ["popularity", "popularity-metadata_only", "mean"]
    found = models["popularity"]["estimates"]["r2"]
    assert found["low"] < found["value"] < found["high"]
    assert models["mean"]["estimates"]["r2"]["value"] == pytest.approx(0, abs=0.1)
    pairs = {(pair["of"], pair["less"]): pair["measures"] for pair in report["tasks"]["engagement"]["differences"]}
    assert len(pairs) == 3
    against = pairs["popularity", "popularity-metadata_only"]["r2"]
    assert against["low"] > 0.2
    assert against["p"] < 0.05
    assert json.loads((tmp_path / "out" / "comparison.json").read_text()) == json.loads(json.dumps(report))
    text = (tmp_path / "out" / "comparison.md").read_text()
    assert f"| popularity | {models['popularity']['estimates']['accuracy']['value']:.4f} [" in text
    assert [len(table.rows) for table in tables(report)] == [3, 3]


def test_a_rival_that_is_compared_itself_stands_there_once(
    settings: Settings, fill: Fill, planted: Planted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(RECIPES, "metadata_only", RECIPES["popularity"])
    both = ["popularity", "metadata_only"]
    options = CompareOptions(resamples=20, configs=dict.fromkeys(both, QUICK))
    report = compare(settings, fill(planted), FrameStore(planted.frame), both, tmp_path / "out", options)
    assert list(report["tasks"]["engagement"]["models"]) == ["popularity", "mean", "metadata_only"]


def test_the_files_say_what_the_measures_say(run: Compare, tmp_path: Path, planted: Planted) -> None:
    report = run(seeds=2)
    by_seed = report["tasks"]["engagement"]["models"]["popularity"]["by_seed"]
    for seed, measured in enumerate(by_seed):
        part = f"seed-{seed}"
        said = pl.read_csv(tmp_path / "out" / "popularity" / part / "popularity" / "engagement.csv")
        assert said.columns == ["id", "pred", "cls"]
        assert said.equals(
            pl.read_parquet(tmp_path / "out" / "popularity" / part / "popularity" / "engagement.parquet")
        )
        truth = dict(zip(planted.content_ids, planted.scores, strict=True))
        wanted = np.array([np.log1p(np.expm1(truth[name])) for name in said["id"]])
        assert measured["r2"] == pytest.approx(r2(wanted, said["pred"].to_numpy()))
        kept = pl.read_parquet(tmp_path / "out" / "baselines" / "engagement" / part / "truth" / "truth.parquet")
        assert measured["accuracy"] == pytest.approx((kept["cls"] == said["cls"]).mean())
    value = report["tasks"]["engagement"]["models"]["popularity"]["estimates"]["r2"]["value"]
    assert value == pytest.approx(np.mean([measured["r2"] for measured in by_seed]))
    assert by_seed[0] != by_seed[1]


def test_what_was_predicted_is_not_fitted_again(run: Compare, fits: list[int]) -> None:
    first = run(seeds=2)
    assert fits == [0, 1]
    assert run(seeds=2) == first
    assert fits == [0, 1]
    run(seeds=3)
    assert fits == [0, 1, 2]
    other = run(seeds=2, fields={"depth": 3})
    assert fits == [0, 1, 2, 0, 1]
    assert other["versions"] != first["versions"]


def test_a_comparison_that_was_interrupted_goes_on(
    run: Compare, fits: list[int], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write = keep

    def interrupted(folder: Path, *rest: Any) -> None:
        if folder == tmp_path / "out" / "popularity" / "seed-1":
            raise KeyboardInterrupt
        write(folder, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(comparison, "keep", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(seeds=2)
    assert not (tmp_path / "out" / "comparison.json").exists()
    report = run(seeds=2)
    assert fits == [0, 1, 1]
    assert report["seeds"] == [0, 1]


def test_a_folder_holds_out_the_very_rows(run: Compare, tmp_path: Path, planted: Planted) -> None:
    ids = planted.content_ids
    for part, named in {"train": ids[:150], "valid": ids[150:180], "test": ids[200:]}.items():
        (tmp_path / f"{part}.csv").write_text("\n".join(["id", *named]))
    run(split=str(tmp_path))
    said = pl.read_csv(tmp_path / "out" / "popularity" / "seed-0" / "popularity" / "engagement.csv")
    assert said["id"].to_list() == ids[200:]
    (tmp_path / "test.csv").write_text("id\nc0200\nnobody\n")
    with pytest.raises(InputError, match=r"test\.csv: 1 of 2 contents are not in the catalog.*nobody"):
        run(split=str(tmp_path))


def test_truths_that_differ_are_not_compared(
    settings: Settings, fill: Fill, planted: Planted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = RECIPES["popularity"]
    twins = {"popularity": recipe, "twin": dataclasses.replace(recipe)}
    monkeypatch.setattr(comparison, "recipe_of", twins.__getitem__)
    catalog, store = fill(planted), FrameStore(planted.frame)
    configs: dict[str, dict[str, Any]] = {"popularity": QUICK, "twin": {**QUICK, "weights": {"views": 2.0}}}
    options = CompareOptions(resamples=5, configs=configs)
    with pytest.raises(ConfigurationError, match="engagement are held against different truths"):
        compare(settings, catalog, store, list(twins), tmp_path / "out", options)
    same = CompareOptions(resamples=5, configs=dict.fromkeys(twins, QUICK))
    models = compare(settings, catalog, store, list(twins), tmp_path / "out", same)["tasks"]["engagement"]["models"]
    assert list(models) == ["popularity", "popularity-metadata_only", "mean", "twin", "twin-metadata_only"]


def test_unknown_predictors_and_fields_are_refused_before_anything_is_fitted(
    run: Compare, settings: Settings, catalog: Catalog, planted: Planted, tmp_path: Path
) -> None:
    with pytest.raises(ConfigurationError, match="unknown predictor 'popularty'"):
        compare(settings, catalog, FrameStore(planted.frame), ["popularty"], tmp_path / "out", CompareOptions())
    with pytest.raises(ConfigurationError, match="did you mean depth"):
        run(fields={"dept": 3})
    assert not (tmp_path / "out").exists()
