"""MicroLens: titles, pairs, likes and views, and folders of media (Ni et al. 2023, arXiv:2309.15379).

| file | form |
|---|---|
| `*_pairs.csv` | `user,item,timestamp`, in milliseconds |
| `*_pairs.tsv`, read where there is no CSV | `user<TAB>item item item`, in the order of time |
| `*_title_en.csv`, else `*_titles.csv` | `item,title`, with or without a header |
| `*_likes_and_views.txt`, may be absent | `item<TAB>likes<TAB>views`, no header |
| folders with `cover`, `video`, `audio` in their name | media named by item |
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path

from feature_repo.contracts import Content, EventType, Interaction, Modality
from feature_repo.datasets.base import unreported
from feature_repo.datasets.fields import counters, milliseconds, shown, text, text_or_blank
from feature_repo.datasets.rows import Row, Table, first_record
from feature_repo.datasets.tabular import FirstEvents, TabularDataset, find_file, folders_named

TSV_START = datetime(2020, 1, 1, tzinfo=UTC)
"""When every user of a `.tsv` begins. It gives order but no times, so a user's items are set one second apart."""

_TITLES = ("item", "title")
_LIKES = "*_likes_and_views.txt"


class MicroLens(TabularDataset):
    """Short videos, with the events as views of value 1: a pair is a comment, which nobody makes without watching.

    An item is published at its first interaction (the first of all where it has none): no date is given.
    Every item should have a cover; sound and video are expected where the release's folder for them is there.
    """

    name = "microlens"

    def __init__(self, path: Path) -> None:
        folder = path.absolute()
        pairs = find_file(folder, "*_pairs.csv", "*_pairs.tsv")
        self._timed = pairs.suffix == ".csv"
        self._likes = find_file(folder, _LIKES) if any(folder.glob(_LIKES)) else None
        media = {Modality.IMAGE: folders_named(folder, "cover")}
        media |= {m: found for m in (Modality.VIDEO, Modality.AUDIO) if (found := folders_named(folder, m.value))}
        super().__init__(
            _titles(find_file(folder, "*_title_en.csv", "*_titles.csv")),
            Table.open(pairs, ("user", "item", "timestamp"))
            if self._timed
            else Table(pairs, ("user", "items"), headed=False, delimiter="\t"),
            media,
        )

    def _content(self, row: Row, first: FirstEvents) -> Content:
        content_id = text(row, "item")
        return Content(
            content_id=content_id,
            title=text_or_blank(row, "title"),
            published_at=first[content_id],
            counters=self._counters.get(content_id, {}),
        )

    def _interactions(self, row: Row) -> Sequence[Interaction]:
        user_id = text(row, "user")
        if self._timed:
            return [Interaction(user_id, text(row, "item"), EventType.VIEW, milliseconds(row, "timestamp"))]
        return [
            Interaction(user_id, item, EventType.VIEW, TSV_START + timedelta(seconds=place))
            for place, item in enumerate(text(row, "items").split())
        ]

    @cached_property
    def _counters(self) -> Mapping[str, Mapping[str, float]]:
        """Likes and views by item; read when the first item is."""
        found: dict[str, Mapping[str, float]] = {}
        if self._likes is None:
            return found
        report = self.rejects.reading(self._likes.name)
        for row in Table(self._likes, ("item", "likes", "views"), headed=False, delimiter="\t").rows(report):
            try:
                item, counts = text(row, "item"), counters(row, {"likes": "likes", "views": "views"})
            except ValueError as error:
                report(row.line, str(error))
                continue
            if item in found:
                report(row.line, f"duplicate id: {shown(item)}")
            else:
                found[item] = counts
        return found


def _titles(path: Path) -> Table:
    """The table of titles; without a header it begins with an item, and MicroLens numbers its items."""
    start = first_record(path, "rows of item and title", unreported)
    if len(start) == len(_TITLES) and start[0].isdigit():
        return Table(path, _TITLES, headed=False)
    return Table.open(path, _TITLES)
