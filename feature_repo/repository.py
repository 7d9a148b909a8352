"""Where Feast finds its configuration and its files in a workspace."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import yaml
from feast import FeatureView, FileSource, RepoConfig
from feast.constants import FEAST_FS_YAML_FILE_PATH_ENV_NAME

from feature_repo.errors import StateError
from feature_repo.settings import Settings

REPOSITORY = Path(__file__).parent
BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)


def repo_config(settings: Settings) -> RepoConfig:
    """`feature_store.yaml`, or the file that Feast's own variable names, with its places put into the workspace."""
    path = Path(os.environ.get(FEAST_FS_YAML_FILE_PATH_ENV_NAME, REPOSITORY / "feature_store.yaml"))
    raw = yaml.safe_load(path.read_text())
    registry, online = raw["registry"], raw["online_store"]
    registry["path"] = registry["path"].replace("sqlite+workspace:///", f"sqlite:///{settings.home}/")
    if "path" in online:
        online["path"] = str(settings.home / online["path"])
    return RepoConfig(**raw, repo_path=REPOSITORY)


def folder_of(view: FeatureView) -> Path:
    """Where the Parquet of the view's offline rows lies."""
    source = view.batch_source
    if not isinstance(source, FileSource):
        raise StateError(f"view {view.name} is not read from files: run `larder apply`")
    return Path(source.path)


def last_time(view: FeatureView) -> datetime:
    """The latest event time among the view's rows; the beginning where there are none."""
    latest = pl.scan_parquet(folder_of(view) / "*.parquet").select(pl.col("event_timestamp").max()).collect().item()
    return latest or BEGINNING


def require_rows(view: FeatureView) -> None:
    """Raise StateError where a view has no Parquet to read."""
    folder = folder_of(view)
    if not any(folder.glob("*.parquet")):
        mend = f"embed {view.tags['embedding']}" if "embedding" in view.tags else "ingest DATASET"
        raise StateError(f"view {view.name}: no rows under {folder}: run `larder {mend}`")
