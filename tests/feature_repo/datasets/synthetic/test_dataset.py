"""The data set as its users see it: deterministic, lazy, consistent with itself, and silent about the truth."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from feature_repo.contracts import Content, EventType, Modality
from feature_repo.datasets.base import Dataset
from feature_repo.datasets.synthetic import Synthetic, Truth
from feature_repo.errors import ConfigurationError

Make = Callable[..., Synthetic]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def build(contents: int = 12, users: int = 6, seed: int = 0, *, room: str = "a", **options: object) -> Synthetic:
        options = {"image_size": 32, "clip_share": 0.5} | options
        return Synthetic(contents, users, seed, media_dir=tmp_path / room / "media", **options)  # type: ignore[arg-type]

    return build


def media_bytes(contents: list[Content]) -> dict[tuple[str, Modality], bytes]:
    return {(c.content_id, kind): path.read_bytes() for c in contents for kind, path in c.media.items()}


def rows(contents: list[Content]) -> list[tuple[object, ...]]:
    return [(c.content_id, c.text, c.published_at, c.creator_id, c.tags, c.attributes, c.counters) for c in contents]


def test_the_same_seed_gives_the_same_rows_events_and_bytes(make: Make) -> None:
    one, two = make(room="a"), make(room="b")
    first, second = list(one.contents()), list(two.contents())
    assert rows(first) == rows(second)
    assert media_bytes(first) == media_bytes(second)
    assert list(one.users()) == list(two.users())
    assert list(one.interactions()) == list(two.interactions()) == list(one.interactions())


def test_another_seed_gives_others(make: Make) -> None:
    one, two = make(seed=1), make(seed=2)
    first, second = list(one.contents()), list(two.contents())
    assert not set(media_bytes(first).values()) & set(media_bytes(second).values())
    assert {c.text for c in first} != {c.text for c in second}
    assert list(one.interactions()) != list(two.interactions())


def test_a_larger_world_begins_with_the_same_contents(make: Make) -> None:
    few, many = list(make(6, room="a").contents()), list(islice(make(400, room="b").contents(), 6))
    assert media_bytes(few) == media_bytes(many)
    assert [(c.text, c.tags, c.published_at) for c in few] == [(c.text, c.tags, c.published_at) for c in many]


def test_a_second_pass_reads_the_files_of_the_first(make: Make) -> None:
    world = make()
    before = {path: path.stat().st_mtime_ns for c in world.contents() for path in c.media.values()}
    lost = next(iter(before))
    lost.unlink()
    after = {path: path.stat().st_mtime_ns for c in world.contents() for path in c.media.values()}
    assert after.keys() == before.keys()
    assert [path for path in before if before[path] != after[path]] == [lost]


def test_contents_are_made_as_they_are_asked_for(make: Make, tmp_path: Path) -> None:
    first = list(islice(make(100_000, 100, clips=False).contents(), 3))
    assert [c.content_id for c in first] == ["content-0000000", "content-0000001", "content-0000002"]
    assert len(list((tmp_path / "a" / "media").rglob("*.jpg"))) == 3


def test_clips_are_for_a_share_of_the_contents(make: Make) -> None:
    def with_clip(**options: object) -> int:
        return sum(Modality.VIDEO in c.media for c in make(24, **options).contents())

    assert with_clip(clips=False) == with_clip(clip_share=0.0) == 0
    assert with_clip(clip_share=1.0) == 24
    assert 2 <= with_clip(clip_share=0.25) <= 10


def test_every_medium_named_is_there_and_none_is_missed(make: Make) -> None:
    world: Dataset = make()
    for content in world.contents():
        assert {Modality.IMAGE, Modality.AUDIO} <= content.media.keys()
        assert all(path.is_file() for path in content.media.values())
    assert world.rejects.total == 0
    assert not world.missing_media


def test_counters_are_the_totals_of_the_log(make: Make) -> None:
    world = make()
    log = Counter((event.content_id, event.event) for event in world.interactions())
    for content in world.contents():
        said = {kind: content.counters[f"{kind}s"] for kind in EventType if kind is not EventType.RATING}
        assert said == {kind: log[content.content_id, kind] for kind in said}


def test_attributes_tags_and_users_are_plain_facts(make: Make) -> None:
    world = make(60, 30, start=datetime(2024, 12, 30, tzinfo=UTC), clips=False)
    contents = list(world.contents())
    assert all(c.attributes.keys() == {"language", "year", "duration_s"} for c in contents)
    assert {c.attributes["year"] for c in contents} == {2024.0, 2025.0}
    assert {len(c.tags) for c in contents} == {1, 2}
    users = list(world.users())
    assert len({u.user_id for u in users}) == 30
    assert all(14 <= float(u.attributes["age"]) < 80 and len(str(u.attributes["country"])) == 2 for u in users)


def test_the_truth_lies_beside_the_media_where_no_content_leads(make: Make, tmp_path: Path) -> None:
    world = make()
    contents = list(world.contents())
    truth = tmp_path / "a" / "truth"
    assert not [path for c in contents for path in c.media.values() if truth in path.parents]
    with np.load(truth / "truth.npz") as arrays:
        for name in Truth.__slots__:
            np.testing.assert_array_equal(arrays[name], getattr(world.truth, name))
    about = json.loads((truth / "truth.json").read_text())
    assert about["world"] == {"contents": 12, "users": 6, "seed": 0, "days": 60}
    assert len(about["topics"]) == world.truth.topic_mixture.shape[1]


def test_the_smallest_world_is_whole(make: Make) -> None:
    world = make(1, 1, days=1)
    (content,) = world.contents()
    assert all(event.timestamp > content.published_at for event in world.interactions())


@pytest.mark.parametrize(
    "options",
    [{"contents": 0}, {"users": 0}, {"seed": -1}, {"days": 0}, {"image_size": 8}, {"clip_share": 1.5}],
    ids=lambda options: next(iter(options)),
)
def test_what_cannot_be_made_is_refused_by_name(make: Make, options: dict[str, float]) -> None:
    (name,) = options
    with pytest.raises(ConfigurationError, match=name):
        make(**options)


def test_a_start_out_of_utc_is_refused(make: Make) -> None:
    with pytest.raises(ValueError, match="start must be in UTC"):
        make(start=datetime(2025, 1, 1))
