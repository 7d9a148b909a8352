"""What is amiss of an event log and of the features made of it, once all has been acknowledged."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import polars as pl

from feature_repo.events import EventLog
from feature_repo.settings import Settings
from feature_repo.statistics import content_stats, user_recent, user_stats
from feature_repo.store import Store

AT_ONCE = 500  # keys to a read


def wrong(settings: Settings, wanted: set[str], service: str) -> dict[str, int]:
    """How many events are lost, strange or twice in the log, and how many features online differ from a batch's.

    `wanted` are the ids of all that were acknowledged; features are read by a feature service.
    """
    log = EventLog(settings.interactions_dir)
    found = log.scan().collect()
    faults = {"lost": len(wanted - set(found["event_id"])), "strange": len(set(found["event_id"]) - wanted)}
    faults["twice"] = log.count() - found.height
    store = Store(settings)
    for key, makers in (("content", (content_stats,)), ("user", (user_stats, user_recent))):
        faults[f"{key} features"] = sum(_differences(store, service, key, make, found) for make in makers)
    return faults


def _differences(
    store: Store, service: str, key: str, make: Callable[[pl.DataFrame], pl.DataFrame], log: pl.DataFrame
) -> int:
    """Features online that are not what a batch makes of the log."""
    last = make(log).sort(f"{key}_id", "event_timestamp").group_by(f"{key}_id", maintain_order=True).last()
    names = [name for name in last.columns if name.startswith((f"{key}_", "recent_")) and name != f"{key}_id"]
    wrong = 0
    for some in last.iter_slices(AT_ONCE):
        ids = some[f"{key}_id"].to_list()
        contents, users = (ids, None) if key == "content" else (["c0"] * len(ids), ids)
        online = store.read(service, contents, users).values
        for name in names:
            pairs = zip(online[name].tolist(), some[name].to_list(), strict=True)
            wrong += sum(not _same(one, other) for one, other in pairs)
    return wrong


def _same(online: object, batch: object) -> bool:
    if isinstance(batch, float):
        return isinstance(online, float) and bool(np.isclose(online, batch, rtol=1e-6))
    if batch is None:
        return online is None or online != online
    return online == batch
