"""The events that servers took and that no Parquet segment holds yet, and what all events of the log come to.

One LMDB environment, written by any number of processes. A transaction takes a batch of events, drops those whose ids
are known, and folds the others into the states of their users and contents. LMDB has one writer at a time and flushes
at the commit, so an event is in the journal and in the states once, or in neither, whoever is killed when.

What a key is says its first byte: `i` with the digest of an event id, of every event ever taken; `e` with a number: a
batch of events as an Arrow stream; `u` or `c` with a name: the state of a user or content; `d` with the key of a
state: its version, not known to be online; `s` with a name: a segment whose events are taken; `n`: `_Numbers`; `w`:
the key of the first batch that the seal under way leaves.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Iterator
from dataclasses import astuple, dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import polars as pl

from feature_repo.columnar.storage import Environment
from feature_repo.columnar.storage_lmdb import Transaction
from feature_repo.folding import STATES, Fact, State, facts

LONGEST = 400  # bytes of a name in a key, of the 511 that LMDB takes; a longer one is digested
CHUNK = 20_000  # events of a segment to a transaction
_OF_KEY = {entity[:1].encode(): state for entity, state in STATES.items()}

T = TypeVar("T")
States = dict[bytes, State]  # by key


@dataclass(slots=True)
class _Numbers:
    """The last version given to a state, the number of the next batch, and how many events the batches hold."""

    version: int = 0
    batch: int = 0
    events: int = 0

    @classmethod
    def read(cls, txn: Transaction) -> _Numbers:
        return cls(*json.loads(bytes(txn.get(b"n") or b"[]")))

    def write(self, txn: Transaction) -> None:
        txn.put(b"n", json.dumps(astuple(self)).encode())


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of n events: `fresh` (n,) says which were new; `waiting` is how many no segment holds yet.

    `states` are those of the events' users and contents that are not known to be online.
    """

    fresh: pl.Series
    states: States
    waiting: int


class Journal:
    """The journal in `folder`, made where there is none. Its methods raise UnavailableError: disk full, lock held."""

    def __init__(self, folder: Path) -> None:
        self._environment = Environment(folder)
        self._online: list[tuple[bytes, int]] = []

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of it; what was taken stays."""
        self._environment.close()

    # -- taking events

    def append(self, events: pl.DataFrame) -> Taken:
        """Take events, columns as those of the event log, in one transaction: they are durable when this returns."""

        def work(txn: Transaction) -> Taken:
            numbers = _Numbers.read(txn)
            fresh = _note_ids(txn, events)
            new = events.filter(fresh)
            if new.height:
                txn.put(_batch(numbers.batch), _to_bytes(new))
                numbers.batch += 1
                numbers.events += new.height
            states = _fold(txn, new, numbers, live=True)
            known = {key for row in facts(events.filter(~fresh)) for key in _keys(row)} - states.keys()
            states |= {key: _state(txn, key) for key in known if txn.get(b"d" + key) is not None}
            numbers.write(txn)
            return Taken(fresh, states, numbers.events)

        return self._write(work)

    def absorb(self, segment: str, events: pl.DataFrame) -> None:
        """Fold the events of a segment, but for those that are known; doing it again changes nothing."""

        def work(txn: Transaction, part: pl.DataFrame) -> None:
            numbers = _Numbers.read(txn)
            _fold(txn, part.filter(_note_ids(txn, part)), numbers, live=False)
            numbers.write(txn)

        for part in events.iter_slices(CHUNK):
            self._write(partial(work, part=part))
        self._write(lambda txn: txn.put(_segment(segment), b""))

    def lacks(self, segment: str) -> bool:
        """Whether the events of a segment are still to be absorbed."""
        with self._environment.handle.reading() as txn:
            return txn.get(_segment(segment)) is None

    # -- bringing states online

    def unsettled(self) -> States:
        """Every state that is not known to be online."""
        with self._environment.handle.reading() as txn:
            return {key[1:]: _state(txn, key[1:]) for key, _ in _under(txn, b"d")}

    def settle(self, states: States) -> None:
        """These states are online. It is noted with the next batch; without one, they go online once more."""
        self._online += [(key, state.version) for key, state in states.items()]

    # -- reading and sealing

    def batches(self) -> tuple[list[pl.DataFrame], list[pl.DataFrame]]:
        """The batches that no segment is known to hold, columns as they were given.

        First those that are being sealed, or were when a process was killed: one segment holds all of them, or none.
        """
        with self._environment.handle.reading() as txn:
            end = bytes(txn.get(b"w") or b"e")
            batches = {key: pl.read_ipc_stream(bytes(value)) for key, value in _under(txn, b"e")}
        return [batches[key] for key in batches if key < end], [batches[key] for key in batches if key >= end]

    def seal(self, write: Callable[[pl.DataFrame], str]) -> int:
        """Hand the events to `write`, which puts them into a segment and says its name; how many there were.

        Until the segment is whole the events are here, and then for a moment in both places. A seal that was cut short
        then is done again with the same events, which make the same segment, before the others are sealed.
        """
        cut_short = self.batches()[0]
        if not cut_short:
            self._write(lambda txn: txn.put(b"w", _batch(_Numbers.read(txn).batch)))
        batches = cut_short or self.batches()[0]
        if not batches:
            return 0
        sealed = pl.concat(batches)
        segment = write(sealed)

        def work(txn: Transaction) -> None:
            end = bytes(txn.get(b"w") or b"")
            for key in [key for key, _ in _under(txn, b"e") if key < end]:
                txn.delete(key)
            txn.delete(b"w")
            txn.put(_segment(segment), b"")
            numbers = _Numbers.read(txn)
            numbers.events -= sealed.height
            numbers.write(txn)

        self._write(work)
        return sealed.height + (self.seal(write) if cut_short else 0)

    # -- helpers

    def _write(self, work: Callable[[Transaction], T]) -> T:
        """Run `work` in a transaction that also notes what has come online; it may run twice, where the map grows."""
        online = dict(self._online)

        def noting(txn: Transaction) -> T:
            for key, version in online.items():
                if txn.get(b"d" + key) == version.to_bytes(8):
                    txn.delete(b"d" + key)
            return work(txn)

        result = self._environment.handle.write(noting)
        self._online.clear()
        return result


def _under(txn: Transaction, prefix: bytes) -> Iterator[tuple[bytes, memoryview]]:
    cursor = txn.cursor()
    there = cursor.set_range(prefix)
    while there and bytes(cursor.key()).startswith(prefix):
        yield bytes(cursor.key()), cursor.value()
        there = cursor.next()


def _note_ids(txn: Transaction, events: pl.DataFrame) -> pl.Series:
    """Which of the events are new, (n,) bool; all are known from here on."""
    marks = [b"i" + _digest(event_id.encode()) for event_id in events["event_id"]]
    return pl.Series([txn.put(mark, b"", overwrite=False) for mark in marks], dtype=pl.Boolean)


def _fold(txn: Transaction, events: pl.DataFrame, numbers: _Numbers, *, live: bool) -> States:
    """The states that the events change, as they are then.

    Those to go online get a new version: all if `live`, else the ones that have been online, since the rows of the
    others are what the batch brings online.
    """
    states: States = {}
    for fact in facts(events):
        for key, (entity, name) in _keys(fact).items():
            if key not in states:
                states[key] = _state(txn, key) if txn.get(key) is not None else STATES[entity](name)
            states[key].add(fact)
    numbers.version += 1
    for key, state in states.items():
        if live or state.version:
            state.version = numbers.version
            txn.put(b"d" + key, state.version.to_bytes(8))
        txn.put(key, state.write())
    return states


def _keys(fact: Fact) -> dict[bytes, tuple[str, str]]:
    """Entity and name of the states that an event changes, by their keys."""
    return {
        _key(entity, name): (entity, name) for entity, name in (("user", fact.user_id), ("content", fact.content_id))
    }


def _key(entity: str, name: str) -> bytes:
    data = name.encode()
    return entity[:1].encode() + (data if len(data) <= LONGEST else b"\xff" + _digest(data))  # no text has 0xff


def _state(txn: Transaction, key: bytes) -> State:
    return _OF_KEY[key[:1]].read(bytes(txn.get(key)))


def _segment(name: str) -> bytes:
    return b"s" + name.encode()


def _batch(number: int) -> bytes:
    return b"e" + number.to_bytes(8)


def _digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=16).digest()


def _to_bytes(events: pl.DataFrame) -> bytes:
    buffer = io.BytesIO()
    events.write_ipc_stream(buffer)
    return buffer.getvalue()
