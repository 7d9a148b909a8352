"""A folder of clips in particular: what lies beside them, what is left alone, and what is broken."""

from __future__ import annotations

import json
import os
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_repo.catalog import Catalog
from feature_repo.contracts import Content, Modality
from feature_repo.datasets import open_dataset
from feature_repo.datasets.infojson import MAX_BYTES, Info
from feature_repo.datasets.video_folder import CLIPS, VideoFolder, choose_subtitles, probe
from feature_repo.errors import InputError, MediaError
from feature_repo.ingest import ingest
from feature_repo.settings import Settings
from tests.feature_repo.datasets.clips import clip_bytes
from tests.feature_repo.datasets.conftest import write

INFO = {
    "id": "BaW_jenozKc",
    "title": "A cat at work",
    "description": "It\nsleeps.",
    "tags": ["cat", "work", "cat", 7],
    "categories": ["Pets", "work"],
    "view_count": 1234,
    "like_count": 56,
    "comment_count": 7,
    "repost_count": 3,
    "timestamp": 1700000000,
    "upload_date": "20200101",
    "channel": "Cats",
    "channel_id": "UC123",
    "uploader": "Someone",
    "uploader_id": "@someone",
    "duration": 12.5,
    "language": "en-GB",
    "webpage_url": "https://example.org/watch?v=BaW_jenozKc",
}


def folder_of(place: Path, info: object = None, **files: str | bytes) -> Path:
    """One clip `a.mp4`, its info.json, and other files with `__` for the dot in the name."""
    given: dict[str, str | bytes] = {"a.mp4": clip_bytes()}
    if info is not None:
        given["a.info.json"] = json.dumps(info)
    return write(place, given | {name.replace("__", "."): data for name, data in files.items()})


def only(folder: Path) -> tuple[Content, VideoFolder]:
    dataset = VideoFolder(folder)
    (content,) = dataset.contents()
    return content, dataset


def read(folder: Path) -> dict[str, Content]:
    return {content.content_id: content for content in VideoFolder(folder).contents()}


class TestWithInfo:
    def test_what_the_site_says(self, tmp_path: Path) -> None:
        content, dataset = only(folder_of(tmp_path, INFO, a__en__vtt="WEBVTT\n", a__webp=b"RIFF"))
        assert (content.content_id, content.title, content.description) == (INFO["id"], INFO["title"], "It\nsleeps.")
        assert content.published_at == datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)
        assert content.creator_id == "UC123"
        assert content.tags == ("cat", "work", "Pets")
        assert content.attributes == {"duration_s": 12.5, "language": "en"}
        assert content.counters == {"views": 1234.0, "likes": 56.0, "comments": 7.0, "shares": 3.0}
        assert content.media == {
            Modality.VIDEO: tmp_path / "a.mp4",
            Modality.AUDIO: tmp_path / "a.mp4",
            Modality.IMAGE: tmp_path / "a.webp",
            Modality.CAPTIONS: tmp_path / "a.en.vtt",
        }
        assert (dataset.rejects.total, dataset.missing_media) == (0, Counter())

    def test_a_day_where_there_is_no_moment(self, tmp_path: Path) -> None:
        said = {key: value for key, value in INFO.items() if key != "timestamp"}
        assert only(folder_of(tmp_path, said))[0].published_at == datetime(2020, 1, 1, tzinfo=UTC)

    @pytest.mark.parametrize("gone", ["channel_id", "uploader_id", "channel"])
    def test_the_channel_then_whoever_uploaded(self, tmp_path: Path, gone: str) -> None:
        order = ["channel_id", "uploader_id", "channel", "uploader"]
        left = order[order.index(gone) + 1]
        said = {key: value for key, value in INFO.items() if key not in order[: order.index(left)]}
        assert only(folder_of(tmp_path, said))[0].creator_id == INFO[left]

    def test_little_is_enough(self, tmp_path: Path) -> None:
        content, dataset = only(folder_of(tmp_path, {"id": 17}))
        assert (content.content_id, content.title, content.counters, content.tags) == ("17", "a", {}, ())
        assert content.attributes["duration_s"] == pytest.approx(1, abs=0.2)  # the container says it
        assert dataset.rejects.total == 0
        assert dataset.missing_media == Counter({Modality.IMAGE: 1})

    @pytest.mark.parametrize(
        ("key", "value", "kind"),
        [
            ("view_count", "many", "view_count is not a finite number"),
            ("view_count", -1, "view_count is negative"),
            ("view_count", True, "view_count is not a finite number"),
            ("timestamp", 1e18, "timestamp is not a time from 1970 to 2100"),
            ("duration", float("nan"), "duration is not a finite number"),
            ("tags", "cat", "tags is no list"),
        ],
    )
    def test_a_value_of_no_use_costs_that_value_alone(self, tmp_path: Path, key: str, value: Any, kind: str) -> None:
        content, dataset = only(folder_of(tmp_path, INFO | {key: value}))
        assert [(r.file, r.line, r.kind) for r in dataset.rejects.kept] == [("a.info.json", 1, kind)]
        assert (content.content_id, content.counters["likes"]) == (INFO["id"], 56)

    def test_a_date_that_is_none(self, tmp_path: Path) -> None:
        _, dataset = only(folder_of(tmp_path, {"id": "x", "upload_date": "20231399"}))
        assert [r.kind for r in dataset.rejects.kept] == ["upload_date is not a date YYYYMMDD from 1970 to 2100"]

    @pytest.mark.parametrize(
        ("data", "line", "reason"),
        [
            (b'{"id": "x",\n "title": ', 2, "broken JSON: Expecting value, column 11"),
            (b"", 1, "broken JSON: Expecting value, column 1"),
            (b'{"id": "\xe9"}', 1, "broken JSON: not utf-8: invalid continuation byte"),
            (b"[" * 100_000, 1, "broken JSON: nested too deep"),
            (b'["id"]', 1, "no JSON object: expected {…}, as yt-dlp writes it"),
            (b" " * (MAX_BYTES + 1), 1, f"too large: over {MAX_BYTES:,} bytes"),
        ],
        ids=["cut off", "empty", "encoding", "deep", "list", "large"],
    )
    def test_a_broken_info_is_told_and_the_clip_comes_in_as_without(
        self, tmp_path: Path, data: bytes, line: int, reason: str
    ) -> None:
        content, dataset = only(folder_of(tmp_path, a__info__json=data))
        assert [(r.file, r.line, r.reason) for r in dataset.rejects.kept] == [("a.info.json", line, reason)]
        assert (content.content_id, content.title) == ("a.mp4", "a")
        list(dataset.contents())
        assert dataset.rejects.total == 1

    def test_an_info_that_cannot_be_opened(self, tmp_path: Path) -> None:
        folder = folder_of(tmp_path)
        (folder / "a.info.json").mkdir()  # a folder is no file beside the clip
        (folder / "b.mp4").write_bytes(clip_bytes())
        (folder / "b.info.json").symlink_to(folder / "nowhere")
        dataset = VideoFolder(folder)
        assert [content.content_id for content in dataset.contents()] == ["a.mp4", "b.mp4"]
        told = [(r.file, r.reason) for r in dataset.rejects.kept]
        assert told == [("b.info.json", "file unreadable: No such file or directory")]

    def test_texts_that_databases_refuse_are_mended(self, tmp_path: Path, settings: Settings, catalog: Catalog) -> None:
        folder = folder_of(tmp_path / "clips", INFO | {"title": "a\0b \ud83d", "tags": ["\udc00x"]})
        ingest(settings, catalog, VideoFolder(folder))
        (item,) = catalog.items()
        assert (item.content.title, item.content.tags[0]) == ("ab ?", "?x")

    def test_the_first_of_two_with_one_id_counts(self, tmp_path: Path) -> None:
        folder = folder_of(tmp_path, INFO, b__mp4=clip_bytes(), b__info__json=json.dumps(INFO | {"title": "Other"}))
        content, dataset = only(folder)
        assert content.title == INFO["title"]
        assert [(r.file, r.reason) for r in dataset.rejects.kept] == [("b.mp4", "duplicate id: 'BaW_jenozKc'")]


class TestWithoutInfo:
    def test_names_and_times_of_the_files(self, tmp_path: Path) -> None:
        folder = write(tmp_path, {"top.mp4": clip_bytes(), "cats/funny/My cat.mp4": clip_bytes(sound=False)})
        os.utime(folder / "top.mp4", ns=(0, 1_600_000_000_123_456_789))
        top, cat = read(folder).values()
        assert (top.content_id, top.title, top.tags) == ("top.mp4", "top", ())
        assert top.published_at == datetime(2020, 9, 13, 12, 26, 40, 123456, tzinfo=UTC)
        assert "folder" not in top.attributes
        assert (cat.content_id, cat.title, cat.tags) == ("cats/funny/My cat.mp4", "My cat", ("funny",))
        assert cat.attributes["folder"] == "cats/funny"
        assert cat.creator_id is None

    def test_no_picture_is_expected(self, tmp_path: Path) -> None:
        assert not only(folder_of(tmp_path))[1].missing_media

    def test_a_picture_and_captions_are_found_all_the_same(self, tmp_path: Path) -> None:
        content, _ = only(folder_of(tmp_path, a__JPG=b"\xff\xd8", a__srt="1\n"))
        assert content.media[Modality.IMAGE].name == "a.JPG"
        assert content.media[Modality.CAPTIONS].name == "a.srt"

    def test_ids_do_not_depend_on_where_the_folder_lies(self, tmp_path: Path) -> None:
        files = {"x/a.mp4": clip_bytes(), "x/a.webm": clip_bytes(".webm")}
        here, there = (read(write(tmp_path / name, dict(files))) for name in ("one", "two"))
        assert list(here) == list(there) == ["x/a.mp4", "x/a.webm"]


class TestClips:
    @pytest.mark.parametrize("suffix", [*CLIPS, ".MP4"])
    def test_every_container(self, tmp_path: Path, suffix: str) -> None:
        content, dataset = only(write(tmp_path, {f"a{suffix}": clip_bytes(suffix.lower())}))
        assert {Modality.VIDEO, Modality.AUDIO} == content.media.keys()
        assert content.attributes["duration_s"] == pytest.approx(1, abs=0.3)
        assert dataset.rejects.total == 0

    def test_a_clip_without_sound_has_none(self, tmp_path: Path) -> None:
        content, _ = only(write(tmp_path, {"a.mp4": clip_bytes(sound=False)}))
        assert content.media.keys() == {Modality.VIDEO}

    def test_sound_without_a_picture_is_no_video(self, tmp_path: Path) -> None:
        content, _ = only(write(tmp_path, {"a.mp4": clip_bytes(picture=False)}))
        assert content.media.keys() == {Modality.AUDIO}

    @pytest.mark.parametrize("data", [b"", b"no clip", clip_bytes()[:200]], ids=["empty", "text", "cut off"])
    def test_a_broken_clip_is_told_and_comes_in(self, tmp_path: Path, data: bytes) -> None:
        content, dataset = only(folder_of(tmp_path, INFO, a__mp4=data))
        assert (content.content_id, content.media) == (INFO["id"], {Modality.VIDEO: tmp_path / "a.mp4"})
        assert [(r.file, r.kind) for r in dataset.rejects.kept] == [("a.mp4", "broken clip")]

    def test_a_list_of_other_files_is_no_clip(self, tmp_path: Path) -> None:
        other = tmp_path / "other.ts"
        other.write_bytes(clip_bytes())
        (tmp_path / "a.mp4").write_text(f"ffconcat version 1.0\nfile '{other.name}'\n")
        with pytest.raises(MediaError, match="broken clip: "):
            probe(tmp_path / "a.mp4")

    def test_what_is_under_way_hidden_or_a_folder_is_left_alone(self, tmp_path: Path) -> None:
        left = ("b.mp4.part", "b.mp4.ytdl", "b.mp4.part-Frag3", "c.temp.mp4", "a.f137.mp4", ".d.mp4", "._a.mp4")
        folder = folder_of(tmp_path, INFO)
        write(folder, dict.fromkeys([*left, ".yt-dlp/e.mp4", "archive.txt", "a.m4a"], b""))
        (folder / "pipe.mp4").mkdir()
        content, dataset = only(folder)
        assert content.content_id == INFO["id"]
        assert dataset.rejects.total == 0

    def test_a_pipe_and_a_dangling_link_are_told(self, tmp_path: Path) -> None:
        folder = folder_of(tmp_path, INFO)
        os.mkfifo(folder / "fifo.mp4")
        (folder / "link.mp4").symlink_to(folder / "nowhere")
        content, dataset = only(folder)
        assert content.content_id == INFO["id"]
        assert [(r.file, r.kind) for r in dataset.rejects.kept] == [
            ("fifo.mp4", "not a file"), ("link.mp4", "file unreadable"),
        ]  # fmt: skip

    def test_a_name_like_a_format_counts_where_it_is_nobody_elses(self, tmp_path: Path) -> None:
        assert list(read(write(tmp_path, {"lap.f1.mp4": clip_bytes()}))) == ["lap.f1.mp4"]

    def test_a_name_that_is_not_utf_8_is_told(self, tmp_path: Path) -> None:
        folder = folder_of(tmp_path)
        Path(os.fsdecode(os.fsencode(folder) + b"/b\xe9.mp4")).write_bytes(clip_bytes())
        _, dataset = only(folder)
        assert [(r.file, r.reason) for r in dataset.rejects.kept] == [("b?.mp4", "file name is not UTF-8")]

    def test_a_folder_that_cannot_be_read_is_told(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        folder = folder_of(tmp_path)
        (folder / "closed").mkdir()
        scandir = os.scandir

        def refuse(path: Any) -> Any:
            if Path(path).name == "closed":
                raise PermissionError(13, "Permission denied", str(path))
            return scandir(path)

        monkeypatch.setattr(os, "scandir", refuse)
        _, dataset = only(folder)
        assert [(r.file, r.reason) for r in dataset.rejects.kept] == [
            ("closed", "folder unreadable: Permission denied")
        ]

    def test_a_clip_that_is_gone_when_its_turn_comes(self, tmp_path: Path) -> None:
        folder = folder_of(tmp_path, z__mp4=clip_bytes())
        dataset = VideoFolder(folder)
        contents = dataset.contents()
        next(contents)
        folder.joinpath("z.mp4").unlink()
        assert list(contents) == []

    def test_a_folder_without_clips_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "notes.txt").write_text("")
        with pytest.raises(InputError, match=r"no clip \(\.mp4, .*\) in it or below it"):
            VideoFolder(tmp_path)


class TestSubtitles:
    @pytest.mark.parametrize(
        ("language", "manual", "files", "chosen"),
        [
            ("de", ["fr"], "de.vtt en.vtt fr.vtt", "fr.vtt"),  # people before machines
            ("de", ["de", "en", "fr"], "de.vtt en.vtt fr.vtt", "de.vtt"),  # its own language
            ("de", [], "de-orig.vtt en.vtt fr.vtt", "de-orig.vtt"),
            ("ja", ["en-US", "fr"], "en-US.vtt fr.vtt", "en-US.vtt"),  # then English
            (None, None, "fr.vtt en.vtt", "en.vtt"),
            ("ja", [], "fr.vtt es.vtt", "es.vtt"),  # then the alphabet
            ("en", ["en"], "en.srt en.vtt", "en.vtt"),
            ("en", [], "xx.srt", "xx.srt"),
        ],
    )
    def test_the_rule(
        self, tmp_path: Path, language: str | None, manual: list[str] | None, files: str, chosen: str
    ) -> None:
        said: dict[str, object] = {"id": "x", "language": language}
        if manual is not None:
            said["subtitles"] = {name: [] for name in manual}
        folder = write(folder_of(tmp_path, said), {f"a.{name}": "WEBVTT\n" for name in files.split()})
        content, _ = only(folder)
        assert content.media[Modality.CAPTIONS].name == f"a.{chosen}"

    def test_those_of_a_longer_name_belong_to_it(self, tmp_path: Path) -> None:
        files: dict[str, str | bytes] = {"a.b.mp4": clip_bytes(), "a.b.vtt": "WEBVTT\n", "a.b.en.vtt": "WEBVTT\n"}
        found = read(write(folder_of(tmp_path), files))
        assert Modality.CAPTIONS not in found["a.mp4"].media
        assert found["a.b.mp4"].media[Modality.CAPTIONS].name == "a.b.en.vtt"

    @given(st.lists(st.sampled_from(["en", "de", "fr", "en-US", ""]), unique=True), st.randoms())
    def test_the_choice_does_not_depend_on_the_order(self, languages: list[str], random: Any) -> None:
        found = [(language, Path(f"a.{language}.vtt")) for language in languages]
        info = Info({"language": "de", "subtitles": {"fr": []}}, lambda line, reason: None)
        shuffled = list(found)
        random.shuffle(shuffled)
        assert choose_subtitles(found, info) == choose_subtitles(shuffled, info)
        assert (choose_subtitles(found, info) is None) == (not found)


def test_ingested_twice_adds_nothing(video_folder: Path, settings: Settings, catalog: Catalog) -> None:
    first = ingest(settings, catalog, open_dataset("video_folder", video_folder))
    assert (first.contents.added, first.users, first.events, first.rejected) == (3, 0, 0, 3)
    assert first.missing_media == {"image": 1}
    again = ingest(settings, catalog, open_dataset("video_folder", video_folder))
    assert (again.contents.added, again.contents.changed, again.contents.same) == (0, 0, 3)
    media = {item.content.content_id: item.media for item in catalog.items()}
    assert media["1"][Modality.CAPTIONS].digest
    assert media["1"][Modality.VIDEO].digest == media["1"][Modality.AUDIO].digest


@pytest.mark.real
def test_real_clips(real_data: Path, settings: Settings, catalog: Catalog) -> None:
    folder = real_data / "clips40"
    if not folder.is_dir():
        pytest.skip(f"no clips at {folder}; set LARDER_REAL_DATA")
    report = ingest(settings, catalog, open_dataset("video_folder", folder))
    assert (report.contents.added, report.rejected) == (40, 0)
    contents = [item.content for item in catalog.items()]
    assert Counter(content.tags for content in contents) == {("fight",): 20, ("noFight",): 20}
    assert all(content.media[Modality.VIDEO].is_file() for content in contents)
    assert sum(Modality.AUDIO in content.media for content in contents) == 27
    assert all(1 < float(content.attributes["duration_s"]) < 10 for content in contents)
