"""Evidence -> one self-contained HTML file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from feature_repo.catalog import Catalog
from feature_repo.errors import ConfigurationError
from feature_repo.settings import Settings
from predictors.evaluation.engagement import FILE
from predictors.evaluation.text import SURE
from predictors.report import figures, findings
from predictors.report.calibration import reliabilities
from predictors.report.card import data_card
from predictors.report.evidence import Evidence, Fit, Task
from predictors.report.measures import MEASURES, measure
from predictors.report.misses import Misses, worst
from predictors.report.page import write_page

PRICE = 0.05  # of a CPU-hour, about what clouds ask for one


@dataclass(frozen=True, slots=True)
class Influence:
    """What one `model` of a fit leans on, as a chart; `shap` where the chart shows SHAP values of what is said."""

    fit: str
    model: str
    chart: str
    shap: bool = False


@dataclass(frozen=True, slots=True)
class Section:
    """Everything that the page shows of one task; a chart is "" and a list empty where there is nothing to show."""

    task: Task
    abstract: list[str]
    measures: list[str]
    best: Mapping[str, str]
    verdicts: list[tuple[str, str]]
    intervals: str
    labels: str
    curves: Mapping[str, str]
    confusion: str
    reliability: str
    influences: list[Influence]
    misses: list[Misses]
    ablations: Mapping[str, tuple[str, Mapping[str, Any]]]
    costs: list[tuple[str, float, float, float]]


def write(evidence: Evidence, settings: Settings, catalog: Catalog, path: Path, price: float = PRICE) -> None:
    """Write the report to `path`, whole or not at all; the same evidence gives the same bytes.

    Raises ConfigurationError where `price` is below 0.
    """
    if price < 0:
        raise ConfigurationError(f"the price of a CPU-hour must not be negative, got {price:g}")
    write_page(
        Path(__file__).with_name("report.html"),
        path,
        measure=measure,
        plain=findings.plain,
        MEASURES=MEASURES,
        SURE=SURE,
        evidence=evidence,
        card=data_card(settings, catalog),
        sections=[_section(task, evidence, catalog, price) for task in evidence.tasks],
        price=price,
    )


def _section(task: Task, evidence: Evidence, catalog: Catalog, price: float) -> Section:
    calibrated = reliabilities(task)
    own = [model for model in task.models if model.name in {fit.name for fit in task.fits}]
    classed = [(model.name, model.said[FILE]) for model in own if FILE in model.said]
    errors = {one.model: one.error for one in calibrated}
    ablated = {fit.name: evidence.ablation[fit.name] for fit in task.fits if fit.name in evidence.ablation}
    decides = task.headlines[0] if task.headlines else ""
    measures = [name for name in MEASURES if any(name in model.estimates for model in task.models)]
    return Section(
        task=task,
        abstract=findings.abstract(task, errors, evidence.ablation, price),
        measures=measures,
        best={name: findings.ranking(task, name)[0].name for name in measures},
        verdicts=list(findings.verdicts(task)),
        intervals=figures.intervals(task) if decides else "",
        labels="" if task.truth is None else figures.labels(task.truth),
        curves={fit.name: figures.learning_curves(fit.curves) for fit in task.fits if fit.curves},
        confusion=figures.confusion(classed, task.truth) if classed and task.truth is not None else "",
        reliability=figures.reliability(calibrated) if calibrated else "",
        influences=[found for fit in task.fits for found in _influences(fit)],
        misses=[found for model in own if (found := worst(task, model, catalog))],
        ablations={name: (figures.ablation(said, decides), said) for name, said in ablated.items()},
        costs=[
            (who, cost["rows"], *findings.thousand(cost, price)) for fit in task.fits for who, cost in fit.cost.items()
        ],
    )


def _influences(fit: Fit) -> list[Influence]:
    """What a fit tells of its features: SHAP values, importances, the gates or weights of its parts."""
    found = []
    if said := fit.facts.get("influences"):
        found.append(Influence(fit.name, "", figures.influences(said), shap=True))
    for model, importances in fit.facts.get("importances", {}).items():
        found.append(Influence(fit.name, model, figures.importances(importances)))
    for parts, label in (("gates", "mean share"), ("weights", "weight")):
        if said := fit.facts.get(parts):
            found += [Influence(fit.name, parts, figures.importances(said, label))]
    return found
