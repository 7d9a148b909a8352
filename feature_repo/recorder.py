"""Takes events from outside: into the log, and into the online features of their users and contents."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import polars as pl

from feature_repo.contracts import Event
from feature_repo.errors import UnavailableError
from feature_repo.events import EventLog, to_frame
from feature_repo.files import only_writer, sweep
from feature_repo.folding import FOLDED, rows
from feature_repo.journal import Journal, States
from feature_repo.settings import Settings

log = logging.getLogger(__name__)

SEAL_EVENTS = 100_000

Push = Callable[[str, pl.DataFrame], object]


class Recorder:
    """For one thread of a process; other processes may record at the same time.

    `push` brings rows of a view online, where a row gives way to one of an equal or newer event time and, of equal
    ones, of an equal or newer created time (`Store.push`).
    """

    def __init__(self, settings: Settings, push: Push) -> None:
        self._folder = settings.interactions_dir
        self._log = EventLog(self._folder)
        self._push = push
        self._journal = Journal(self._log.journal_folder)

    def close(self) -> None:
        """Let go of the journal; it keeps what it has."""
        self._journal.close()

    def catch_up(self) -> None:
        """Fold the segments that came by other ways than this, and bring online what a killed process did not."""
        for segment in self._log.segments():
            if self._journal.lacks(segment.name):
                self._journal.absorb(segment.name, self._log.read_segment(segment))
        self._bring_online(self._journal.unsettled())

    def record(self, events: Sequence[Event]) -> list[bool]:
        """Which of the events are new. Then all are durable, in the log once, and in the online features.

        Raises UnavailableError where that cannot be had: some may be durable, and are when they are sent again.
        """
        taken = self._journal.append(to_frame(events))
        self._bring_online(taken.states)
        if taken.waiting >= SEAL_EVENTS:
            self._try_seal()
        return taken.fresh.to_list()

    def seal(self) -> int:
        """Put the journal's events into a segment; how many. Raises UnavailableError where another process does."""
        with only_writer(self._folder):
            sweep(self._folder)
            return self._journal.seal(self._log.write_segment)

    def _try_seal(self) -> None:
        """A seal that fails, or that another process is at, costs the events nothing: the journal has them."""
        try:
            self.seal()
        except (UnavailableError, OSError) as error:
            level = logging.INFO if isinstance(error, UnavailableError) else logging.WARNING
            log.log(level, "events stay in the journal: %s", error)

    def _bring_online(self, states: States) -> None:
        for entity, views in FOLDED.items():
            of_entity = [state for key, state in states.items() if key.startswith(entity[:1].encode())]
            for view in views:
                if (frame := rows(view, of_entity)).height:
                    self._push(view, frame)
        self._journal.settle(states)


def catch_up(settings: Settings, push: Push) -> None:
    """Let the online features that servers keep know of what was ingested; nothing where none ever took events."""
    if EventLog(settings.interactions_dir).journal_folder.is_dir():
        recorder = Recorder(settings, push)
        recorder.catch_up()
        recorder.close()
