"""One day with the `feast` command, on stock stores and on the columnar ones: the same files, commands and answers."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from feature_repo.columnar.storage import Environment
from tests.feature_repo.columnar.feast_shell import FeastShell
from tests.feature_repo.columnar.pair import DAY, Repo

STORES = {
    "stock": {"offline": "duckdb", "online": "sqlite", "path": "online.db", "engine": "local"},
    "ours": {
        "offline": "feature_repo.columnar.offline.PolarsOfflineStore",
        "online": "feature_repo.columnar.online.ColumnarOnlineStore",
        "path": "online",
        "engine": "feature_repo.columnar.engine.ColumnarEngine",
    },
}
YAML = """
project: shop
provider: local
registry:
  registry_type: sql
  path: sqlite:///registry.db
offline_store:
  type: {offline}
online_store:
  type: {online}
  path: {path}
batch_engine:
  type: {engine}
entity_key_serialization_version: 3
"""
DEFINITIONS = """
from datetime import timedelta

import pandas as pd
from feast import Entity, FeatureService, FeatureView, Field, FileSource, ValueType
from feast.on_demand_feature_view import on_demand_feature_view
from feast.types import Array, Float32, Float64, Int64, String

FOREVER = timedelta(days=36500)
content = Entity(name="content", join_keys=["content_id"], value_type=ValueType.STRING)
user = Entity(name="user", join_keys=["user_id"], value_type=ValueType.INT64)
seen = FileSource(
    name="history_file",
    path="{folder}/history.parquet",
    timestamp_field="seen",
    created_timestamp_column="made",
    field_mapping={{"raw_views": "views"}},
)
kinds = FileSource(name="kinds_file", path="{folder}/kinds.parquet", timestamp_field="event_timestamp")
key = Field(name="content_id", dtype=String)
number = Field(name="user_id", dtype=Int64)
likes = Field(name="likes", dtype=Int64)
history = FeatureView(
    name="history",
    entities=[content, user],
    ttl=FOREVER,
    schema=[key, number, Field(name="views", dtype=Float32), likes],
    source=seen,
)
users = FeatureView(name="users", entities=[user], ttl=FOREVER, schema=[number, likes], source=seen)
words = FeatureView(
    name="words", entities=[content], ttl=FOREVER, schema=[key, Field(name="words", dtype=Array(String))], source=kinds
)


@on_demand_feature_view(sources=[history], schema=[Field(name="twice", dtype=Float64)], mode="pandas")
def doubled(frame: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame({{"twice": frame["views"].astype("float64") * 2}})


both = FeatureService(name="both", features=[history.with_name("past"), words])
"""

# What differs though nothing is amiss: clocks, and what only stock SQLite can say of its tables.
_NOISE = re.compile(
    r"\x1b\[\d*m|\d{4}-\d\d-\d\dT[\d:.]+Z|seconds: \d+|nanos: \d+|^.*sqlite table.*$|No changes to infrastructure",
    re.MULTILINE,
)
START, MIDDLE, END = "2025-01-01T00:00:00", "2025-06-01T01:30:00", "2025-06-02T00:00:00"
ROWS = [
    f"{name}={value}"
    for row in (("c0", 7), ("c1", -8), ("nobody", 7))
    for name, value in zip(("content_id", "user_id"), row, strict=True)
]


@pytest.fixture(scope="module")
def feast() -> Iterator[FeastShell]:
    """The `feast` command."""
    shell = FeastShell()
    yield shell
    shell.close()


class Repos:
    """The repository twice, each a folder of its own over the same Parquet."""

    def __init__(self, folder: Path, feast: FeastShell) -> None:
        self._folder, self._feast = folder, feast
        Repo(folder).write()
        for name, stores in STORES.items():
            self.path(name).mkdir()
            (self.path(name) / "feature_store.yaml").write_text(YAML.format(**stores))
        self.define(DEFINITIONS)

    def path(self, name: str) -> Path:
        """One of the two."""
        return self._folder / name

    def define(self, definitions: str) -> None:
        """Write `definitions.py` in both."""
        for name in STORES:
            (self.path(name) / "definitions.py").write_text(definitions.format(folder=self._folder))

    def both(self, *arguments: str) -> dict[str, str]:
        """Run a command in both; it must succeed."""
        return {name: self._feast.ok(self.path(name), *arguments) for name in STORES}

    def same(self, *arguments: str) -> str:
        """Run a command in both and assert that it says the same; what it says."""
        said = {name: plain(text) for name, text in self.both(*arguments).items()}
        assert said["ours"] == said["stock"]
        return said["ours"]

    def online(self, *features: str) -> dict[str, list[Any]]:
        """`feast get-online-features` for `ROWS`, the same from both."""
        entities = [part for row in ROWS for part in ("-e", row)]
        said = self.same("get-online-features", *entities, *(part for name in features for part in ("-f", name)))
        found: dict[str, list[Any]] = json.loads(said)
        return found

    def refused(self, *arguments: str) -> str:
        """Run a command that must fail in both with the same error; its last line."""
        said = [self._feast(self.path(name), *arguments) for name in STORES]
        assert all(outcome.code for outcome in said)
        last = {outcome.err.strip().splitlines()[-1] for outcome in said}
        assert len(last) == 1
        return last.pop()


@pytest.fixture
def repos(tmp_path: Path, feast: FeastShell) -> Repos:
    """Both repositories, nothing applied."""
    return Repos(tmp_path, feast)


def plain(text: str) -> str:
    """What was said, without what is each store's own."""
    lines = _NOISE.sub("", text.replace("{'user', 'content'}", "{'content', 'user'}")).splitlines()
    return "\n".join(line.rstrip() for line in lines if line.strip())


def append_row(path: Path, **changes: Any) -> None:
    """Add the file's first row once more, with these changes."""
    table = pq.read_table(path)
    row = pa.Table.from_pylist([{**table.slice(0, 1).to_pylist()[0], **changes}], table.schema)
    pq.write_table(pa.concat_tables([table, row]), path)


def test_plan_apply_and_what_is_listed(repos: Repos) -> None:
    assert "Created feature view history" in repos.same("plan")
    assert not (repos.path("ours") / "online").exists()  # a plan makes nothing
    repos.both("apply")
    for kind in (
        "feature-views",
        "feature-services",
        "on-demand-feature-views",
        "entities",
        "data-sources",
        "projects",
    ):
        repos.same(kind, "list")
    assert "words" in repos.same("feature-views", "describe", "words")
    dumps = {name: json.loads(plain(text)) for name, text in repos.both("registry-dump").items()}
    assert len(dumps["stock"].pop("infra")) == 3  # Feast has a place for the tables of its own stores alone
    for dump in dumps.values():
        del dump["projectMetadata"][0]["projectUuid"]
    assert dumps["ours"] == dumps["stock"]
    assert dumps["ours"]["dataSources"][0]["fieldMapping"] == {"raw_views": "views"}
    repos.same("plan")


def test_materialize_incrementally_and_read(repos: Repos, tmp_path: Path) -> None:
    repos.both("apply")
    empty = repos.online("history:views", "words:words")
    assert empty["views"] == [None] * 3
    repos.both("materialize", START, MIDDLE)
    early = repos.online("history:views", "history:likes", "doubled:twice", "words:words")
    assert early["views"] == [2.0, 5.0, None]
    append_row(tmp_path / "history.parquet", raw_views=99.0, seen=DAY + timedelta(hours=20))
    repos.both("materialize-incremental", END)
    late = repos.online("history:views", "users:likes", "doubled:twice", "words:words")
    assert late["views"][0] == 99.0
    assert late["twice"][0] == 198.0
    repos.both("materialize", START, END, "--views", "users")
    assert "MATERIALIZING" not in repos.same("feature-views", "list")
    asked = json.dumps([{"event_timestamp": "2025-06-01T02:30:00", "content_id": "c0", "user_id": 7}])
    features = ("-f", "history:views", "-f", "doubled:twice", "-f", "words:words")
    past = repos.same("get-historical-features", "-d", asked, *features)
    assert json.loads(past)[0]["twice"] == 6.0


def test_a_view_is_added_and_one_removed_and_at_last_all_is_torn_down(repos: Repos) -> None:
    repos.both("apply")
    repos.both("materialize", START, END)
    before = repos.online("history:views", "words:words", "users:likes")
    less, rest = DEFINITIONS.split("users = FeatureView(")
    more = """
extra = FeatureView(
    name="extra", entities=[content], ttl=FOREVER, schema=[key, Field(name="text", dtype=String)], source=kinds
)
"""
    repos.define(less + more + rest.partition("\n")[2])
    planned = repos.same("plan")
    assert "Created feature view extra" in planned
    assert "Deleted feature view users" in planned
    repos.both("apply")
    repos.same("feature-views", "list")
    after = repos.online("history:views", "words:words", "extra:text")
    assert (after["views"], after["words"]) == (before["views"], before["words"])
    assert after["text"] == [None] * 3
    assert "users" in repos.refused("get-online-features", "-e", "user_id=7", "-f", "users:likes")
    repos.both("materialize", START, END, "--views", "extra")
    assert repos.online("history:views", "extra:text")["text"] == ["", "zwei", None]
    with Environment(repos.path("ours") / "online", readonly=True) as environment:
        assert environment.tables() == ["shop/extra", "shop/history", "shop/words"]
    repos.same("teardown")
    assert not (repos.path("stock") / "online.db").exists()
    with Environment(repos.path("ours") / "online", readonly=True) as environment:
        assert environment.tables() == []
    assert "history" in repos.refused(
        "get-online-features", "-e", "content_id=c0", "-e", "user_id=7", "-f", "history:views"
    )
