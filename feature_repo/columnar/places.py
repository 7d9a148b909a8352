"""The storage that a process has open: one environment a path, and the tables read so far."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

from feast import RepoConfig

from feature_repo.columnar.storage import Environment, Table
from feature_repo.errors import NotFoundError, UnavailableError


class Places:
    """Opens an environment, and a table of it, at its first use."""

    def __init__(self) -> None:
        self._environments: dict[Path, Environment] = {}
        self._tables: dict[tuple[Path, str], Table] = {}

    @staticmethod
    def path(config: RepoConfig) -> Path:
        """Where the store lies."""
        return _resolved(config.repo_path, config.online_store.path)

    def environment(self, config: RepoConfig) -> Environment:
        """The environment of the store's path; one that only reads where the path cannot be written to."""
        path = self.path(config)
        environment = self._environments.get(path)
        if environment is None:
            readonly = path.exists() and not os.access(path, os.W_OK)
            environment = self._environments[path] = Environment(path, readonly=readonly)
        return environment

    def writable(self, config: RepoConfig) -> Environment:
        """The same, to be written to. Raises UnavailableError where the path is read-only."""
        path = self.path(config)
        if path.exists() and not os.access(path, os.W_OK):
            raise UnavailableError(f"{path}: this place is read-only; make it writable")
        return self.environment(config)

    def table(self, config: RepoConfig, name: str) -> Table | None:
        """A table, None where there is none of that name. One that is dropped later raises NotFoundError when used."""
        path = self.path(config)
        key = (path, name)
        table = self._tables.get(key)
        if table is None:
            if path not in self._environments and not (path / "data.mdb").exists():
                return None  # opening it would create it
            try:
                table = self._tables[key] = self.environment(config).table(name)
            except NotFoundError:
                return None
        return table

    def close(self) -> None:
        """Close everything; the next use opens it again."""
        self._tables.clear()
        while self._environments:
            self._environments.popitem()[1].close()


@cache
def _resolved(repo_path: Path | None, path: str) -> Path:
    """A relative path starts at the repository."""
    return Path(repo_path, path) if repo_path else Path(path)
