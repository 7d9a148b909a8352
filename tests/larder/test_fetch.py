"""Clips from a web server of the test's own: what comes, what is left, how a broken run goes on, what errors say."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from feature_repo.contracts import Modality
from feature_repo.datasets import open_dataset
from feature_repo.datasets.synthetic.clips import save_mp4
from feature_repo.errors import ConfigurationError, InputError, NotFoundError, UnavailableError
from larder.fetch import ARCHIVE, FetchOptions, FetchReport, fetch, parameters
from tests.larder.shell import Shell
from tests.larder.web import Web, serving

yt_dlp = pytest.importorskip("yt_dlp", reason="needs the fetch extra: pip install -e '.[fetch]'")

NOBODY = "127.0.0.1:1"  # nothing listens there
VTT = b"WEBVTT\n\n00:00.000 --> 00:01.000\nhello there\n"
PAGE = b"""<html><head><title>A cat at work</title></head><body><video poster="p.jpg">
<source src="film.mp4" type="video/mp4"><track kind="subtitles" srclang="en" src="en.vtt"></video></body></html>"""


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    rng = np.random.default_rng(0)
    picture = Image.fromarray(rng.integers(0, 255, (96, 96, 3), np.uint8))
    save_mp4(path, picture, rng.uniform(-0.5, 0.5, 48_000).astype(np.float32), rng)
    return path.read_bytes()


@pytest.fixture
def web(clip: bytes) -> Iterator[Web]:
    """A plain file, and a page with a clip, its picture and its subtitles."""
    with serving() as web:
        web.files |= {"/a.mp4": clip, "/film.mp4": clip, "/en.vtt": VTT, "/p.jpg": b"\xff\xd8\xff", "/page.html": PAGE}
        yield web


@pytest.fixture
def options(tmp_path: Path) -> FetchOptions:
    return FetchOptions(tmp_path / "clips", sleep_s=0, retries=0)


def run(options: FetchOptions, *urls: str, source: str = "youtube") -> FetchReport:
    return fetch(source, urls, options, lambda name, done, total: None)


def names(options: FetchOptions, pattern: str = "*") -> list[str]:
    return sorted(path.name for path in options.folder.glob(pattern) if not path.name.startswith("."))


def test_a_clip_comes_with_all_that_lies_beside_it(web: Web, options: FetchOptions, clip: bytes) -> None:
    report = run(options, web.url("/page.html"))
    assert (report.fetched, report.present, report.failed, report.unreachable) == (1, 0, {}, {})
    (stem,) = [name.removesuffix(".mp4") for name in names(options, "*.mp4")]
    assert names(options) == sorted([ARCHIVE, *(f"{stem}.{end}" for end in ("en.vtt", "info.json", "jpg", "mp4"))])
    assert (options.folder / f"{stem}.mp4").read_bytes() == clip


def test_the_adapter_reads_what_was_fetched(web: Web, options: FetchOptions) -> None:
    run(options, web.url("/page.html"), web.url("/a.mp4"))
    dataset = open_dataset("video_folder", options.folder)
    plain, film = dataset.contents()
    assert film.title.startswith("A cat at work")
    assert film.media.keys() == {Modality.VIDEO, Modality.AUDIO, Modality.IMAGE, Modality.CAPTIONS}
    assert (film.published_at.year, plain.published_at.year) == (2023, 2023)  # as the server says
    assert plain.title == "a"
    assert plain.media.keys() == {Modality.VIDEO, Modality.AUDIO}
    assert dataset.rejects.total == 0


def test_a_second_run_fetches_nothing_again(web: Web, options: FetchOptions) -> None:
    urls = (web.url("/page.html"), web.url("/a.mp4"))
    assert run(options, *urls).fetched == 2
    asked = web.count("/film.mp4")
    before = {name: (options.folder / name).stat().st_mtime_ns for name in names(options)}
    again = run(options, *urls)
    assert (again.fetched, again.present) == (0, 2)
    assert web.count("/film.mp4") == asked
    assert {name: (options.folder / name).stat().st_mtime_ns for name in names(options)} == before


def test_a_download_that_broke_off_is_completed_and_not_begun_again(
    web: Web, options: FetchOptions, clip: bytes
) -> None:
    urls = (web.url("/page.html"), web.url("/a.mp4"))
    half = web.broken["/a.mp4"] = len(clip) // 2
    first = run(options, *urls)
    assert (first.fetched, first.failed) == (1, {"the download broke off": 1})
    with pytest.raises(UnavailableError, match=r"could not reach 127\.0\.0\.1:\d+ \(the download broke off\); .*again"):
        first.require_success()
    (part,) = options.folder.glob("*.part")
    assert 0 < part.stat().st_size <= half
    ranges = f"bytes={part.stat().st_size}-"
    web.broken.clear()
    web.asked.clear()
    second = run(options, *urls)
    assert (second.fetched, second.present, second.failed) == (1, 1, {})
    assert ("/a.mp4", ranges) in web.asked
    assert web.count("/film.mp4") == 0
    assert [path.read_bytes() == clip for path in sorted(options.folder.glob("*.mp4"))] == [True, True]
    assert not list(options.folder.glob("*.part"))


def test_a_connection_that_breaks_once_is_taken_up_within_the_run(
    web: Web, options: FetchOptions, clip: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("larder.fetch._pause", lambda n: web.broken.clear())
    web.broken["/a.mp4"] = len(clip) // 2
    patient = FetchOptions(options.folder, sleep_s=0, retries=2)
    assert run(patient, web.url("/a.mp4")).fetched == 1
    assert [path.read_bytes() == clip for path in options.folder.glob("*.mp4")] == [True]


def test_without_an_archive_the_files_themselves_are_not_fetched_again(web: Web, options: FetchOptions) -> None:
    free = FetchOptions(options.folder, sleep_s=0, retries=0, archive=False)
    run(free, web.url("/page.html"))
    run(free, web.url("/page.html"))
    assert web.count("/film.mp4") == 1
    assert not (options.folder / ARCHIVE).exists()


def test_files_of_one_name_at_two_addresses_are_two_clips(web: Web, options: FetchOptions, clip: bytes) -> None:
    web.files |= {"/other/a.mp4": clip, "/other/page.html": PAGE, "/other/film.mp4": clip}
    report = run(
        options, *(web.url(f"{folder}/{name}") for folder in ("", "/other") for name in ("a.mp4", "page.html"))
    )
    assert report.fetched == 4
    assert len(names(options, "*.mp4")) == 4


def test_what_cannot_be_had_is_counted_and_skipped(web: Web, options: FetchOptions) -> None:
    web.status["/secret.mp4"] = 403
    report = run(options, web.url("/gone.mp4"), web.url("/secret.mp4"), "nonsense", web.url("/a.mp4"))
    assert report.fetched == 1
    assert report.failed == {"HTTP 404 Not Found": 1, "HTTP 403 Forbidden": 1, "'nonsense' is not a valid URL": 1}
    report.require_success()


def test_nothing_at_all_is_an_error(web: Web, options: FetchOptions) -> None:
    report = run(options, web.url("/gone.mp4"))
    with pytest.raises(NotFoundError, match=r"no clip was fetched: HTTP 404 Not Found"):
        report.require_success()


def test_a_clip_whose_subtitles_are_refused_comes_without_them(web: Web, options: FetchOptions) -> None:
    web.status["/en.vtt"] = 429
    report = run(options, web.url("/page.html"))
    assert (report.fetched, report.without_subtitles, report.failed) == (1, 1, {})
    assert names(options, "*.vtt") == []
    del web.status["/en.vtt"]
    web.files["/other.html"] = PAGE
    assert run(options, web.url("/other.html")).without_subtitles == 0  # they are asked for again
    assert len(names(options, "*.vtt")) == 1


def test_subtitles_that_are_not_wanted_are_not_asked_for(web: Web, options: FetchOptions) -> None:
    run(FetchOptions(options.folder, sleep_s=0, subtitles=()), web.url("/page.html"))
    assert web.count("/en.vtt") == 0


class TestPlaylists:
    """Playlists of an extractor of the test's own, which reads what a site would say from a table."""

    @pytest.fixture
    def site(self, monkeypatch: pytest.MonkeyPatch, web: Web) -> dict[str, dict[str, object]]:
        """What each `site:NAME` leads to."""
        pages: dict[str, dict[str, object]] = {}
        real = yt_dlp.YoutubeDL.extract_info

        def extract_info(self: object, url: str, **options: object) -> object:
            if not url.startswith("site:"):
                return real(self, url, **options)
            page = pages[url.removeprefix("site:")]
            if "error" in page:
                raise yt_dlp.utils.ExtractorError(str(page["error"]), expected=True)
            return dict(page)

        monkeypatch.setattr(yt_dlp.YoutubeDL, "extract_info", extract_info)
        for name in ("one", "two", "three"):
            pages[name] = {"id": name, "title": name, "url": web.url("/a.mp4"), "ext": "mp4", "webpage_url": name}
            pages[name] |= {"extractor": "site", "extractor_key": "Site"}
        pages["private"] = {"error": "Private video. Sign in if you've been granted access to this video"}
        pages["live"] = pages["one"] | {"id": "live", "live_status": "is_live"}
        pages["away"] = {"_type": "url", "url": f"http://{NOBODY}/x.mp4"}
        return pages

    @staticmethod
    def playlist(*entries: str) -> dict[str, object]:
        return {"_type": "playlist", "entries": ({"_type": "url", "url": f"site:{name}"} for name in entries)}

    def test_one_that_fails_costs_itself_alone(self, site: dict[str, dict[str, object]], options: FetchOptions) -> None:
        site["list"] = self.playlist("one", "private", "live", "two")
        report = run(options, "site:list")
        assert report.fetched == 2
        assert report.failed == {"Private video": 1, "live, or not begun yet": 1}
        assert names(options, "*.mp4") == ["one.mp4", "two.mp4"]

    def test_the_limit_holds_through_lists_of_lists(
        self, site: dict[str, dict[str, object]], options: FetchOptions
    ) -> None:
        site["list"] = self.playlist("private", "inner", "three")
        site["inner"] = self.playlist("one", "two")
        limited = FetchOptions(options.folder, limit=2, sleep_s=0)
        assert run(limited, "site:list").fetched == 2
        assert names(options, "*.mp4") == ["one.mp4", "two.mp4"]

    def test_without_a_network_a_list_is_given_up_at_once(
        self, site: dict[str, dict[str, object]], options: FetchOptions
    ) -> None:
        site["list"] = self.playlist("one", "away", "two")
        report = run(options, "site:list", "site:three")
        assert report.unreachable == {NOBODY: "Connection refused"}
        assert names(options, "*.mp4") == ["one.mp4", "three.mp4"]

    def test_an_extractor_that_crashes_costs_one_clip(
        self, site: dict[str, dict[str, object]], options: FetchOptions
    ) -> None:
        site["list"] = self.playlist("unheard of", "one")
        report = run(options, "site:list")
        assert (report.fetched, sum(report.failed.values())) == (1, 1)

    def test_a_full_disk_ends_the_run(
        self, site: dict[str, dict[str, object]], options: FetchOptions, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(self: object, *arguments: object, **named: object) -> None:
            raise OSError(28, "No space left on device")

        site["list"] = self.playlist("one", "two")
        monkeypatch.setattr(yt_dlp.YoutubeDL, "process_ie_result", full)
        with pytest.raises(UnavailableError, match=f"{options.folder}: No space left on device; run .* again"):
            run(options, "site:list")


class TestOptions:
    def test_they_reach_yt_dlp(self, tmp_path: Path) -> None:
        given = parameters(FetchOptions(tmp_path, None, 720, "1.5M", 2.5, ("de", "en")), yt_dlp)
        assert given["ratelimit"] == 1.5 * 2**20
        assert given["format_sort"] == ["res:720"]
        assert given["subtitleslangs"] == ["de", "en"]
        assert {given[name] for name in given if name.startswith("sleep_interval")} == {2.5}
        assert given["download_archive"] == str(tmp_path / ARCHIVE)

    def test_yt_dlp_knows_every_one(self, tmp_path: Path) -> None:
        downloader = yt_dlp.downloader
        kinds = (yt_dlp.YoutubeDL, downloader.common.FileDownloader, downloader.fragment.FragmentFD)
        known = "".join(str(kind.__doc__) for kind in kinds)
        assert [name for name in parameters(FetchOptions(tmp_path), yt_dlp) if name not in known] == []

    @pytest.mark.parametrize("rate", ["fast", "1X", "-1", "0"])
    def test_a_rate_that_is_none(self, tmp_path: Path, rate: str) -> None:
        with pytest.raises(
            ConfigurationError, match=rf"rate '{rate}' is no number of bytes a second; e\.g\. 500K or 1M"
        ):
            run(FetchOptions(tmp_path / "clips", rate=rate), "http://x/")
        assert not (tmp_path / "clips").exists()

    def test_an_unknown_source_lists_the_valid_ones(self, options: FetchOptions) -> None:
        with pytest.raises(ConfigurationError, match="unknown source 'nosuch'; valid: youtube"):
            run(options, "http://x/", source="nosuch")

    def test_a_folder_that_cannot_be_made(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(InputError, match="file/clips: Not a directory; name another folder with --out"):
            run(FetchOptions(tmp_path / "file" / "clips"), "http://x/")

    def test_without_yt_dlp_the_error_gives_the_command(
        self, options: FetchOptions, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "yt_dlp", None)
        with pytest.raises(ConfigurationError, match=r"needs yt-dlp: pip install -e '\.\[fetch\]'"):
            run(options, "http://x/")


class TestCommand:
    def test_from_the_web_to_the_catalog(self, web: Web, tmp_path: Path) -> None:
        shell, folder = Shell(tmp_path / "home"), tmp_path / "clips"
        command = ("fetch", "youtube", web.url("/page.html"), "--out", folder, "--sleep", "0", "--rate", "10M")
        said = shell.ok(*command, "--json").json
        assert (said["fetched"], said["present"], said["failed"]) == (1, 0, {})
        assert not shell.home.exists()
        people = shell.ok(*command)
        assert "already there  1" in people.out
        assert shell.ok("ingest", "video_folder", folder, "--json").json["contents"]["added"] == 1

    def test_no_network_is_said_with_the_host(self, tmp_path: Path) -> None:
        outcome = Shell(tmp_path / "home")(
            "fetch", "youtube", f"http://{NOBODY}/a.mp4", "--out", tmp_path / "clips", "--sleep", "0"
        )
        assert outcome.code == 8
        assert f"larder: could not reach {NOBODY} (Connection refused); check the network" in outcome.err
        assert "Traceback" not in outcome.err

    def test_failures_are_told_by_reason(self, web: Web, tmp_path: Path) -> None:
        command = ("fetch", "youtube", web.url("/gone.mp4"), "--out", tmp_path / "clips", "--sleep", "0")
        outcome = Shell(tmp_path / "home")(*command)
        assert outcome.code == 4
        assert "1 x HTTP 404 Not Found" in outcome.err
        said = Shell(tmp_path / "home")(*command, "--json")
        assert said.json["failed"] == {"HTTP 404 Not Found": 1}
