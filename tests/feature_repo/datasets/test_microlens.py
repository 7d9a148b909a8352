"""MicroLens in particular: its forms of pairs and titles, its likes and views, its folders."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from feature_repo.contracts import EventType, Interaction, Modality
from feature_repo.datasets.microlens import TSV_START, MicroLens
from feature_repo.errors import InputError


def test_videos_and_pairs(microlens: Path) -> None:
    dataset = MicroLens(microlens)
    first, second, third = dataset.contents()
    assert (first.title, second.title) == ("Cats, dogs", "")
    assert first.counters == {"likes": 5.0, "views": 500.0}
    assert third.counters == {}
    assert third.published_at == datetime.fromtimestamp(1583378629, UTC)
    when = datetime.fromtimestamp(1583378629, UTC) + timedelta(milliseconds=552)
    assert next(dataset.interactions()) == Interaction("10", "1", EventType.VIEW, when)


def test_lines_of_items_are_one_second_apart(microlens: Path) -> None:
    (microlens / "MicroLens-50k_pairs.csv").unlink()
    pairs = microlens / "MicroLens-50k_pairs.tsv"
    pairs.write_text("10\t2 1\n11\t3 77 78 2\nbroken\n12\t \n")
    dataset = MicroLens(microlens)
    seen = [(e.user_id, e.content_id, (e.timestamp - TSV_START).total_seconds()) for e in dataset.interactions()]
    assert seen == [("10", "2", 0), ("10", "1", 1), ("11", "3", 0), ("11", "2", 3)]
    assert [(reject.line, reject.reason) for reject in dataset.rejects.kept] == [
        (2, "unknown item: '77'"),
        (2, "unknown item: '78'"),
        (3, "wrong number of columns: 1, expected 2"),
        (4, "items is blank"),
    ]
    list(dataset.interactions())
    assert dataset.rejects.total == 4
    assert [user.user_id for user in dataset.users()] == ["10", "11"]


def test_pairs_with_times_are_preferred(microlens: Path) -> None:
    (microlens / "MicroLens-50k_pairs.tsv").write_text("10\t2 1\n")
    assert {event.timestamp.month for event in MicroLens(microlens).interactions()} == {3}


@pytest.mark.parametrize("start", [b"", b"8,Caf\xe9\n"], ids=["clean", "first row bad"])
def test_titles_without_a_header(microlens: Path, start: bytes) -> None:
    (microlens / "MicroLens-100k_title_en.csv").write_bytes(start + b"1,Cats\n3,Last\n")
    dataset = MicroLens(microlens)
    assert [content.title for content in dataset.contents()] == ["Cats", "Last"]
    assert dataset.rejects.total == bool(start)


def test_titles_with_other_columns_are_fatal(microlens: Path) -> None:
    (microlens / "MicroLens-50k_titles.csv").write_text("video,caption\n1,Cats\n")
    with pytest.raises(InputError, match=r"titles\.csv: no column item, title; found: video, caption"):
        MicroLens(microlens)


def test_likes_and_views_may_be_absent_or_bad(microlens: Path) -> None:
    likes = microlens / "MicroLens-50k_likes_and_views.txt"
    likes.write_text("1\t5\t500\n1\t6\t600\n2\tmany\t600\n3\t7\n")
    dataset = MicroLens(microlens)
    assert [content.counters for content in dataset.contents()] == [{"likes": 5.0, "views": 500.0}, {}, {}]
    told = [(reject.line, reject.kind) for reject in dataset.rejects.kept if reject.file == likes.name]
    assert told == [(2, "duplicate id"), (3, "likes is not a finite number"), (4, "wrong number of columns")]
    likes.unlink()
    assert [content.counters for content in MicroLens(microlens).contents()] == [{}, {}, {}]


def test_sound_and_video_are_expected_where_their_folders_are(microlens: Path) -> None:
    for folder, name in (("videos", "1.mp4"), ("audios", "3.wav"), ("audios", "1.mp3"), ("video_features", "1.npy")):
        (microlens / f"MicroLens-50k_{folder}").mkdir(exist_ok=True)
        (microlens / f"MicroLens-50k_{folder}" / name).write_bytes(b"")
    dataset = MicroLens(microlens)
    assert [sorted(content.media) for content in dataset.contents()] == [
        [Modality.AUDIO, Modality.IMAGE, Modality.VIDEO],
        [Modality.IMAGE],
        [Modality.AUDIO],
    ]
    assert dataset.missing_media == Counter({Modality.VIDEO: 2, Modality.AUDIO: 1, Modality.IMAGE: 1})


def test_the_usual_ending_is_taken_where_an_item_has_several(microlens: Path) -> None:
    for name in ("1.webp", "1.PNG", "3.png"):
        (microlens / "MicroLens-50k_covers" / name).write_bytes(b"")
    covers = [content.media[Modality.IMAGE].name for content in MicroLens(microlens).contents()]
    assert covers == ["1.jpg", "2.jpg", "3.png"]
