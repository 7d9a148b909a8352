"""The demo's report: one HTML file that needs nothing beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from matplotlib.figure import Figure

from feature_repo.contracts import Modality
from larder.show import METRICS
from predictors.report.drawing import ACCENT, INK, SOFT, bars, svg, thumbnail
from predictors.report.page import write_page

if TYPE_CHECKING:
    from embedders.runner import RunReport
    from feature_repo.ingest import IngestReport
    from grpc_api.messages.predict import Prediction
    from grpc_api.messages.similar import Similarities
    from indexers.versions import IndexManifest
    from larder.steps import Workspace
    from predictors.train import TrainReport


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds of one kind of call."""

    what: str
    calls: int
    p50_ms: float
    p99_ms: float


@dataclass(frozen=True, slots=True)
class Neighbours:
    """One query of the contact sheet and its neighbours by embedding."""

    content_id: str
    title: str
    by: Mapping[str, Similarities]


@dataclass(slots=True)
class ReportData:
    """Everything the report shows; what the server answered is filled in once it was asked."""

    dataset: str
    ingested: IngestReport
    embedded: Sequence[RunReport]
    indexed: Sequence[IndexManifest]
    trained: TrainReport
    release: str = ""
    predictions: list[tuple[str, Prediction]] = field(default_factory=list)
    sheet: list[Neighbours] = field(default_factory=list)
    latencies: list[Latency] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)


def write_report(space: Workspace, data: ReportData, path: Path) -> None:
    """Write the report to `path`, whole or not at all."""
    manifest = data.trained.manifest
    best = sorted(data.predictions, key=lambda row: -row[1].score)
    write_page(
        Path(__file__).with_name("report.html"),
        path,
        data=data,
        manifest=manifest,
        metrics=METRICS,
        rows=_metric_rows(manifest),
        curve=_learning_curve(manifest["curves"]),
        importances=_importances(manifest["importances"]["regressor"]),
        stages=_stage_bars(data.seconds),
        best=best[:5] + best[-5:] if len(best) > 10 else best,
        pictures=_thumbnails(space, data.sheet),
    )


def _metric_rows(manifest: Mapping[str, object]) -> list[tuple[str, Mapping[str, float]]]:
    baselines: Mapping[str, Mapping[str, float]] = manifest["baselines"]  # type: ignore[assignment]
    own: Mapping[str, float] = manifest["metrics"]  # type: ignore[assignment]
    return [(f"{manifest['name']} (this model)", own)] + [(k.replace("_", " "), v) for k, v in baselines.items()]


def _thumbnails(space: Workspace, sheet: Sequence[Neighbours]) -> dict[str, str]:
    """Data URL of each picture on the sheet by content id; "" where there is none that can be read."""
    wanted = {row.content_id for row in sheet} | {
        n.content_id for row in sheet for found in row.by.values() for n in found.neighbours
    }
    pictures = dict.fromkeys(wanted, "")
    for content_id, item in space.catalog.get(sorted(wanted)).items():
        medium = item.media.get(Modality.IMAGE)
        if medium is not None and medium.digest is not None:
            pictures[content_id] = thumbnail(medium.path)
    return pictures


def _learning_curve(curves: Mapping[str, Mapping[str, Sequence[float]]]) -> str:
    """Loss by number of trees, a panel a model, training and validation."""
    figure = Figure(figsize=(9, 2.8))
    panels = figure.subplots(1, len(curves), squeeze=False)[0]
    for panel, (model, lines) in zip(panels, curves.items(), strict=True):
        for (name, values), colour in zip(sorted(lines.items()), (INK, ACCENT), strict=False):
            panel.plot(range(1, len(values) + 1), values, color=colour, label=name)
        panel.set_title(model, fontsize=10)
        panel.set_xlabel("trees")
        panel.spines[["top", "right"]].set_visible(False)
        panel.legend(frameon=False, fontsize=8)
    return svg(figure)


def _importances(importances: Mapping[str, float], most: int = 15) -> str:
    """The features that the regressor leans on most."""
    top = sorted(importances.items(), key=lambda pair: -pair[1])[:most][::-1]
    return bars([name for name, _ in top], [value for _, value in top], "importance, %", SOFT)


def _stage_bars(seconds: Mapping[str, float]) -> str:
    names = list(seconds)[::-1]
    return bars(names, [seconds[name] for name in names], "seconds", INK)
