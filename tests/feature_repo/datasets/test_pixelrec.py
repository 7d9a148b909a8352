"""PixelRec in particular: names, covers, tags and times as its releases have them."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from feature_repo.contracts import EventType, Interaction, Modality
from feature_repo.datasets.pixelrec import PixelRec
from feature_repo.errors import InputError


def test_a_video(pixelrec: Path) -> None:
    first, blank, last = PixelRec(pixelrec).contents()
    assert first.title == "My friend, a turtle"
    assert first.description == "Brush it?"
    assert first.tags == ("Film and Editing",)
    assert first.counters == {
        "views": 799668.0, "comments": 739.0, "likes": 8050.0, "shares": 220.0,
        "coins": 84.0, "favorites": 1049.0, "barrages": 510.0,
    }  # fmt: skip
    assert (blank.title, blank.tags, blank.counters) == ("", (), {})
    assert last.tags == ("Comedy", "Daily Life")


def test_publication_is_the_first_interaction_of_the_item_or_of_all(pixelrec: Path) -> None:
    with (pixelrec / "item_info.csv").open("a") as file:
        file.write("i4,1,1,1,1,1,1,1,Unseen,Comedy,\n")
    published = [content.published_at for content in PixelRec(pixelrec).contents()]
    seconds = [1605059546, 1605059547, 1605059540, 1605059540]
    assert published == [datetime.fromtimestamp(second, UTC) for second in seconds]


def test_interactions_are_views_in_seconds_or_milliseconds(pixelrec: Path) -> None:
    events = list(PixelRec(pixelrec).interactions())
    assert events[0] == Interaction("u10", "i1", EventType.VIEW, datetime.fromtimestamp(1605059546, UTC))
    assert events[-1].timestamp == datetime.fromtimestamp(1605059550, UTC)
    assert {event.value for event in events} == {1.0}


def test_the_english_title_is_taken_where_there_is_one(pixelrec: Path) -> None:
    (pixelrec / "item_info.csv").write_text("item_id,title_en,title\ni1,Turtle,乌龟\ni2,,乌龟\n")
    assert [content.title for content in PixelRec(pixelrec).contents()] == ["Turtle", "乌龟"]


def test_prefixed_names_are_found_unless_several_fit(pixelrec: Path) -> None:
    (pixelrec / "item_info.csv").rename(pixelrec / "Pixel200K_item_info.csv")
    (pixelrec / "interaction.csv").rename(pixelrec / "Pixel200K_interaction.csv")
    assert len(list(PixelRec(pixelrec).contents())) == 3
    (pixelrec / "Pixel1M_interaction.csv").write_text("item_id,user_id,timestamp\n")
    with pytest.raises(InputError, match=r"Pixel1M_interaction\.csv, Pixel200K_interaction\.csv all fit"):
        PixelRec(pixelrec)
    (pixelrec / "interaction.csv").write_text("item_id,user_id,timestamp\n")
    assert list(PixelRec(pixelrec).interactions()) == []


def test_covers_without_a_telling_name_are_found(pixelrec: Path) -> None:
    (pixelrec / "cover1").rename(pixelrec / "pictures")
    (pixelrec / "cover2").rename(pixelrec / "aside")
    (pixelrec / "aside" / "i2.jpg").rename(pixelrec / "aside" / "i2.txt")
    found = [content.media.get(Modality.IMAGE) for content in PixelRec(pixelrec).contents()]
    assert found == [pixelrec / "pictures" / "i1.jpg", None, None]
