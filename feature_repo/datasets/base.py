"""What a dataset adapter is, and where the rows go that it cannot use."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Protocol

from feature_repo.contracts import Content, Interaction, Modality, User

Report = Callable[[int, str], None]
"""Takes the line of a row that cannot be used and the reason."""


def unreported(line: int, reason: str) -> None:
    """The `Report` of a pass that only looks something up: the pass that yields the rows reports them."""


@dataclass(frozen=True, slots=True)
class Reject:
    """One row that was not used. `line` is the physical line where it starts, from 1."""

    file: str
    line: int
    reason: str

    @property
    def kind(self) -> str:
        """The reason without its particulars: what stands before the first colon."""
        return self.reason.partition(":")[0]


@dataclass(slots=True)
class Rejects:
    """Every row that was not used: all are counted, the first `keep` are kept, all go to `sink` as JSON lines.

    `sink` takes one line of text with its newline, so that an open file's `write` will do.
    """

    keep: int = 1000
    sink: Callable[[str], object] | None = None
    kept: list[Reject] = field(default_factory=list)
    _kinds: Counter[tuple[str, str]] = field(default_factory=Counter)
    _reported: Counter[str] = field(default_factory=Counter)

    def add(self, file: str, line: int, reason: str) -> None:
        """Count a row and hand it on. A reason reads `kind` or `kind: particulars`."""
        reject = Reject(file, line, reason)
        self._kinds[file, reject.kind] += 1
        if len(self.kept) < self.keep:
            self.kept.append(reject)
        if self.sink is not None:
            self.sink(json.dumps(asdict(reject), ensure_ascii=False) + "\n")

    def reading(self, file: str) -> Report:
        """The `Report` of one pass over `file`.

        Passes over the same file meet the same bad rows in the same order, so a pass adds only those
        beyond the number that an earlier one got to, and a second reading counts nothing twice.
        """
        met = 0

        def report(line: int, reason: str) -> None:
            nonlocal met
            met += 1
            if met > self._reported[file]:
                self._reported[file] = met
                self.add(file, line, reason)

        return report

    @property
    def total(self) -> int:
        """Rows not used, over all files."""
        return self._kinds.total()

    def by_reason(self) -> dict[tuple[str, str], int]:
        """Rows not used by file name and kind of reason, the most frequent first."""
        return dict(self._kinds.most_common())


class Dataset(Protocol):
    """A data set as streams: each call reads from the start and holds no table in memory.

    A row that cannot be used is counted in `rejects` and reading goes on. `missing_media` counts, for the
    last pass over `contents`, those without the medium that the data set should have for them.
    """

    name: str
    rejects: Rejects
    missing_media: Counter[Modality]

    def contents(self) -> Iterator[Content]:
        """The items, each id once."""
        ...

    def users(self) -> Iterator[User]:
        """The users, each id once."""
        ...

    def interactions(self) -> Iterator[Interaction]:
        """The events of known items, in the order of the file."""
        ...
