"""Which encounters train, which stop the training, and which are held out for the measurement."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from feature_repo.contracts import digest
from feature_repo.errors import InputError, StateError, unknown_name
from predictors.splits import Splits, cut

Places = npt.NDArray[np.float64]

PARTS = ("train", "valid", "test")
_PAIR = ("user_id", "content_id")


def per_user(met: pl.DataFrame, seed: int) -> Places:
    """Each user's earliest 80 % train, the next 10 % validate; a hash breaks ties of time."""
    ordered = _by_time(met, seed)
    place = pl.int_range(pl.len()).over("user_id", order_by=["event_timestamp", "tie"]) / pl.len().over("user_id")
    return ordered.select(place).to_series().to_numpy()


def over_time(met: pl.DataFrame, seed: int) -> Places:
    """The earliest 80 % of all train, the next 10 % validate; a hash breaks ties of time."""
    order = _by_time(met, seed).select(pl.arg_sort_by("event_timestamp", "tie")).to_series().to_numpy()
    place = np.empty(len(order))
    place[order] = np.arange(len(order)) / max(len(order), 1)
    return place


def by_content(met: pl.DataFrame, seed: int) -> Places:
    """A content's encounters stay together, by a hash of its id: those that test are of contents never seen."""
    ids = met["content_id"].unique()
    hashed = pl.DataFrame({"content_id": ids, "place": _hashes(("content", str(seed)), ids)})
    return met.join(hashed, on="content_id", how="left", maintain_order="left")["place"].to_numpy()


def at_random(met: pl.DataFrame, seed: int) -> Places:
    """By a hash of user, content and time."""
    return _ties(met, seed)


EVENT_SPLITS: Mapping[str, Callable[[pl.DataFrame, int], Places]] = {
    "per-user": per_user,
    "global": over_time,
    "cold-item": by_content,
    "random": at_random,
}


def split_encounters(met: pl.DataFrame, kind: str, seed: int) -> Splits:
    """The split of that name, or of the folder that it names: `train.csv`, `valid.csv` and `test.csv`, each with the
    columns `user_id` and `item_id` or `content_id`. Encounters that no file names are in no part.

    Raises ConfigurationError where there is no such split, InputError where a file cannot be used, StateError where a
    part is left empty.
    """
    if kind in EVENT_SPLITS:
        splits = cut(EVENT_SPLITS[kind](met, seed))
    elif Path(kind).is_dir():
        splits = _from_folder(met, Path(kind))
    else:
        raise unknown_name("split (or folder with train.csv, valid.csv, test.csv)", kind, EVENT_SPLITS)
    if empty := [part for part, rows in splits.sizes.items() if not rows]:
        raise StateError(f"split {kind}: no encounter of {met.height} in {', '.join(empty)}: ingest more events")
    return splits


def _from_folder(met: pl.DataFrame, folder: Path) -> Splits:
    pairs = met.select(*_PAIR).with_row_index("row")
    rows = []
    seen: set[int] = set()
    for part in PARTS:
        named = _read_pairs(folder / f"{part}.csv")
        unmet = named.join(pairs, on=_PAIR, how="anti")
        if unmet.height:
            raise InputError(
                f"{folder / part}.csv: {unmet.height} of {named.height} pairs are not in the log, the first is user "
                f"{unmet[0, 'user_id']} with content {unmet[0, 'content_id']}: ingest the events that it was made of"
            )
        found = pairs.join(named, on=_PAIR, how="semi")["row"].to_numpy().astype(np.intp)
        if both := seen.intersection(found.tolist()):
            raise InputError(f"{folder / part}.csv: {len(both)} of its encounters are in another part too")
        seen.update(found.tolist())
        rows.append(found)
    return Splits(*rows)


def _read_pairs(path: Path) -> pl.DataFrame:
    try:
        table = pl.read_csv(path, infer_schema=False)
        table = table.rename({"item_id": "content_id"} if "item_id" in table.columns else {})
        return table.select(*_PAIR).unique(maintain_order=True)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise InputError(f"{path} cannot be read as a split: it needs user_id and item_id ({error})") from error


def _by_time(met: pl.DataFrame, seed: int) -> pl.DataFrame:
    return met.with_columns(tie=pl.Series(_ties(met, seed)))


def _ties(met: pl.DataFrame, seed: int) -> Places:
    keys = met.select(pl.concat_str("user_id", "content_id", pl.col("event_timestamp").dt.epoch("us"), separator="\0"))
    return _hashes(("encounter", str(seed)), keys.to_series())


def _hashes(salt: Sequence[str], keys: pl.Series) -> Places:
    """A number in [0, 1) for each key."""
    space = float(1 << 64)
    return np.array([int(digest("split", *salt, key, size=8), 16) / space for key in keys])
