import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from predictors.popularity import predictor as popularity
from predictors.report import ablation
from predictors.report.ablation import without
from tests.predictors.planted import Planted
from tests.predictors.planted_tastes import plant_tastes
from tests.predictors.report.conftest import Compared

Own = Callable[[str], Compared]


@pytest.fixture
def fits(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """The embeddings that each fit was given."""
    given: list[tuple[str, ...]] = []
    fit = popularity.fit_popularity

    def counted(examples: Any, config: Any, run: Any) -> Any:
        given.append(tuple(examples.digests))
        return fit(examples, config, run)

    monkeypatch.setattr(popularity, "fit_popularity", counted)
    return given


def test_a_modality_is_missed_where_its_signal_was_planted(own: Own, fits: list[tuple[str, ...]]) -> None:
    compared = own("popularity")
    found = compared.ablate()["popularity"]
    assert list(found) == ["image"]  # nothing varies of the others
    assert found["image"]["columns"] == ["vec"]
    lost = found["image"]["measures"]["r2"]
    assert lost["high"] < -0.3
    assert lost["p"] < 0.05
    assert fits == [()]
    assert json.loads((compared.folder / "ablation.json").read_text()) == {"popularity": found}


def test_what_was_fitted_is_not_fitted_again(
    own: Own, fits: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    compared = own("popularity")
    with monkeypatch.context() as patch:

        def interrupted(*_: object) -> None:
            raise KeyboardInterrupt

        patch.setattr(ablation, "write_json", interrupted)
        with pytest.raises(KeyboardInterrupt):
            compared.ablate()
    assert not (compared.folder / "ablation.json").exists()
    assert compared.ablate()["popularity"]["image"]["measures"]
    assert len(fits) == 1


def test_users_tastes_need_the_contents_and_the_history(own: Own) -> None:
    found = own("interest_catboost").ablate()["interest_catboost"]
    lost = {modality: said["measures"]["auc"] for modality, said in found.items()}
    assert set(lost) == {"image", "history"}
    assert lost["history"]["high"] < 0
    assert lost["image"]["value"] < 0


def test_a_predictor_that_cannot_do_without_says_why(own: Own, monkeypatch: pytest.MonkeyPatch) -> None:
    compared = own("popularity")
    monkeypatch.setattr(popularity, "LEAST_TRAINING", 10_000)
    found = compared.ablate()["popularity"]["image"]
    assert not found["measures"]
    assert "labelled contents to train on" in found["reason"]


def test_columns_that_are_gone_are_absent_in_every_row(planted: Planted) -> None:
    examples = planted.examples()
    less = without(examples, {"vec", "duration_s", "tags"})
    assert "vec" not in less.columns.values
    assert less.digests == {}
    assert np.isnan(less.columns.numbers("duration_s")).all()
    assert set(less.columns.objects("tags")) == {None}
    assert not less.columns.present["tags"].any()
    assert less.columns.objects("language").tolist() == examples.columns.objects("language").tolist()
    assert np.isfinite(examples.columns.numbers("duration_s")).all()  # what was given is as it was


def test_contents_of_the_past_lose_what_is_gone_too() -> None:
    examples = plant_tastes(users=5, contents=20, events=20).examples
    less = without(examples, {"vec", "recent_contents"})
    assert "vec" not in less.columns.related["recent_contents"].values
    assert set(less.columns.objects("recent_contents")) == {None}
    assert "vec" not in less.batch(less.splits.test).values
