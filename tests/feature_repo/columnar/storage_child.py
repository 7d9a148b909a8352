"""What the crash tests run in processes of their own: a writer to be killed, and readers that check every row.

A row's version follows from its event time; all its values follow from its version and its key, so a row put together
from two versions, or read while it is written, does not add up.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

from feature_repo.columnar.storage import Column, Environment

SCHEMA = [Column("vector", "f4", 96), Column("score", "f8"), Column("count", "i8"), Column("text", "bytes")]
KEYS = [b"key-%d" % number for number in range(400)]
NUMBERS = {key: number for number, key in enumerate(KEYS)}


def rows(keys: list[bytes], version: int) -> dict[str, Any]:
    """The one right content of these rows at a version."""
    seed = np.array([NUMBERS[key] for key in keys], np.int64) + 1000 * version
    vector = (seed[:, None] % 8191 + np.arange(96)).astype(np.float32)
    text = [b"%d" % value * (1 + value % 7) for value in seed.tolist()]
    return {"vector": (vector, None), "score": (seed * 1.0, None), "count": (seed, None), "text": text}


def write(path: str) -> None:
    """Write whole versions, parts of them and deletions, for ever; say each whole version that is committed."""
    with Environment(path, lock_timeout_s=20) as environment:
        table = environment.table("t")
        version = int(table.read(KEYS, []).event_us.max())
        random = np.random.default_rng(version)
        while True:
            version += 1
            times = np.full(len(KEYS), version, np.int64)
            table.write(KEYS, times, times, rows(KEYS, version))
            os.write(1, b"%d\n" % version)
            some = [KEYS[at] for at in random.choice(len(KEYS), 40, replace=False)]
            table.write(some, times[:40] + 1, times[:40], rows(some, version + 1))
            version += 1


def nursery(path: str) -> None:
    """For each line on standard input fork a writer, say its number, and say `dead` when it has been killed.

    A fork costs milliseconds where a new interpreter costs most of a second.
    """
    for _ in sys.stdin:
        child = os.fork()
        if not child:
            write(path)
        os.write(1, b"writer %d\n" % child)
        os.waitpid(child, 0)
        os.write(1, b"dead\n")


def wrong(keys: list[bytes], batch: Any, last: np.ndarray[Any, Any]) -> str:
    """What is amiss in a read, "" when nothing; `last` is each row's version at the read before."""
    if not batch.present.all():
        return f"{int((~batch.present).sum())} committed rows are gone"
    if (batch.event_us < last).any():
        return "a committed version went back"
    whole = np.sort(batch.event_us)[len(keys) // 2]
    if not np.isin(batch.event_us, [whole, whole + 1]).all():
        return "rows of more than one state"
    for version in np.unique(batch.event_us).tolist():
        at = np.flatnonzero(batch.event_us == version)
        expected = rows([keys[row] for row in at.tolist()], version)
        for name in ("vector", "score", "count"):
            values, valid = batch.columns[name]
            if not valid[at].all() or not np.array_equal(values[at], expected[name][0]):
                return f"torn {name}"
        if [batch.columns["text"][row] for row in at.tolist()] != expected["text"]:
            return "torn text"
    return ""


def read(path: str, stop: str) -> None:
    """Read and check until the file `stop` appears, after a line of output for the first read; exit with the reason
    when something is amiss.

    The writer goes first where cores are few.
    """
    os.nice(10)
    with Environment(path, readonly=True) as environment:
        table = environment.table("t")
        names = [column.name for column in SCHEMA]
        last, reads = np.zeros(len(KEYS), np.int64), 0
        while not Path(stop).exists():
            batch = table.read(KEYS, names)
            reason = wrong(KEYS, batch, last)
            if reason:
                sys.exit(reason)
            last, reads = batch.event_us, reads + 1
            if reads == 1:
                os.write(1, b"reading\n")
        sys.stdout.write(f"{reads} {last.max()}\n")


if __name__ == "__main__":
    if sys.argv[1] == "nursery":
        nursery(sys.argv[2])
    else:
        read(*sys.argv[2:])
