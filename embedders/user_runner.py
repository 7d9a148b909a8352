"""Events -> users' states in the store: stream -> plan -> encode -> write -> record, a partition of users at a time.

A user has a row for each time that their state was written down, dated a microsecond after the last event in it: a
point-in-time join at an event's own time sees what came before it. New events add rows. Only where the past itself
changed (an event that came late, an item with another vector) the user is done anew; the new rows are `created` later
and so win over old ones of the same time. A partition's file is in place before its ledger rows are, its name says
what is in it, and users come in the same order each time: a killed run that is started again ends in the same files,
byte for byte.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import torch

from embedders.device import pick_device
from embedders.fitted import current, load_weights
from embedders.user_histories import DAY, Histories, Rows, read_histories
from embedders.user_items import ItemInputs, read_sources
from embedders.user_ledger import PlannedUser, UserPlanner, UserState
from embedders.user_sequence import SequenceConfig, UserSequence, build, encode_states
from embedders.user_specs import UserSpec, resolve_user_spec
from feature_repo.catalog import Catalog
from feature_repo.catalog_users import Span
from feature_repo.contracts import digest
from feature_repo.errors import StateError
from feature_repo.events import EventLog
from feature_repo.files import only_writer, sweep
from feature_repo.settings import Settings
from feature_repo.vectors import Matrix, vectors_dir, write_partition

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class UserRunReport:
    """What a run did: users encoded, rows written for them, users that were fresh; `rate` is encoded users a second."""

    embedding: str
    encoded: int
    rows: int
    fresh: int
    seconds: float
    rate: float


@dataclass(frozen=True, slots=True)
class UserModel:
    """A fitted net and its item inputs, on one device."""

    net: UserSequence
    inputs: ItemInputs
    device: torch.device

    def items(self, content_ids: Sequence[str]) -> torch.Tensor:
        """What the net makes of items, (n, dim) on its device; a state's dot product with one is its score."""
        features = torch.from_numpy(self.inputs.features(content_ids)).to(self.device)
        rows = torch.from_numpy(self.inputs.rows(content_ids)).to(self.device)
        with torch.inference_mode():
            vectors: torch.Tensor = self.net.items(features, rows)
        return vectors

    def states(self, histories: Histories, wanted: Rows, content_ids: Sequence[str]) -> Matrix:
        """States after the `wanted` events, (wanted, dim) float32; `content_ids` are those that the items number."""
        return encode_states(self.net, self.items(content_ids), histories, wanted)


def run_users(
    name: str,
    settings: Settings,
    catalog: Catalog,
    on_progress: Progress = lambda done, total: None,
    rows: str = "",
) -> UserRunReport:
    """Bring the states of all users up to date; with nothing to do, no model is loaded.

    `rows` says how states are dated: "day" (after each user's last event of each day, UTC) or a number k (after every
    k events); by default as in the run before, at first "day". `on_progress(done, total)` counts events of the log.
    Raises ConfigurationError, StateError where the model is not fitted or its item vectors are not those of its
    fit, UnavailableError while another run has this embedding.
    """
    began = time.perf_counter()
    spec = resolve_user_spec(name, settings, rows or dated_by(name, catalog))
    folder = vectors_dir(settings, spec.name, spec.digest)
    total = EventLog(settings.interactions_dir).count()
    fresh = encoded = written = done = 0
    with only_writer(folder):
        partitions = _remove_orphans(folder, catalog, spec)
        worker = _Worker(settings, catalog, spec, folder)
        for events, users, picked_from in UserPlanner(settings, catalog, spec, partitions).frames():
            pending = [user for user in users if user.state is not UserState.FRESH]
            fresh += len(users) - len(pending)
            for at in range(0, len(pending), settings.partition_size):
                task = pending[at : at + settings.partition_size]
                written += worker.run_partition(events, task)
                encoded += len(task)
                on_progress(done + int(picked_from * (at + len(task)) / len(pending)), total)
            done += picked_from
            on_progress(done, total)
        if encoded:
            _remove_orphans(folder, catalog, spec)
        if fresh + encoded:
            catalog.user_ledger.register(spec.name, spec.digest, spec.dim, spec.rows)
    seconds = time.perf_counter() - began
    return UserRunReport(name, encoded, written, fresh, seconds, encoded / seconds)


def count_users(name: str, settings: Settings, catalog: Catalog) -> Counter[UserState]:
    """How many users are fresh, stale or missing under the spec that a run would fill; loads no model.

    Reads the whole event log. Raises StateError where the model is not fitted.
    """
    spec = resolve_user_spec(name, settings, dated_by(name, catalog))
    folder = vectors_dir(settings, spec.name, spec.digest)
    planner = UserPlanner(settings, catalog, spec, {path.stem for path in folder.glob("*.parquet")})
    return Counter(user.state for _, users, _ in planner.frames() for user in users)


def dated_by(name: str, catalog: Catalog) -> str:
    """How the states that are in use are dated; "day" where there are none."""
    registered = catalog.user_ledger.embeddings().get(name)
    return DAY if registered is None else str(registered.rows)


def load_user_model(spec: UserSpec, settings: Settings, catalog: Catalog) -> UserModel:
    """The net that the spec names. Raises StateError where it, or the contents' vectors, are others by now."""
    fitted = current(settings, spec.name)
    if fitted is None or fitted.weights != spec.weights:
        raise StateError(f"{spec.name} was fitted again meanwhile: run the command again")
    weights, config = load_weights(fitted), SequenceConfig(**fitted.facts["net"])
    inputs = ItemInputs.load(read_sources(settings, catalog, spec.embeddings), weights, config.buckets)
    device = pick_device(settings)
    net = build(config, {key: value for key, value in weights.items() if key not in inputs.weights()})
    return UserModel(net.to(device), inputs, device)


class _Worker:
    """Does whole partitions; loads the model for the first."""

    def __init__(self, settings: Settings, catalog: Catalog, spec: UserSpec, folder: Path) -> None:
        self._settings, self._catalog, self._spec, self._folder = settings, catalog, spec, folder

    @cached_property
    def _model(self) -> UserModel:
        return load_user_model(self._spec, self._settings, self._catalog)

    def run_partition(self, events: pl.DataFrame, task: Sequence[PlannedUser]) -> int:
        """Encode the users of `task`, write their file, then record them; how many rows were written."""
        spec = self._spec
        name = digest(*(part for user in task for part in (user.user_id, str(user.first), user.fingerprint)))
        lying = np.concatenate([np.arange(user.start, user.start + user.events) for user in task])
        mine = events[lying]
        content_ids = mine["content_id"].unique(maintain_order=True).to_list()
        histories = read_histories(mine, {content_id: number for number, content_id in enumerate(content_ids)})
        wanted = histories.snapshots(spec.rows)
        owners = histories.owners()[wanted]
        new = wanted - histories.starts[owners] >= np.array([user.first for user in task])[owners]
        wanted, owners = wanted[new], owners[new]
        known = histories.times[wanted] + 1  # a microsecond after the last event that is in it
        write_partition(
            self._folder / f"{name}.parquet",
            spec.name,
            [task[owner].user_id for owner in owners],
            _moments(known),
            _moments(known + np.array([user.revision for user in task])[owners]),
            self._model.states(histories, wanted, content_ids),
            key="user_id",
        )
        spans = [Span(u.user_id, u.first, u.events, u.fingerprint, name, u.revision) for u in task]
        self._catalog.user_ledger.record(spec.name, spec.digest, spans)
        return len(wanted)


def _moments(microseconds: npt.NDArray[np.int64]) -> pa.Array:
    return pa.array(microseconds, pa.timestamp("us", tz="UTC"))


def _remove_orphans(folder: Path, catalog: Catalog, spec: UserSpec) -> set[str]:
    """Remove files that no ledger row names (a killed run's, or outdated); the names of the partitions left."""
    sweep(folder)
    named = catalog.user_ledger.partitions(spec.name, spec.digest)
    for path in folder.glob("*.parquet"):
        if path.stem not in named:
            path.unlink()
    return {path.stem for path in folder.glob("*.parquet")}
