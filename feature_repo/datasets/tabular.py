"""What the adapters of published data sets share: a table of items, a table of events, folders of media."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from feature_repo.contracts import Content, Interaction, Modality, User
from feature_repo.datasets.base import Rejects, Report, unreported
from feature_repo.datasets.fields import EPOCH, shown
from feature_repo.datasets.rows import Row, Table
from feature_repo.errors import InputError

SUFFIXES = {
    Modality.IMAGE: (".jpg", ".jpeg", ".png", ".webp"),
    Modality.AUDIO: (".wav", ".mp3", ".m4a"),
    Modality.VIDEO: (".mp4", ".webm"),
}
"""Endings of media files, the one that is taken first where an item has several."""


@dataclass(frozen=True, slots=True)
class FirstEvents:
    """When each item was first seen in use, and when anything was."""

    of: Mapping[str, datetime]
    overall: datetime

    def __getitem__(self, content_id: str) -> datetime:
        """The item's first event, or the first of all where it has none."""
        return self.of.get(content_id, self.overall)


class TabularDataset(ABC):
    """A `Dataset` over an items table and an events table.

    Memory holds one time and one path an item, and what `users` needs to name each once; never a table.
    An event of an item that the items table does not have, or has only in a row that was rejected, is
    rejected itself. Where an id comes twice the first row counts.
    """

    name: str

    def __init__(self, items: Table, events: Table, media: Mapping[Modality, Sequence[Path]]) -> None:
        self.rejects = Rejects()
        self.missing_media: Counter[Modality] = Counter()
        self._items = items
        self._events = events
        self._media = media

    @abstractmethod
    def _content(self, row: Row, first: FirstEvents) -> Content:
        """The item of a row, without its media. Raises ValueError where the row is no item."""

    @abstractmethod
    def _interactions(self, row: Row) -> Sequence[Interaction]:
        """The events of a row, mostly one. Raises ValueError where the row is none."""

    def contents(self) -> Iterator[Content]:
        """The items in the order of the file, each with the media files that exist."""
        self.missing_media = missing = Counter[Modality]()
        files = {modality: media_files(folders, modality) for modality, folders in self._media.items()}
        for content in self._read_items(self._first_events(), self.rejects.reading(self._items.path.name)):
            media = {m: found[content.content_id] for m, found in files.items() if content.content_id in found}
            missing.update(files.keys() - media.keys())
            yield replace(content, media=media)

    def users(self) -> Iterator[User]:
        """Whoever has an event, in the order of the first one; nothing else is known of them."""
        seen: set[str] = set()
        for event in self._known_events(unreported):
            if event.user_id not in seen:
                seen.add(event.user_id)
                yield User(event.user_id)

    def interactions(self) -> Iterator[Interaction]:
        """The events of known items in the order of the file."""
        return self._known_events(self.rejects.reading(self._events.path.name))

    def _known_events(self, report: Report) -> Iterator[Interaction]:
        known = {c.content_id for c in self._read_items(FirstEvents({}, EPOCH), unreported)}
        for line, event in self._read_events(report):
            if event.content_id in known:
                yield event
            else:
                report(line, f"unknown item: {shown(event.content_id)}")

    def _read_items(self, first: FirstEvents, report: Report) -> Iterator[Content]:
        seen: set[str] = set()
        for row in self._items.rows(report):
            try:
                content = self._content(row, first)
            except ValueError as error:
                report(row.line, str(error))
                continue
            if content.content_id in seen:
                report(row.line, f"duplicate id: {shown(content.content_id)}")
            else:
                seen.add(content.content_id)
                yield content

    def _read_events(self, report: Report) -> Iterator[tuple[int, Interaction]]:
        for row in self._events.rows(report):
            try:
                events = self._interactions(row)
            except ValueError as error:
                report(row.line, str(error))
                continue
            for event in events:
                yield row.line, event

    def _first_events(self) -> FirstEvents:
        first: dict[str, datetime] = {}
        for _, event in self._read_events(unreported):
            before = first.get(event.content_id)
            if before is None or event.timestamp < before:
                first[event.content_id] = event.timestamp
        return FirstEvents(first, min(first.values(), default=EPOCH))


def find_file(folder: Path, *patterns: str) -> Path:
    """The file that the first fitting pattern fits. Raises InputError where none does, or one fits several."""
    for pattern in patterns:
        found = sorted(path for path in folder.glob(pattern) if path.is_file())
        if len(found) > 1:
            names = ", ".join(path.name for path in found)
            raise InputError(f"{folder}: {names} all fit {pattern}; leave one of them in the folder")
        if found:
            return found[0]
    there = sorted(path.name for path in folder.iterdir())
    names = ", ".join(there[:10]) + (" …" if len(there) > 10 else "")
    raise InputError(f"{folder}: no file {' or '.join(patterns)}; found: {names or 'nothing'}")


def folders_named(folder: Path, word: str) -> list[Path]:
    """The folders in `folder` with `word` in their name, whatever the case, sorted."""
    return sorted(path for path in folder.iterdir() if path.is_dir() and word in path.name.lower())


def media_files(folders: Sequence[Path], modality: Modality) -> dict[str, Path]:
    """Media files by stem. Listing beats asking for each item, and no id can lead out of the folder."""
    found: dict[str, Path] = {}
    rank = {suffix: place for place, suffix in enumerate(SUFFIXES[modality])}
    for folder in folders:
        if not folder.is_dir():
            continue
        here: dict[str, Path] = {}
        for entry in os.scandir(folder):
            path = Path(entry.path)
            place = rank.get(path.suffix.lower())
            if place is not None and (path.stem not in here or place < rank[here[path.stem].suffix.lower()]):
                here[path.stem] = path
        found = here | found
    return found
