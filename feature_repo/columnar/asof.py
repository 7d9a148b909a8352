"""The point-in-time join: for each entity row, the latest feature row of its key that is not newer.

It works on keys and timestamps alone and answers with row numbers, so that the values, however wide, are gathered
once, afterwards. Instead of a hash join followed by a search in every group, each feature row becomes one 64-bit
word: the high bits of its key's hash over its rank in time. One sort of plain words puts every key's history
together and in order, and one walk finds all the answers. Two keys may share those bits: a second hash of every
answer's key is compared, and those that differ are looked up again by exact codes. What agrees in both, over a hundred
bits, is taken for the same key.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from feature_repo.columnar.instants import FIRST, LAST, BoolArray, Instants, IntArray

WordArray = npt.NDArray[np.uint64]

_SEED, _SECOND = 0, 1
_RANK_BITS = 24  # so that views of up to 16 M rows share one walk over the entity rows


@dataclass(frozen=True, slots=True)
class Moments:
    """The times that features are asked for, and their order, found once for all views."""

    at: Instants
    order: IntArray

    @classmethod
    def of(cls, times: pl.Series) -> Moments:
        """Read a date or datetime series; see `Instants.of`."""
        at = Instants.of(times)
        return cls(at, np.argsort(at.values))


class Asked:
    """Keys and times that are asked for, put in order once for all histories about the same kind of key.

    `keys` (at least one column; a constant for histories about nothing in particular) are those of the rows `kept`,
    which have no null in a key or in the time; `order` is theirs by time.
    """

    def __init__(self, keys: pl.DataFrame, moments: Moments) -> None:
        self.kept = moments.at.valid & no_nulls(keys)
        whole = bool(self.kept.all())
        self.keys = keys if whole else keys.filter(self.kept)
        self.order = moments.order
        if not whole:
            self.order = (np.cumsum(self.kept) - 1)[moments.order[self.kept[moments.order]]]
        at = moments.at.values if whole else moments.at.values[self.kept]
        self.at = Instants(at[self.order], np.ones(len(at), np.bool_), moments.at.per_second)
        self.second = hashes_of(self.keys, _SECOND)
        self._walks: dict[int, tuple[WordArray, IntArray, IntArray]] = {}
        self._lock = Lock()

    def walk(self, bits: int) -> tuple[WordArray, IntArray, IntArray]:
        """All rows by key and then time: the key's hash with its low `bits` clear, the place in `order`, the row."""
        with self._lock:
            if bits not in self._walks:
                groups, places = _walk(hashes_of(self.keys)[self.order], bits)
                self._walks[bits] = groups, places, self.order[places]
            return self._walks[bits]


@dataclass(frozen=True, slots=True)
class History:
    """Feature rows as the join sees them: their keys, event times and, where there are such, created times.

    `created` is only called, and so only read, where it can make a difference.
    """

    keys: pl.DataFrame
    at: pl.Series
    created: Callable[[], pl.Series] | None = None


def asof_rows(asked: Asked, history: History, *, ttl: timedelta | None = None, known: bool = False) -> IntArray:
    """For each row that is asked for, the number of the feature row that was in force, -1 where there is none.

    That is the row of the same key with the greatest event time t' where t - ttl <= t' <= t (both ends count; no
    `ttl`, or none above zero: no lower end); of equal event times the one created last (a null counts as first of
    all), then the last one in the history. With `known`, rows created after t, or not known when, are left out.
    A null in a key or in a time matches nothing. `asked.keys` and `history.keys` have the same columns and types.
    """
    at, created = instants(history.at, history.created, known)
    kept = at.valid & no_nulls(history.keys)
    if not kept.any() or not len(asked.order):
        return np.full(len(asked.kept), -1, np.int64)
    whole = bool(kept.all())
    features = _Features.of(history.keys, at.values, created)
    features = features if whole else features.where(kept)
    features = features.known() if known and created is not None else features
    found = _find(asked, at.per_second, features)
    if ttl is not None and ttl > timedelta(0):
        _expire(found, asked, ttl, at.per_second, features)
    if not whole:
        found = np.where(found < 0, -1, np.flatnonzero(kept)[found])
    if len(found) == len(asked.kept):
        return found
    rows = np.full(len(asked.kept), -1, np.int64)
    rows[asked.kept] = found
    return rows


def in_time_order(at: IntArray, created: IntArray | None) -> IntArray | None:
    """The stable order by event time and then created time; None where the rows are in it already."""
    steps = np.diff(at)
    ties = steps == 0
    if (steps >= 0).all() and (created is None or (created[1:] >= created[:-1])[ties].all()):
        return None
    order = np.arange(len(at)) if created is None else _stable_order(created)
    return order[_stable_order(at[order])]


@dataclass(frozen=True, slots=True)
class _Features:
    """The usable rows of a history, and how they lie in time.

    `at` and `created` are in the order of `keys`; `order[r]` is the row of rank r by event and created time (None: r);
    `entry[i]` is the rank of the row that comes i-th into force, at `since[i]`.
    """

    keys: pl.DataFrame
    at: IntArray
    created: IntArray | None
    order: IntArray | None
    entry: IntArray | None
    since: IntArray

    @classmethod
    def of(cls, keys: pl.DataFrame, at: IntArray, created: IntArray | None) -> _Features:
        order = in_time_order(at, created)
        since = at if order is None else at[order]
        return cls(keys, at, created, order, None, since)

    def known(self) -> _Features:
        """The same, each row in force only from when it was created on; never where that is null."""
        assert self.created is not None
        ready = np.where(self.created == FIRST, LAST, np.maximum(self.at, self.created))
        ready = ready if self.order is None else ready[self.order]
        entry = _stable_order(ready)
        return _Features(self.keys, self.at, self.created, self.order, entry, ready[entry])

    def where(self, kept: BoolArray) -> _Features:
        some = _Features.of(self.keys.filter(kept), self.at[kept], None if self.created is None else self.created[kept])
        return some if self.entry is None else some.known()


def _find(asked: Asked, per_second: int, features: _Features) -> IntArray:
    """Row numbers into `features`, -1 for none: by hash, then by exact codes for the answers whose key differs."""
    at = asked.at.scaled(per_second)
    bits = max(_RANK_BITS, len(at).bit_length(), len(features.at).bit_length())
    walk, places, targets = asked.walk(bits)
    rows = np.empty(len(at), np.int64)
    rows[targets] = _search(hashes_of(features.keys), features, walk, places, at, bits)
    differ = asked.second != hashes_of(features.keys, _SECOND)[np.maximum(rows, 0)]
    clashes = np.flatnonzero(differ & (rows >= 0))
    if len(clashes):
        rows[clashes] = _find_exactly(asked, clashes, at, features)
    return rows


def _expire(rows: IntArray, asked: Asked, ttl: timedelta, per_second: int, features: _Features) -> None:
    """Put -1 where the row found is older than `ttl`."""
    newest = Instants(asked.at.values[-1:], asked.at.valid[-1:], asked.at.per_second)
    if newest.earlier(ttl).scaled(per_second, up=True)[0] > features.at.min():
        oldest = asked.at.earlier(ttl).scaled(per_second, up=True)
        by_row = np.empty_like(oldest)
        by_row[asked.order] = oldest
        rows[features.at[rows] < by_row] = -1


def _find_exactly(asked: Asked, some: IntArray, at: IntArray, features: _Features) -> IntArray:
    """The same for `some` of the rows that are asked for, with codes that are no hashes."""
    place = np.empty(len(at), np.int64)
    place[asked.order] = np.arange(len(at))
    order = np.argsort(place[some])
    kept, codes, wanted = _exact_codes(features.keys, asked.keys[some[order]])
    if not len(codes):
        return np.full(len(some), -1, np.int64)
    bits = max(len(codes), len(wanted)).bit_length()
    shift = np.uint64(bits)
    walk, places = _walk(wanted << shift, bits)
    found = _search(codes << shift, features.where(kept), walk, places, at[place[some[order]]], bits)
    rows = np.empty(len(some), np.int64)
    rows[order[places]] = np.where(found < 0, -1, np.flatnonzero(kept)[found])
    return rows


def _search(
    groups: WordArray, features: _Features, walk: WordArray, places: IntArray, at: IntArray, bits: int
) -> IntArray:
    """The latest row of each group on the walk, at the times that are at its `places`; -1 for none.

    `groups` are those of the feature rows; the low `bits` of a group are free for ranks.
    """
    low = np.uint64((1 << bits) - 1)
    ranked = groups if features.order is None else groups[features.order]
    history = (ranked if features.entry is None else ranked[features.entry]) & ~low
    history |= np.arange(len(groups), dtype=np.uint64)
    history.sort()
    best = history
    if features.entry is not None:
        ranks = features.entry[(history & low).astype(np.int64)].astype(np.uint64)
        best = np.maximum.accumulate(history & ~low | ranks)
    passed = _last_until(features.since, at)[places]
    place = _last_until(history, walk | np.maximum(passed, 0).astype(np.uint64))
    found = best[np.maximum(place, 0)]
    hit = (place >= 0) & (passed >= 0) & (found & ~low == walk)
    rows = np.where(hit, (found & low).astype(np.int64), -1)
    return rows if features.order is None else np.where(hit, features.order[rows], -1)


def _last_until(values: npt.NDArray[Any], asked: npt.NDArray[Any]) -> IntArray:
    """For each of `asked` the place of the last of `values` that is not greater, -1 where none; both ascend.

    One walk through both, where a binary search for each would jump about in memory.
    """
    left, right = (pl.DataFrame({"at": side}).with_columns(pl.col("at").set_sorted()) for side in (asked, values))
    joined = left.join_asof(right.with_row_index("place"), on="at", check_sortedness=False)
    return joined["place"].cast(pl.Int64).fill_null(-1).to_numpy()


def _walk(groups: WordArray, bits: int) -> tuple[WordArray, IntArray]:
    """Groups in order, each with its place in `groups`; equal ones in order of place."""
    low = np.uint64((1 << bits) - 1)
    words = groups & ~low | np.arange(len(groups), dtype=np.uint64)
    words.sort()
    return words & ~low, (words & low).astype(np.int64)


def hashes_of(keys: pl.DataFrame, seed: int = _SEED) -> WordArray:
    """(n,) uint64, equal for equal keys of the same types."""
    hashes = keys.to_series().hash(seed) if keys.width == 1 else keys.hash_rows(seed)
    return hashes.to_numpy()


def _exact_codes(features: pl.DataFrame, asked: pl.DataFrame) -> tuple[BoolArray, WordArray, WordArray]:
    """Which feature rows have an asked key, and the codes of those rows and of the asked ones."""
    distinct = asked.unique().with_row_index("\0code")
    rows, wanted = (
        side.join(distinct, on=asked.columns, how="left", maintain_order="left")["\0code"] for side in (features, asked)
    )
    codes = rows.drop_nulls().to_numpy().astype(np.uint64)
    return rows.is_not_null().to_numpy(), codes, wanted.to_numpy().astype(np.uint64)


def instants(
    times: pl.Series, read_created: Callable[[], pl.Series] | None, known: bool = False
) -> tuple[Instants, IntArray | None]:
    """Event and created times in the finer unit of both; a null created time is the first of all.

    None for the created times unless event times tie or it matters when rows became `known`.
    """
    at = Instants.of(times)
    if read_created is None or not (known or _has_ties(at.values)):
        return at, None
    created = Instants.of(read_created())
    unit = max(at.per_second, created.per_second)
    return Instants(at.scaled(unit), at.valid, unit), np.where(created.valid, created.scaled(unit), FIRST)


def _has_ties(values: IntArray) -> bool:
    steps = np.diff(values)
    if (steps < 0).any():
        steps = np.diff(np.sort(values))
    return not steps.all()


def no_nulls(keys: pl.DataFrame) -> BoolArray:
    """(n,) bool: whether no column of the key is null."""
    valid = np.ones(keys.height, np.bool_)
    for column in keys:
        if column.null_count():
            valid &= column.is_not_null().to_numpy()
    return valid


def _stable_order(values: IntArray) -> IntArray:
    """As `np.argsort(values, kind="stable")`, by two vectorised unstable sorts: several times as fast."""
    order = np.argsort(values)
    ordered = values[order]
    ties = ordered[1:] == ordered[:-1]
    if not ties.any():
        return order
    bits = np.uint64(len(values).bit_length())
    groups = np.concatenate([[0], np.cumsum(~ties)]).astype(np.uint64)
    words = groups << bits | order.astype(np.uint64)
    words.sort()
    return (words & ((np.uint64(1) << bits) - np.uint64(1))).astype(np.int64)
