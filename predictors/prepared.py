"""What predictors make of contents, whoever asks: made when a release is, not at every request.

Each version of a predictor has a table in the workspace's `prepared` folder, in the storage of the online store, so all
servers map one copy and read it while it is brought up to date. A row is a content's numbers beside the stamps of the
rows of the store that they were made from: where those are no longer the store's, or the content is not there at all,
the numbers are made on the spot and remembered. So the table is never wrong, only late, and answers do not hang on it.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter, OrderedDict
from collections.abc import Collection, Iterable, Sequence
from functools import cache
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from feature_repo.columnar.keys import text_keys
from feature_repo.columnar.storage import Column, Environment, Table
from feature_repo.columns import Columns, Mask, Wanted, stamp
from feature_repo.errors import NotFoundError
from feature_repo.schema import VIEWS
from feature_repo.settings import Settings
from predictors.base import Preparing, Scores

if TYPE_CHECKING:
    from predictors.loaded import FeatureReader

logger = logging.getLogger(__name__)

Matrix = npt.NDArray[np.float32]
Stamps = npt.NDArray[np.int64]

_AT_ONCE = 2048  # contents that are prepared together
_KEPT = 20_000  # contents that are remembered, at most
_NUMBERS, _STAMPS = "numbers", "stamps"
_VIEW_OF = {name: view for view, (_, features) in VIEWS.items() for name in features}


class Prepared:
    """What a predictor makes of contents, from its table or anew. Safe to share between threads."""

    def __init__(self, predictor: Preparing, reader: FeatureReader, table: Table | None = None) -> None:
        """`reader` gives what is not in the table, or out of date there."""
        self._predictor = predictor
        self._reader = reader
        self._table = table
        self._views = views_of(predictor)
        self._made: OrderedDict[tuple[str, bytes], Matrix] = OrderedDict()
        self._lock = threading.Lock()
        self.found: Counter[str] = Counter()  # contents that were needed, by where their numbers came from
        live, stamps = predictor.live, frozenset(self._views)
        self.wanted = Wanted(live.features, live.related, stamps)
        self._all = Wanted(frozenset(predictor.prepared), stamps=stamps)

    def __call__(self, contents: Columns) -> Matrix:
        """(n, width) float32 of contents that were read with the stamps of `wanted`, or with all features."""
        if not contents.rows:
            return np.empty((0, self._predictor.width), np.float32)
        if any(stamp(view) not in contents.values for view in self._views):
            return self._predictor.prepare(contents)
        ids, stamps = contents.objects("content_id"), self._stamps(contents)
        numbers, current = self._look_up(ids.tolist(), stamps)
        absent = np.flatnonzero(~current)
        for row in absent.tolist():
            remembered = self._made.get((ids[row], stamps[row].tobytes()))
            if remembered is not None:
                numbers[row], current[row] = remembered, True
        if (late := np.flatnonzero(~current)).size:
            numbers[late] = self._make(ids[late].tolist())
        with self._lock:
            self.found["table"] += len(ids) - len(absent)
            self.found["memory"] += len(absent) - len(late)
            self.found["made"] += len(late)
        return numbers

    def score(self, columns: Columns) -> Scores:
        """What the predictor says of these rows."""
        (related,) = columns.related.values() or (Columns(0, {}, {}),)
        met = self(related) if related.rows else np.empty((0, self._predictor.width), np.float32)
        return self._predictor.score_prepared(columns, self(columns), met)

    def refresh(self, content_ids: Iterable[str]) -> int:
        """Bring the table up to date for these contents; how many were made anew. Kept as it goes, so a run that was
        killed goes on where it was.
        """
        table, made = self._table, 0
        if table is None:
            raise ValueError("there is no table to bring up to date")
        coming = iter(content_ids)
        while ids := list(islice(coming, _AT_ONCE)):
            found = self._reader.read(self._predictor.service, ids, wanted=Wanted(frozenset(), stamps=self._all.stamps))
            if any(stamp(view) not in found.values for view in self._views):
                return 0  # a store that has no stamps: rows could not be told from those out of date
            _, current = self._look_up(ids, self._stamps(found))
            late = [content_id for content_id, good in zip(ids, current.tolist(), strict=True) if not good]
            if late:
                stamps, numbers = self._read(late)
                never = np.zeros(len(late), np.int64)
                table.write(_keys(late), never, never, {_NUMBERS: (numbers, None), _STAMPS: (stamps, None)})
                made += len(late)
        return made

    def _look_up(self, ids: Sequence[str], stamps: Stamps) -> tuple[Matrix, Mask]:
        """The table's numbers, (n, width), and where they are of those stamps, (n,)."""
        try:
            batch = self._table.read(_keys(ids), (_NUMBERS, _STAMPS)) if self._table else None
        except NotFoundError:  # dropped since: by now no release to go back to has it
            batch = None
        if batch is None:
            return np.empty((len(ids), self._predictor.width), np.float32), np.zeros(len(ids), bool)
        current: Mask = batch.present & (batch.columns[_STAMPS][0] == stamps).all(axis=1)
        return np.array(batch.columns[_NUMBERS][0]), current

    def _make(self, ids: Sequence[str]) -> Matrix:
        """Numbers made on the spot, which are remembered."""
        stamps, numbers = self._read(ids)
        with self._lock:
            for content_id, at, row in zip(ids, stamps, numbers, strict=True):
                self._made[content_id, at.tobytes()] = row
            while len(self._made) > _KEPT:
                self._made.popitem(last=False)
        return numbers

    def _read(self, ids: Sequence[str]) -> tuple[Stamps, Matrix]:
        """Stamps and numbers of contents as they are now: of one read, so that they belong together."""
        columns = self._reader.read(self._predictor.service, ids, wanted=self._all)
        return self._stamps(columns), self._predictor.prepare(columns)

    def _stamps(self, contents: Columns) -> Stamps:
        return np.stack([contents.values[stamp(view)] for view in self._views], axis=1)


def views_of(predictor: Preparing) -> tuple[str, ...]:
    """The views that hold what `prepare` reads, by name; a vector's view has its name."""
    return tuple(sorted({_VIEW_OF.get(name, name) for name in predictor.prepared}))


def prepare(settings: Settings, predictor: Preparing, reader: FeatureReader, content_ids: Iterable[str]) -> int:
    """Bring the table of a predictor's version up to date; how many contents were made anew."""
    environment, name = _environment(settings.prepared_dir), _name(predictor)
    columns = (Column(_NUMBERS, "f4", predictor.width), Column(_STAMPS, "i8", len(views_of(predictor))))
    table = environment.table(name) if name in environment.tables() else environment.create(name, columns)
    made = Prepared(predictor, reader, table).refresh(content_ids)
    table.optimise()
    return made


def prepared(settings: Settings, predictor: Preparing, reader: FeatureReader) -> Prepared:
    """With the table of the predictor's version, where one was made."""
    try:
        return Prepared(predictor, reader, _environment(settings.prepared_dir).table(_name(predictor)))
    except NotFoundError:
        logger.warning("nothing is prepared for %s: the first requests are slow; run `larder release`", predictor.name)
        return Prepared(predictor, reader)


def forget(settings: Settings, keep: Collection[tuple[str, str]]) -> None:
    """Drop the tables but for those of some predictors, by name and version."""
    environment = _environment(settings.prepared_dir)
    for name in set(environment.tables()) - {f"{predictor}/{version}" for predictor, version in keep}:
        environment.drop(name)


def _name(predictor: Preparing) -> str:
    return f"{predictor.name}/{predictor.version}"


@cache
def _environment(folder: Path) -> Environment:
    return Environment(folder)


def _keys(ids: Sequence[str]) -> Sequence[bytes]:
    return text_keys("content_id", ids)
