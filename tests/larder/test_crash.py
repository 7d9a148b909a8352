"""Steps that are killed at any moment and run again end as if they had never been killed."""

from __future__ import annotations

import multiprocessing
import os
import random
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import sqlalchemy as sa
from feast import FeatureStore, FileSource

from feature_repo import catalog_schema
from feature_repo.catalog import Catalog
from feature_repo.files import BESIDE
from feature_repo.repository import repo_config
from feature_repo.settings import Settings, load_settings
from feature_repo.store import Store
from tests.larder.crashing import work

pytestmark = pytest.mark.crash

# So many kills follow each other before a run to the end; 1 for an end after each, which takes three times as long.
IN_A_ROW = int(os.environ.get("LARDER_TEST_KILLS_IN_A_ROW", "5"))
LEAST_HIT = 1 / 3  # of the kills must find the child at work
ROOT = Path(__file__).parents[2]

State = dict[str, Any]  # by name, so that a test can say what differs


class Lab:
    """A workspace that is put back before each round (its registry and its catalog name absolute paths, so it always
    lies at the same place), and children that work in it.
    """

    def __init__(self, folder: Path, context: ForkServerContext) -> None:
        self.settings = load_settings(home=folder / "home")
        self._kept = folder / "kept"
        self._context = context

    def keep(self, name: str) -> None:
        """Remember the workspace as it is under a name."""
        shutil.copytree(self.settings.home, self._kept / name)

    def restore(self, name: str) -> None:
        """Put the workspace back to how it was kept; "" is an empty one."""
        shutil.rmtree(self.settings.home, ignore_errors=True)
        if name:
            shutil.copytree(self._kept / name, self.settings.home)

    def run(self, step: str) -> float:
        """Run a step undisturbed; how many seconds it took."""
        start = time.monotonic()
        code = self._child(step, None)
        assert code == 0, f"{step} ended with {code}"
        return time.monotonic() - start

    def kill(self, step: str, after_s: float) -> bool:
        """Start a step and kill it; whether it was still at work then."""
        code = self._child(step, after_s)
        assert code in (0, -signal.SIGKILL), f"{step} ended with {code}"
        return code != 0

    def _child(self, step: str, kill_after_s: float | None) -> int | None:
        child = self._context.Process(target=work, args=(step, self.settings.home))
        child.start()
        if kill_after_s is not None:
            time.sleep(kill_after_s)
            child.kill()
        child.join()
        return child.exitcode


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Workspaces kept before each step. One thread a child: they share the machine with each other and with tests."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["__main__", "tests.larder.crashing"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        patch.setenv("OMP_NUM_THREADS", "1")
        lab = Lab(tmp_path_factory.mktemp("crash"), context)
        for steps, name in ((("feed",), "fed"), (("embed", "apply"), "applied")):
            for step in steps:
                lab.run(step)
            lab.keep(name)
        lab.restore("fed")
        for step in ("embed texts", "apply"):
            lab.run(step)
        lab.keep("trainable")
        yield lab


def files(folder: Path) -> State:
    """Every file below `folder` with its bytes, every folder with None: what a killed child leaves behind shows."""
    return {str(p.relative_to(folder.parent)): p.read_bytes() if p.is_file() else None for p in folder.rglob("*")}


def table(settings: Settings, name: str, but: tuple[str, ...] = ()) -> State:
    """The rows of a table of the catalog, without the columns that hold the time of the run."""
    chosen = [column for column in catalog_schema.metadata.tables[name].c if column.name not in but]
    engine = catalog_schema.open_engine(settings.catalog)
    with engine.connect() as connection:
        rows = sorted(repr(tuple(row)) for row in connection.execute(sa.select(*chosen)))
    engine.dispose()
    return {f"table {name}": rows}


def ingested(settings: Settings) -> State:
    """All but when a row was added, which `created` says too, and when a picture was drawn."""
    state: State = {}
    for name in ("interactions", "features", "synthetic", "truth", "rejects"):
        state |= files(settings.home / name)
    for path in settings.features_dir.glob("*/rows.parquet"):
        state[str(path.relative_to(settings.home))] = pl.read_parquet(path).drop("created").rows()
    for name in ("contents", "media", "users"):
        state |= table(settings, name, but=("updated_at", "mtime_ns"))
    return state


def embedded(settings: Settings) -> State:
    return files(settings.embeddings_dir) | table(settings, "embedding_ledger") | table(settings, "embeddings")


def indexed(settings: Settings) -> State:
    return files(settings.indexes_dir) | table(settings, "index_versions", but=("created_at",))


def trained(settings: Settings) -> State:
    return files(settings.models_dir)


def online(settings: Settings) -> State:
    """Every feature that is online with its event time, as Feast gives it, and what the store reads."""
    feast = FeatureStore(config=repo_config(settings))
    state: State = {"left over": sorted(path.name for path in settings.home.glob(f"{BESIDE}*"))}
    for view in feast.list_feature_views():
        assert isinstance(view.batch_source, FileSource)
        keys = pl.scan_parquet(Path(view.batch_source.path) / "*.parquet").select(view.join_keys).unique().collect()
        references = [f"{view.name}:{feature.name}" for feature in view.features]
        answer = feast.get_online_features(references, keys.sort(view.join_keys).to_dicts()).proto
        names = answer.metadata.feature_names.val
        state |= {f"{view.name}:{n}": r.SerializeToString() for n, r in zip(names, answer.results, strict=True)}
    with Catalog(settings.catalog) as catalog:
        ids = [item.content.content_id for item in catalog.items()]
        user = next(catalog.users()).user_id
    read = Store(settings).read("interest", ids, user, at=datetime(2040, 1, 1, tzinfo=UTC))
    state |= {f"read {n}": repr((values.tolist(), read.present[n].tolist())) for n, values in read.values.items()}
    return state | {"marks": (settings.home / "materialized.json").read_bytes()}


def differences(state: State, expected: State) -> list[str]:
    """Names of what is missing, left over or different."""
    return sorted(name for name in state.keys() | expected.keys() if state.get(name, ...) != expected.get(name, ...))


# step -> the workspace before it, what of the workspace after it must be the same, and the kills
CASES: Mapping[str, tuple[str, Callable[[Settings], State], int]] = {
    "ingest": ("", ingested, 10),
    "embed": ("fed", embedded, 30),
    "materialize": ("applied", online, 20),
    "index": ("applied", indexed, 20),
    "train": ("trainable", trained, 20),
}


@pytest.mark.parametrize("step", CASES)
def test_a_killed_step_ends_as_an_undisturbed_one(lab: Lab, step: str) -> None:
    before, state, kills = CASES[step]
    lab.restore(before)
    seconds = lab.run(step)
    expected = state(lab.settings)
    chance = random.Random(step)
    hits, left = 0, kills
    while left:
        lab.restore(before)
        tried: list[float] = []
        for _ in range(min(IN_A_ROW, left)):
            tried.append(chance.uniform(0.0, 1.1 * seconds))
            if not lab.kill(step, tried[-1]):
                break
            hits += 1
        left -= len(tried)
        lab.run(step)
        differing = differences(state(lab.settings), expected)
        assert not differing, f"killed after {tried} s of {seconds:.3f} s: {differing}"
    assert hits >= LEAST_HIT * kills, f"only {hits} of {kills} kills found {step} at work"
