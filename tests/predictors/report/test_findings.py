from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from predictors.report.evidence import Estimate, Fit, Model, Task
from predictors.report.findings import abstract, chance, plain, thousand, verdicts

ABOVE, APART, SAME = {"value": 0.2, "p": 0.01}, {"value": 0.1, "p": 0.04}, {"value": 0.01, "p": 0.6}


def task(
    values: Mapping[str, float], pairs: Mapping[tuple[str, str], Mapping[str, float]], decides: str = "r2"
) -> Task:
    """Models `deep`, `plain` and the naive `mean`; each of `pairs` is a difference with its p."""
    models = [
        Model(name, {decides: Estimate(value, value - 0.1, value + 0.1)}, name == "mean")
        for name, value in values.items()
    ]
    differences: list[dict[str, Any]] = [
        {"of": of, "less": less, "measures": {decides: {"low": -0.1, "high": 0.3, **said}}}
        for (of, less), said in pairs.items()
    ]
    cost = {"deep": {"rows": 100, "cpu_seconds": 2.0}, "plain": {"rows": 200, "cpu_seconds": 1.0}}
    kind = "engagement" if decides == "r2" else "interest"
    return Task("task", kind, "100 held-out rows", models, [Fit("deep", "v", {}, {}, {}, cost)], differences)


def said(found: Task, ablation: Mapping[str, Any] | None = None, ece: float = 0.02) -> str:
    return " ".join(abstract(found, {"deep": ece}, ablation or {}, 0.36))


def test_the_best_is_recommended_and_its_lead_judged() -> None:
    values = {"deep": 0.6, "plain": 0.5, "mean": 0.0}
    text = said(task(values, {("deep", "plain"): APART, ("mean", "deep"): {**ABOVE, "value": -0.2}}))
    assert text.startswith("Use deep. On 100 held-out rows, deep has the best R²: 0.600 [0.500, 0.700].")
    assert "0.100 above that of plain" in text
    assert "0.200 above that of the naive baseline mean" in text  # the pair was the other way about
    assert text.count("more than the draw of held-out rows explains") == 2
    assert "1,000 predictions of deep took 20 CPU-seconds, 0.002 at 0.36 a CPU-hour." in text


def test_a_rival_that_is_as_good_and_cheaper_is_named() -> None:
    text = said(task({"deep": 0.51, "plain": 0.5, "mean": 0.0}, {("deep", "plain"): SAME, ("deep", "mean"): ABOVE}))
    assert text.startswith("Use deep, or plain where cost counts")
    assert "25\u00a0% of the CPU time" in text
    assert "these rows cannot tell the two apart" in text


def test_a_rival_that_surely_sorts_worse_is_not_as_good() -> None:
    values, pairs = {"deep": 0.61, "plain": 0.6, "mean": 0.5}, {("deep", "plain"): SAME, ("deep", "mean"): ABOVE}
    alike = task(values, pairs, "auc")
    assert said(alike).startswith("Use deep, or plain")
    sorting = {
        "of": "plain",
        "less": "deep",
        "measures": {"ndcg10": {**ABOVE, "value": -0.2, "low": -0.3, "high": -0.1}},
    }
    models = [replace(one, estimates={**one.estimates, "ndcg10": Estimate(0.1, 0.0, 0.2)}) for one in alike.models]
    assert said(replace(alike, models=models, differences=[*alike.differences, sorting])).startswith("Use deep. ")


def test_nothing_is_recommended_that_is_not_above_the_naive() -> None:
    assert said(task({"deep": 0.1, "mean": 0.2}, {("mean", "deep"): ABOVE})).startswith("Use none of them yet: mean")
    assert said(task({"deep": 0.21, "mean": 0.2}, {("deep", "mean"): SAME})).startswith("Nothing here is surely better")


def test_where_less_is_better_the_least_is_best() -> None:
    found = task({"deep": 0.4, "plain": 0.6}, {("deep", "plain"): {"value": -0.2, "p": 0.01}}, "auc")
    assert list(verdicts(found)) == [("plain is better than deep", "0.200 of AUC, p = 0.010")]
    unsure = task({"deep": 0.6, "plain": 0.5}, {("deep", "plain"): SAME})
    assert list(verdicts(unsure)) == [("deep and plain cannot be told apart", "0.010 of R², p = 0.600")]


def test_modalities_that_are_missed_are_named_the_dearest_first() -> None:
    found = task({"deep": 0.6, "mean": 0.0}, {("deep", "mean"): ABOVE})

    def lost(value: float, p: float) -> dict[str, Any]:
        return {"measures": {"r2": {"value": value, "p": p}}}

    ablation = {"deep": {"image": lost(-0.1, 0.01), "text": lost(-0.3, 0.01), "sound": lost(-0.1, 0.5)}}
    assert "deep needs text (-0.300) and image (-0.100)" in said(found, ablation)
    assert "No single modality is indispensable to deep" in said(found, {"deep": {"sound": lost(0.1, 0.01)}})


@pytest.mark.parametrize(("ece", "words"), [(0.01, "taken at their word"), (0.08, "roughly right"), (0.2, "mislead")])
def test_probabilities_are_judged(ece: float, words: str) -> None:
    assert words in said(task({"deep": 0.6, "mean": 0.0}, {("deep", "mean"): ABOVE}), ece=ece)


def test_numbers_are_written_plainly() -> None:
    assert [plain(value) for value in (6.4321e-7, 0.5, 12.0, 0.0)] == ["0.00000064", "0.5", "12", "0"]
    assert [chance(p) for p in (0.0001, 0.0123)] == ["p < 0.001", "p = 0.012"]
    assert thousand({"rows": 0, "cpu_seconds": 0.0}, 1.0) == (0.0, 0.0)
