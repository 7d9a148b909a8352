"""The steps of the main job, each shown while it runs: commands call one, the demo calls all."""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from feature_repo.catalog import Catalog
from feature_repo.settings import Settings
from larder.display import Display

if TYPE_CHECKING:
    from embedders.fitted import FittedVersion
    from embedders.runner import Engine, RunReport
    from embedders.user_runner import UserRunReport
    from feature_repo.ingest import IngestReport
    from feature_repo.store import Applied, Materialized, Store
    from indexers.versions import IndexManifest
    from larder.encoders import FitOptions
    from predictors.evaluation.comparison import CompareOptions
    from predictors.loaded import LoadedRelease
    from predictors.pins import ReleaseManifest
    from predictors.recipes import Config
    from predictors.train import TrainReport
    from predictors.tuning import Search


@dataclass(frozen=True, slots=True)
class Workspace:
    """What every step works on. Heavy libraries are imported by the step that needs them."""

    settings: Settings
    catalog: Catalog
    display: Display

    @property
    def store(self) -> Store:
        """The feature store of this workspace."""
        from feature_repo.store import Store

        return Store(self.settings)


def ingest(space: Workspace, name: str, path: Path | None, **options: object) -> IngestReport:
    """Read a dataset into the workspace."""
    from feature_repo.datasets import open_dataset
    from feature_repo.ingest import ingest as run

    if name == "synthetic":
        options["media_dir"] = space.settings.home / "synthetic"
    dataset = open_dataset(name, path, **options)
    with space.display.stages(f"ingest {name}") as stage:
        return run(space.settings, space.catalog, dataset, lambda step, count: stage(f"{count:,} {step}"))


def embed_users(space: Workspace, name: str) -> UserRunReport:
    """Bring one embedding of users up to date."""
    from embedders.user_runner import run_users

    with space.display.bar(f"embed {name}") as advance:
        return run_users(name, space.settings, space.catalog, advance)


def embed(space: Workspace, name: str, retry_failed: bool = False, engine: Engine | None = None) -> RunReport:
    """Bring one embedding up to date, here or by an engine."""
    from embedders.runner import run

    with space.display.bar(f"embed {name}") as advance:
        return run(name, space.settings, space.catalog, advance, retry_failed=retry_failed, engine=engine)


def prune(space: Workspace) -> list[tuple[str, str]]:
    """Remove the versions of embeddings that are neither in use nor chosen nor named by a release; (name, digest)."""
    from embedders import stock
    from predictors.shelf import pinned_specs

    pinned = pinned_specs(space.settings)
    with space.display.stages("prune"):
        gone = stock.prune(space.settings, space.catalog, pinned)
        space.store.prune(pinned)
    return [(version.name, version.digest) for version in gone]


def apply(space: Workspace) -> Applied:
    """Put complete new versions of embeddings in use, and bring the feature registry up to date."""
    from embedders.stock import switch

    with space.display.stages("apply"):
        switches = switch(space.settings, space.catalog)
        applied = space.store.apply()
    for made in switches:
        if made.waiting:
            lacking = f"lacks {made.waiting:,} contents, so {made.before} stays in use: run `larder embed {made.name}`"
            space.display.note(f"  {made.name}: version {made.after} {lacking}")
        else:
            space.display.note(f"  {made.name}: version {made.after} takes the place of {made.before}")
    return applied


def materialize(
    space: Workspace,
    views: Sequence[str] = (),
    start: datetime | None = None,
    end: datetime | None = None,
    force: bool = False,
) -> list[Materialized]:
    """Bring the views online."""
    from feature_repo.recorder import catch_up
    from feature_repo.repository import BEGINNING

    store = space.store
    done: list[Materialized] = []
    total = len(views) or len(store.view_names())
    with space.display.bar("materialize views") as advance:
        for materialized in store.materialize(start or BEGINNING, end, views, force):
            done.append(materialized)
            advance(len(done), total)
    catch_up(space.settings, store.push)
    return done


def index(space: Workspace, embedding: str, kind: str = "auto") -> IndexManifest:
    """Build and publish the index of one embedding."""
    from indexers.build import build

    with space.display.stages(f"index {embedding}") as stage:
        return build(space.settings, space.catalog, embedding, kind, stage)


def prune_indexes(space: Workspace, embeddings: Sequence[str], keep: int) -> list[tuple[str, str]]:
    """Delete versions of indexes but for the last `keep` in use and what releases pin; (embedding, version) of each."""
    from indexers.versions import prune as delete
    from predictors.shelf import pinned_indexes

    return [
        (name, version)
        for name in embeddings
        for version in delete(space.settings, name, keep, pinned_indexes(space.settings, name))
    ]


def train(space: Workspace, predictor: str, config: Config) -> TrainReport:
    """Train and publish one predictor."""
    from predictors.train import train as run

    with space.display.phases(f"train {predictor}") as stage:
        return run(space.settings, space.catalog, space.store, config, stage, predictor)


def tune(space: Workspace, predictor: str, config: Config, trials: int, fixed: Collection[str]) -> Search:
    """Search for a predictor's best configuration."""
    from predictors.tuning import tune as run

    with space.display.phases(f"train {predictor}") as stage:
        return run(space.settings, space.catalog, space.store, predictor, config, trials, fixed, stage)


def evaluate(space: Workspace, predictors: Sequence[str], out: Path, options: CompareOptions) -> dict[str, Any]:
    """Compare predictors on held-out rows."""
    from predictors.evaluation.comparison import compare

    with space.display.phases("evaluate") as stage:
        return compare(space.settings, space.catalog, space.store, predictors, out, options, stage)


def report(space: Workspace, evaluation: Path | None, out: Path, ablate: bool, price: float) -> None:
    """Write what a comparison, or the published predictors, come to."""
    from predictors.report import evidence
    from predictors.report.write import write

    with space.display.phases("report") as stage:
        if evaluation is None:
            found = evidence.of_published(space.settings)
        else:
            found = evidence.of_comparison(evaluation)
            if ablate:
                from predictors.report.ablation import ablate as run

                run(space.settings, space.catalog, space.store, evaluation, stage)
                found = evidence.of_comparison(evaluation)
        stage("write", 0, 0)
        write(found, space.settings, space.catalog, out, price)


def fit(space: Workspace, encoder: str, options: FitOptions) -> FittedVersion:
    """Fit and publish one encoder."""
    from larder.encoders import ENCODERS

    with space.display.phases(f"train {encoder}") as stage:
        return ENCODERS[encoder].fit(space, options, stage)


def release(space: Workspace, predictors: Sequence[str]) -> ReleaseManifest:
    """Pin the current models, indexes and embeddings, ask them a few requests, and put them in use."""
    from grpc_api import smoke
    from predictors.release import assemble, pin_current, prepare
    from predictors.shelf import publish

    with space.display.stages("release") as stage:
        manifest = pin_current(space.settings, space.catalog, predictors)
        stage("what predictors make of contents")
        prepare(space.settings, space.catalog, space.store, manifest)
        stage("a few requests")
        user = next(iter(space.catalog.users()), None)
        loaded = assemble(space.settings, space.store, manifest)
        manifest = replace(manifest, smoke=smoke.first(loaded, None if user is None else user.user_id))
        publish(space.settings, space.catalog, manifest)
        return manifest


def serve(space: Workspace, port_file: Path | None = None, warm: bool = True) -> None:
    """Serve the current release until told to stop, in this process or in several that it looks after."""
    from grpc_api.security.guard import guard_of
    from grpc_api.telemetry.logs import log_as_json
    from grpc_api.workers import thread_limits

    if space.settings.log_format == "json":
        log_as_json()
    guard_of(space.settings)  # what is wrong with it is told before a release is loaded
    if space.settings.serve_workers > 1:
        _supervise(space, port_file, warm)
        return
    if space.settings.serve_threads:
        os.environ.update(thread_limits(space.settings.serve_threads))

    from feature_repo.recorder import Recorder
    from grpc_api import smoke
    from grpc_api.server import serve as run
    from predictors.release import load

    def open_release() -> LoadedRelease:
        release = load(space.settings, space.catalog, space.store)
        smoke.check(release)
        return release

    with space.display.stages("load the release"):
        loaded = open_release()
    host = space.settings.host
    run(
        space.settings,
        loaded,
        reload=open_release,
        open_recorder=lambda: Recorder(space.settings, space.store.push),
        ready=lambda port: space.display.note(f"release {loaded.version} is served on {host}:{port}; stop: Ctrl-C"),
        port_file=port_file,
        warm=warm,
    )


def _supervise(space: Workspace, port_file: Path | None, warm: bool) -> None:
    from grpc_api.workers import supervise

    settings = space.settings

    def command(port: int, ready_file: Path) -> list[str]:
        bound = ["--host", settings.host, "--port", str(port), "--port-file", str(ready_file)]
        return [sys.executable, "-m", "larder", "serve", "--workers", "1", *bound, "--warm" if warm else "--no-warm"]

    def say(port: int) -> None:
        space.display.note(f"{settings.serve_workers} workers serve on {settings.host}:{port}; stop: Ctrl-C")

    supervise(command, settings, ready=say, port_file=port_file)
