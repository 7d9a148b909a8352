"""PixelRec: `item_info.csv`, `interaction.csv` and covers named `<item_id>.jpg` (Cheng et al. 2023, arXiv:2309.06789).

The releases (Pixel50K, Pixel200K … PixelRec) prefix file names as they like: where the exact name is absent, the one
file with `item_info` (`interaction`) in its name is taken. Covers lie in the folders with `cover` or `image` in their
name (one release splits them into `cover1` and `cover2`), else in the first folder that holds a picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from feature_repo.contracts import Content, EventType, Interaction, Modality
from feature_repo.datasets.fields import counters, seconds_or_milliseconds, text, text_or_blank
from feature_repo.datasets.rows import Row, Table
from feature_repo.datasets.tabular import FirstEvents, TabularDataset, find_file, folders_named, media_files

COUNTERS = {
    "views": "view_number",
    "comments": "comment_number",
    "likes": "thumbup_number",
    "shares": "share_number",
    "coins": "coin_number",
    "favorites": "favorite_number",
    "barrages": "barrage_number",
}
"""The platform's totals, and their columns."""


class PixelRec(TabularDataset):
    """Videos by cover and text, and who came by.

    An item is published at its first interaction (the first of all where it has none): no date is given.
    The title is `title_en` where a release has one, because the bundled text encoder reads English. A tag is
    a category of several words ("Film and Television Editing"), so tags are split at commas alone. The events
    have no type; they are comments, which nobody makes without watching, so each is a view of value 1.
    """

    name = "pixelrec"

    def __init__(self, path: Path) -> None:
        folder = path.absolute()
        items = find_file(folder, "item_info.csv", "*item_info*.csv")
        events = find_file(folder, "interaction.csv", "*interaction*.csv")
        super().__init__(
            Table.open(items, ("item_id", "title")),
            Table.open(events, ("item_id", "user_id", "timestamp")),
            {Modality.IMAGE: _cover_folders(folder)},
        )

    def _content(self, row: Row, first: FirstEvents) -> Content:
        content_id = text(row, "item_id")
        tags = text_or_blank(row, "tag").replace("，", ",").split(",")
        return Content(
            content_id=content_id,
            title=text_or_blank(row, "title_en") or text_or_blank(row, "title"),
            published_at=first[content_id],
            description=text_or_blank(row, "description"),
            tags=tuple(dict.fromkeys(tag.strip() for tag in tags if tag.strip())),
            counters=counters(row, COUNTERS),
        )

    def _interactions(self, row: Row) -> Sequence[Interaction]:
        user_id, content_id = text(row, "user_id"), text(row, "item_id")
        return [Interaction(user_id, content_id, EventType.VIEW, seconds_or_milliseconds(row, "timestamp"))]


def _cover_folders(folder: Path) -> list[Path]:
    named = folders_named(folder, "cover") + folders_named(folder, "image")
    return named or [path for path in folders_named(folder, "") if media_files([path], Modality.IMAGE)][:1]
