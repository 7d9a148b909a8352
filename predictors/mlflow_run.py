"""Trainings as MLflow runs: parameters, metrics by step, artefacts, and what it was all made of.

By default in SQLite in the workspace: `mlflow ui --backend-store-uri sqlite:///HOME/tracking.db` shows it where the
whole of MLflow is installed; what Larder needs is its client.
"""

from __future__ import annotations

import logging
import os
import subprocess
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from feature_repo.settings import Settings
from predictors.versions import MANIFEST

if TYPE_CHECKING:
    from mlflow import MlflowClient

logger = logging.getLogger(__name__)

OFF = "off"
EXPERIMENT = "larder"
PARENT = "mlflow.parentRunId"
_BATCH = 1000  # metrics that MLflow takes at once
_SECONDS = 5.0  # between two batches at least: a metric in SQLite costs more than an iteration of trees
# MLflow would wait minutes for a server that is away, and tell its makers that it is used
_ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}


class Tracker:
    """One run on the server. Where that fails, it warns once and is silent from then on: no training fails for it."""

    def __init__(self) -> None:
        self.run_id: str | None = None
        self._client: MlflowClient | None = None
        self._waiting: list[Any] = []
        self._sent = time.monotonic()

    def open(self, settings: Settings, name: str, params: Mapping[str, Any], tags: Mapping[str, str]) -> None:
        """Begin the run; nothing where tracking is off."""
        if settings.tracking != OFF:
            self._tell(lambda: self._begin(settings, name, params, tags))

    def metric(self, curve: str, split: str, step: int, value: float) -> None:
        """One value of a learning curve; sent with others."""
        if self._client is None:
            return
        from mlflow.entities import Metric

        self._waiting.append(Metric(f"{split}/{curve}", value, int(time.time() * 1000), step))
        if len(self._waiting) >= _BATCH or time.monotonic() - self._sent > _SECONDS:
            self._send()

    def published(self, folder: Path, manifest: Mapping[str, Any]) -> None:
        """The measures of a published version, its manifest and curves, and what it was made of."""
        self.measures("test", manifest["metrics"])
        for baseline, measures in manifest["baselines"].items():
            self.measures(f"baseline/{baseline}", measures)
        tags = {f"embedding.{name}": digest for name, digest in manifest["embeddings"].items()}
        tags |= {f"library.{name}": version for name, version in manifest["libraries"].items()}
        self.tags(tags)
        self._call(lambda client, run: client.log_artifact(run, str(folder / MANIFEST)))
        self._call(lambda client, run: client.log_dict(run, manifest["curves"], "curves.json"))

    def measures(self, group: str, values: Mapping[str, float]) -> None:
        """Numbers that have no steps."""
        for name, value in values.items():
            self.metric(name, group, 0, value)

    def tags(self, values: Mapping[str, str]) -> None:
        """What the run is to be found by."""
        if self._client is None:
            return
        from mlflow.entities import RunTag

        tags = [RunTag(key, value) for key, value in values.items()]
        self._call(lambda client, run: client.log_batch(run, tags=tags))

    def close(self, status: str) -> None:
        """End the run as FINISHED, FAILED or KILLED."""
        self._send()
        self._call(lambda client, run: client.set_terminated(run, status))

    def _begin(self, settings: Settings, name: str, params: Mapping[str, Any], tags: Mapping[str, str]) -> None:
        from mlflow.entities import Param

        client, experiment = _open_experiment(settings)
        self.run_id = client.create_run(experiment, tags=dict(tags), run_name=name).info.run_id
        client.log_batch(self.run_id, params=[Param(key, str(value)) for key, value in _flat(params)])
        self._client = client

    def _send(self) -> None:
        waiting, self._waiting, self._sent = self._waiting, [], time.monotonic()
        for start in range(0, len(waiting), _BATCH):
            batch = waiting[start : start + _BATCH]
            self._call(lambda client, run, batch=batch: client.log_batch(run, metrics=batch))  # type: ignore[misc]

    def _call(self, request: Callable[[MlflowClient, str], object]) -> None:
        client, run = self._client, self.run_id
        if client is not None and run is not None:
            self._tell(lambda: request(client, run))

    def _tell(self, act: Callable[[], object]) -> None:
        from mlflow.exceptions import MlflowException
        from sqlalchemy.exc import SQLAlchemyError

        try:
            act()
        except (MlflowException, SQLAlchemyError, OSError) as error:
            self._client = None
            reason = str(error).partition("\n")[0]
            logger.warning("this training is not tracked further (LARDER_TRACKING): %s", reason)


@contextmanager
def track(
    settings: Settings,
    name: str,
    version: str,
    params: Mapping[str, Any],
    tags: Mapping[str, str],
    parent: str | None = None,
) -> Iterator[Tracker]:
    """A run for as long as the block takes: FINISHED, FAILED where it raises, KILLED where it is interrupted.

    `parent` is the id of the run that this one is a part of.
    """
    os.environ.update({key: os.environ.get(key, value) for key, value in _ENVIRONMENT.items()})
    tracker = Tracker()
    own = {"predictor": name, "version": version, **tags, **_revision(), **({PARENT: parent} if parent else {})}
    tracker.open(settings, f"{name} {version}", params, own)
    try:
        yield tracker
    except BaseException as error:
        tracker.close("FAILED" if isinstance(error, Exception) else "KILLED")
        raise
    tracker.close("FINISHED")


def _open_experiment(settings: Settings) -> tuple[MlflowClient, str]:
    """A client of the server, and the id of Larder's experiment there."""
    from mlflow import MlflowClient

    logging.getLogger("mlflow").setLevel(logging.WARNING)  # it tells of every table that it makes
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # MLflow's own tables use a loader that SQLAlchemy retires
        client = MlflowClient(settings.tracking or f"sqlite:///{settings.home / 'tracking.db'}")
        found = client.get_experiment_by_name(EXPERIMENT)
    if found is not None:
        return client, found.experiment_id
    own = None if settings.tracking else (settings.home / "tracking").as_uri()  # a server has a place of its own
    return client, client.create_experiment(EXPERIMENT, artifact_location=own)


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _revision() -> dict[str, str]:
    """The git commit of the working directory, with `-dirty` where files differ from it; none outside of git."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return {}
    return {"mlflow.source.git.commit": said.stdout.strip()}
