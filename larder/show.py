"""Reports as a person reads them, or as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from larder.display import Display, print_json
from larder.encoders import ENCODERS

if TYPE_CHECKING:
    from embedders.fitted import FittedVersion
    from embedders.runner import RunReport
    from embedders.user_runner import UserRunReport
    from feature_repo.ingest import IngestReport
    from feature_repo.store import Applied, Materialized
    from grpc_api.messages.describe import Description
    from grpc_api.messages.predict import Prediction
    from grpc_api.messages.recommend import Recommendations
    from grpc_api.messages.similar import Similarities
    from indexers.versions import IndexManifest
    from larder.fetch import FetchReport
    from larder.status import EmbeddingStatus, Status
    from predictors.train import TrainReport
    from predictors.tuning import Search

MOST_REFUSED = 20
"""Rows of the table of refusals; a folder of clips can have a file and a reason for each."""

METRICS = ("r2", "spearman", "mae", "accuracy", "macro_f1", "weighted_kappa")
EVENT_METRICS = ("auc", "gauc", "log_loss", "calibration_error", "hr10", "ndcg10")


def fetch(display: Display, report: FetchReport, as_json: bool) -> None:
    """What came from the web, what was there, and what failed for which reason."""
    if as_json:
        print_json(report)
        return
    facts = {"fetched": report.fetched, "already there": report.present, "failed": sum(report.failed.values())}
    if report.without_subtitles:
        facts["without subtitles"] = report.without_subtitles
    display.facts(report.folder, facts)
    for reason, count in report.failed.items():
        display.note(f"  {count:,} x {reason}")
    if report.fetched:
        display.note(f"go on: larder ingest video_folder {report.folder}")


def ingest(display: Display, report: IngestReport, as_json: bool) -> None:
    """What came in and what was refused."""
    if as_json:
        print_json(report)
        return
    contents = report.contents
    facts: dict[str, object] = {
        "contents": f"{contents.added:,} added, {contents.changed:,} changed, {contents.same:,} as before",
        "users": report.users,
        "events": report.events,
    }
    facts |= {f"without {modality}": count for modality, count in report.missing_media.items()}
    facts["rows refused"] = report.rejected
    display.facts(f"ingested {report.dataset}", facts)
    if report.rejected:
        display.table("refused", ("file", "reason", "rows"), report.rejected_by_reason[:MOST_REFUSED])
        display.note(f"each with its line: {report.rejects_file}")


def embed(display: Display, reports: Sequence[RunReport], users: Sequence[UserRunReport], as_json: bool) -> None:
    """What was encoded, what was broken, and where the time went; of contents, then of users."""
    if as_json:
        print_json([*reports, *users])
        return
    if reports:
        columns = ("embedding", "encoded", "fresh", "failed", "per second")
        rows = [(r.embedding, r.encoded, r.fresh, sum(r.failed.values()), r.rate) for r in reports]
        display.table("embedded", columns, rows)
    if users:
        columns = ("embedding", "users encoded", "rows", "fresh", "per second")
        display.table("embedded", columns, [(r.embedding, r.encoded, r.rows, r.fresh, r.rate) for r in users])
    for report in reports:
        for reason, count in report.failed.items():
            display.note(f"  {report.embedding}: {count:,} x {reason}")
        spent = ", ".join(f"{stage} {seconds:.1f} s" for stage, seconds in report.seconds.items() if seconds >= 0.05)
        if spent:
            display.note(f"  {report.embedding}: {spent}")
        if report.bottleneck:
            display.note(f"  {report.embedding}: in {report.precision}; held back by {report.bottleneck}")
        if report.note:
            display.note(f"  {report.embedding}: {report.note}")


def pruned(display: Display, gone: Sequence[tuple[str, str]], as_json: bool) -> None:
    """Which old versions were removed, of which embeddings."""
    if as_json:
        print_json([{"name": name, "version": version} for name, version in gone])
        return
    display.table("removed", ("embedding", "version"), gone)


def apply(display: Display, applied: Applied, as_json: bool) -> None:
    """What the registry holds now."""
    if as_json:
        print_json(applied)
        return
    removed = ", ".join(applied.removed) or "none"
    facts = {"views": ", ".join(applied.views), "services": ", ".join(applied.services), "removed": removed}
    display.facts("applied", facts)


def materialize(display: Display, done: Sequence[Materialized], as_json: bool) -> None:
    """What went online."""
    if as_json:
        print_json(list(done))
        return
    display.table("online", ("view", "state"), [(d.view, "fresh already" if d.fresh else "written") for d in done])


def index(display: Display, manifests: Sequence[IndexManifest], as_json: bool) -> None:
    """Which indexes are current."""
    if as_json:
        print_json(list(manifests))
        return
    columns = ("embedding", "version", "kind", "vectors", "recall@10")
    display.table("indexed", columns, [(m.embedding, m.version, m.kind, m.count, m.recall) for m in manifests])


def train(display: Display, report: TrainReport, as_json: bool, search: Search | None = None) -> None:
    """Metrics on the held-out rows beside the baselines; what a search before it found."""
    if as_json:
        print_json({**asdict(report), "search": search and asdict(search)})
        return
    if search:
        found = {"trials": search.trials, "begun with": search.begun_with, "best": search.best}
        display.facts("search on the validation rows", found | dict(search.tried))
        display.note(f"kept for --config: {search.path}")
    manifest = report.manifest
    measures = [name for name in (*METRICS, *EVENT_METRICS) if name in manifest["metrics"]]
    rows = [("this model", manifest["metrics"])] + [(k.replace("_", " "), v) for k, v in manifest["baselines"].items()]
    table = [(name, *(float(metrics.get(measure, "nan")) for measure in measures)) for name, metrics in rows]
    state = "trained before" if report.fresh else "trained"
    display.table(f"{manifest['name']} {report.version} ({state}), held-out rows", ("model", *measures), table)


def comparison(display: Display, report: Mapping[str, Any], out: Path, as_json: bool) -> None:
    """Models with their intervals, and the differences of every two."""
    if as_json:
        print_json(report)
        return
    from predictors.evaluation.text import tables

    for table in tables(report):
        display.table(table.title, table.columns, table.rows)
    display.note(f"predictions, comparison.json and comparison.md: {out}")


def fitted(display: Display, version: FittedVersion, as_json: bool) -> None:
    """Which fit of an encoder is in use now, and what it was fitted on."""
    if as_json:
        print_json(version)
        return
    display.facts(f"{version.encoder} {version.version}", _plain_facts(version.facts))
    display.note(f"go on: larder embed {' '.join(ENCODERS[version.encoder].embeddings)} && larder apply")


def predictions(display: Display, rows: Sequence[Prediction], as_json: bool) -> None:
    """Scores and classes."""
    if as_json:
        print_json(list(rows))
        return
    table = [
        (r.content_id, r.score, r.predicted_class, " ".join(f"{p:.2f}" for p in r.probabilities), r.status.name.lower())
        for r in rows
    ]
    display.table("predictions", ("content", "score", "class", "probabilities", "status"), table)


def similarities(display: Display, found: Similarities, as_json: bool) -> None:
    """Neighbours, nearest first."""
    if as_json:
        print_json(found)
        return
    rows = [(n.content_id, n.title, n.score) for n in found.neighbours]
    display.table(
        f"nearest by {' and '.join(i.embedding for i in found.indexes)}", ("content", "title", "cosine"), rows
    )
    _note_none(display, rows)


def recommendations(display: Display, found: Recommendations, as_json: bool) -> None:
    """What to show, best first, and how it was found."""
    if as_json:
        print_json(found)
        return
    how = found.source.name.lower().replace("_", " ")
    rows = [(one.content_id, one.title, one.score) for one in found.recommendations]
    display.table(f"scored by {found.predictor}, found by {how}", ("content", "title", "score"), rows)
    _note_none(display, rows)


def description(display: Display, said: Description, as_json: bool) -> None:
    """What a server has loaded."""
    if as_json:
        print_json(said)
        return
    limits = {f"at most {name.replace('_', ' ')}": value for name, value in asdict(said.limits).items()}
    display.facts(f"release {said.release}", limits)
    predictors = [(one.name, one.version, one.service, len(one.features), one.class_count) for one in said.predictors]
    display.table("predictors", ("predictor", "version", "service", "features", "classes"), predictors)
    embeddings = [(one.name, one.spec_digest, one.dim, ", ".join(one.query_modalities)) for one in said.embeddings]
    display.table("embeddings", ("embedding", "version", "dim", "finds by"), embeddings)
    indexes = [(one.embedding, one.version, one.kind, one.count, one.recall) for one in said.indexes]
    display.table("indexes", ("embedding", "version", "kind", "vectors", "recall@10"), indexes)
    if said.variants:
        arms = [(one.name, one.release, one.share) for one in said.variants]
        display.table("experiment", ("arm", "release", "share"), arms)


def status(display: Display, said: Status, as_json: bool) -> None:
    """A workspace at a glance."""
    if as_json:
        print_json(said)
        return
    facts = {"contents": said.contents, "users": said.users, "release": said.current_release or "none yet"}
    display.facts(said.home, facts)
    columns = ("name", "version", "", "fresh", "stale", "failed", "missing", "index")
    rows = [
        (e.name, e.spec_digest, e.state, e.fresh, e.stale, e.failed, e.missing, _index_of(e, said))
        for e in said.embeddings
    ]
    display.table("embeddings", columns, rows)
    for embedding in said.embeddings:
        for reason, count in embedding.reasons.items():
            display.note(f"  {embedding.name}: {count:,} x {reason}")
    models = list(said.models.items()) + [(name, encoder.version) for name, encoder in said.encoders.items()]
    display.table("models", ("model", "version"), models or [("none yet", "")])
    for name, encoder in said.encoders.items():
        display.facts(name, _plain_facts(encoder.facts))


def _note_none(display: Display, rows: Sequence[object]) -> None:
    if not rows:
        display.note("no content is left after filters and exclusions")


def _plain_facts(facts: Mapping[str, object]) -> dict[str, object]:
    """Those that fit on a line."""
    return {name.replace("_", " "): value for name, value in facts.items() if isinstance(value, int | float | str)}


def _index_of(embedding: EmbeddingStatus, said: Status) -> str | None:
    """The index of the version in use."""
    return (said.indexes.get(embedding.name) or "none yet") if embedding.in_use else None
