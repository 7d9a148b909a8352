"""Tables of views come and go: one a view, or one for each of its versions, named `<project>/<view>@<version>`."""

from __future__ import annotations

from collections.abc import Collection

from feature_repo.columnar.layout import View, ViewLayout
from feature_repo.columnar.storage import Environment


def create_or_evolve(environment: Environment, name: str, view: View) -> None:
    """Make the view's table, or bring the one there is to the view's columns."""
    if name not in environment.tables():
        environment.create(name, ViewLayout(view, ()).desired())
        return
    stored = environment.table(name).schema
    desired = ViewLayout(view, stored).desired()
    if set(desired) != set(stored):
        environment.evolve(name, desired)


def drop(environment: Environment, name: str) -> None:
    """Drop a table, where it is there, and those of its view's other versions."""
    if name in environment.tables():
        environment.drop(name)
    drop_others(environment, name)


def drop_others(environment: Environment, own: str, keep: Collection[str] = ()) -> None:
    """Drop the tables of the other versions of a table's view, but for those in `keep`."""
    for name in environment.tables():
        before, at, version = name.rpartition("@")
        if at and before == own.rpartition("@")[0] and name != own and version not in keep:
            environment.drop(name)


def drop_project(environment: Environment, project: str) -> None:
    """Drop every table of a project."""
    for name in environment.tables():
        if name.startswith(f"{project}/"):
            environment.drop(name)
