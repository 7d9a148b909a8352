"""Lets `feature_store.yaml` name places inside the workspace, wherever `LARDER_HOME` puts it.

Feast resolves relative paths against the working directory (registry) or the repository (online store)
and knows no default for an environment variable; so that `feast -c feature_repo …` and `larder …` always
open the same files, the yaml names a SQLAlchemy driver and an online store that ask `Settings` instead.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from feast import RepoConfig
from feast.infra.online_stores.sqlite import SqliteOnlineStore, SqliteOnlineStoreConfig
from pydantic import field_validator
from sqlalchemy import URL
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite

from feature_repo.columnar.online import ColumnarOnlineStore, ColumnarOnlineStoreConfig
from feature_repo.settings import current_settings


def _inside(name: str) -> Path:
    if Path(name).is_absolute():
        return Path(name)
    home = current_settings().home
    home.mkdir(parents=True, exist_ok=True)
    return home / name


class WorkspaceDialect(SQLiteDialect_pysqlite):
    """`sqlite+workspace:///registry.db`: SQLite, the file lying in the workspace; waits 30 s for a lock."""

    driver = "workspace"
    supports_statement_cache = True

    def create_connect_args(self, url: URL) -> Any:
        """Connect to the file of that name in the workspace."""
        arguments, options = super().create_connect_args(url.set(database=str(_inside(url.database or "registry.db"))))
        return arguments, {**options, "timeout": 30.0}


class WorkspaceColumnarOnlineStoreConfig(ColumnarOnlineStoreConfig):
    """The columnar store; `path` lies in the workspace."""

    type: Any = "feature_repo.workspace.WorkspaceColumnarOnlineStore"
    path: str = "online"

    @field_validator("path")
    @classmethod
    def _in_workspace(cls, path: str) -> str:
        return str(_inside(path))


class WorkspaceColumnarOnlineStore(ColumnarOnlineStore):
    """The columnar store, in the workspace."""

    _apply_command = "larder apply"


class WorkspaceSqliteOnlineStoreConfig(SqliteOnlineStoreConfig):
    """Feast's SQLite store; `path` lies in the workspace."""

    type: Any = "feature_repo.workspace.WorkspaceSqliteOnlineStore"
    path: str = "online"


class WorkspaceSqliteOnlineStore(SqliteOnlineStore):
    """Feast's own SQLite store, in the workspace."""

    @staticmethod
    def _get_db_path(config: RepoConfig) -> str:
        return str(_inside(config.online_store.path)) + ".db"
