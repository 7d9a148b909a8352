"""Clips from the web into a folder that `larder ingest video_folder` reads, through yt-dlp (the `fetch` extra).

yt-dlp turns an address into clips and downloads one; this module walks channels and playlists clip by clip, so that one
that cannot be had costs nothing but itself, and says at the end what came, what was there and what failed.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from feature_repo.contracts import digest
from feature_repo.errors import (
    ConfigurationError,
    InputError,
    LarderError,
    NotFoundError,
    UnavailableError,
    unknown_name,
)
from larder.display import Transfer
from larder.fetch_failures import Failure

SOURCES: Mapping[str, str] = {"youtube": "any address that yt-dlp takes: videos, playlists, channels, plain files"}
ARCHIVE = "archive.txt"
"""Which clips the folder has, in yt-dlp's own form: one line a clip."""

_NAMED_BY_FILE = ("Generic", "HTML5MediaEmbed")  # extractors whose id is the file's name, which many addresses share
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class FetchOptions:
    """What is fetched and how gently. `limit` is for each address; `rate` is bytes a second as in 500K or 1M."""

    folder: Path
    limit: int | None = None
    max_height: int = 480
    rate: str = ""
    sleep_s: float = 1.0
    subtitles: tuple[str, ...] = ("en",)
    archive: bool = True
    retries: int = 5


@dataclass(slots=True)
class FetchReport:
    """Clips by what became of them; `failed` by reason, `unreachable` hosts with the reason."""

    folder: str
    fetched: int = 0
    present: int = 0
    without_subtitles: int = 0
    failed: dict[str, int] = field(default_factory=dict)
    unreachable: dict[str, str] = field(default_factory=dict)

    def require_success(self) -> None:
        """Raise UnavailableError where a host could not be reached, NotFoundError where there is no clip at all."""
        if self.unreachable:
            hosts = ", ".join(f"{host} ({reason})" for host, reason in self.unreachable.items())
            raise UnavailableError(f"could not reach {hosts}; check the network, then run the command again to go on")
        if self.failed and not self.fetched + self.present:
            raise NotFoundError(f"no clip was fetched: {', '.join(self.failed)}; check the address in a browser")


def fetch(source: str, urls: Sequence[str], options: FetchOptions, on_progress: Transfer) -> FetchReport:
    """Fetch the clips at `urls` into the folder; those in its archive are left, those half there are completed.

    What a clip fails for is counted. Raises ConfigurationError for an unknown source, a rate that is none, or without
    yt-dlp, InputError for a folder that cannot be made, UnavailableError when the disk is full.
    """
    if source not in SOURCES:
        raise unknown_name("source", source, SOURCES)
    library = _library()
    given = parameters(options, library)
    try:
        options.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{options.folder}: {error.strerror}; name another folder with --out") from error
    report = FetchReport(str(options.folder))
    with library.YoutubeDL(given) as downloader:
        walk = _Walk(library, downloader, options, report)
        downloader.add_progress_hook(lambda said: _tell(said, on_progress))
        downloader.add_post_hook(walk.count)
        for url in urls:
            walk.run(url)
    return report


def parameters(options: FetchOptions, library: Any) -> dict[str, Any]:
    """The options as yt-dlp's own (the docstring of YoutubeDL lists them). Raises ConfigurationError."""
    rate = library.utils.parse_bytes(options.rate) if options.rate else None
    if options.rate and not rate:
        raise ConfigurationError(f"rate {options.rate!r} is no number of bytes a second; e.g. 500K or 1M")
    return {
        "outtmpl": {"default": "%(id)s.%(ext)s"},
        "paths": {"home": str(options.folder)},
        "format_sort": [f"res:{options.max_height}"],
        "ratelimit": rate,
        "sleep_interval": options.sleep_s,
        "sleep_interval_requests": options.sleep_s,
        "sleep_interval_subtitles": options.sleep_s,
        "writesubtitles": bool(options.subtitles),
        "writeautomaticsub": bool(options.subtitles),
        "subtitleslangs": list(options.subtitles),
        "subtitlesformat": "vtt/srt",
        "writeinfojson": True,
        "writethumbnail": True,
        "download_archive": str(options.folder / ARCHIVE) if options.archive else None,
        "cachedir": str(options.folder / ".yt-dlp"),
        "continuedl": True,
        "retries": options.retries,
        "extractor_retries": min(options.retries, 2),  # a page that is not there is told soon
        "fragment_retries": options.retries,
        "skip_unavailable_fragments": False,  # a clip with holes is no clip
        "retry_sleep_functions": dict.fromkeys(("http", "fragment", "extractor"), _pause),
        "socket_timeout": 30,
        "color": "never",
        "noprogress": True,
        "quiet": True,
        "logger": _Quiet(),
    }


class _Walk:
    """Goes from addresses to clips and counts what becomes of each."""

    def __init__(self, library: Any, downloader: Any, options: FetchOptions, report: FetchReport) -> None:
        self._library = library
        self._downloader = downloader
        self._options = options
        self._report = report
        self._left: float = 0

    def run(self, url: str) -> None:
        """Fetch the clips at one address, as many as the limit allows; it ends where its host cannot be reached."""
        self._left = float("inf") if self._options.limit is None else self._options.limit
        try:
            self._each([{"_type": "url", "url": url}])
        except _UnreachableError as error:
            self._report.unreachable[error.host] = error.reason

    def count(self, path: str) -> None:
        """One clip is whole. yt-dlp calls this with its path."""
        _log.info("fetched %s", path)
        self._report.fetched += 1

    def _each(self, found: Iterable[Mapping[str, Any]]) -> None:
        """Fetch what each entry of a playlist leads to; a lazy playlist is read only as far as the limit."""
        for entry in found:
            if self._left <= 0:
                return
            try:
                self._enter(dict(entry))
            except (_UnreachableError, LarderError):
                raise
            except Exception as error:  # extractors raise nearly anything when a site has changed
                self._fail(entry, error)

    def _enter(self, found: dict[str, Any]) -> None:
        kind = found.get("_type", "video")
        if kind == "url":
            key = found.get("ie_key")
            resolved = self._downloader.extract_info(found["url"], download=False, ie_key=key, process=False)
            if resolved is None:
                self._present()
            else:
                self._each([resolved])
        elif kind in ("playlist", "multi_video"):
            self._each(entry for entry in found.get("entries") or () if entry)
        else:
            self._clip(found)

    def _clip(self, found: dict[str, Any]) -> None:
        if found.get("live_status") in ("is_live", "is_upcoming") or found.get("is_live"):
            self._count_failure("live, or not begun yet")
            return
        if "id" in found and found.get("extractor_key") in _NAMED_BY_FILE:
            found["id"] += "-" + digest(found["webpage_url"], size=4)
            found.pop("_old_archive_ids", None)
        before = self._report.fetched
        try:
            self._downloader.process_ie_result(found.copy(), download=True)
        except self._library.utils.DownloadError as error:
            if "download video subtitles" not in str(error):
                raise
            self._report.without_subtitles += 1
            self._without_subtitles(found)
        if self._report.fetched == before:
            self._present()
        else:
            self._left -= 1

    def _without_subtitles(self, found: dict[str, Any]) -> None:
        """Fetch a clip alone: sites refuse subtitles to those who ask often, and the clip matters more."""
        asked = {name: self._downloader.params[name] for name in ("writesubtitles", "writeautomaticsub")}
        self._downloader.params.update(dict.fromkeys(asked, False))
        try:
            self._downloader.process_ie_result(found.copy(), download=True)
        finally:
            self._downloader.params.update(asked)

    def _present(self) -> None:
        self._report.present += 1
        self._left -= 1

    def _count_failure(self, reason: str) -> None:
        self._report.failed[reason] = self._report.failed.get(reason, 0) + 1

    def _fail(self, entry: Mapping[str, Any], error: Exception) -> None:
        """Count a failure. Raises _UnreachableError for one of the network, UnavailableError for one of the disk."""
        _log.info("%s: %s", entry.get("url"), error)
        failure = Failure.of(error, self._library)
        if failure.cause == "disk":
            raise UnavailableError(f"{self._options.folder}: {failure.reason}; run the command again to go on")
        self._count_failure(failure.reason)
        if failure.cause == "network":
            address = urlsplit(str(entry.get("webpage_url") or entry.get("url")))
            raise _UnreachableError(address.netloc or address.path, failure.reason)


class _UnreachableError(Exception):
    def __init__(self, host: str, reason: str) -> None:
        super().__init__(host, reason)
        self.host, self.reason = host, reason


class _Quiet:
    """Takes what yt-dlp says: errors come as exceptions as well, so none of it is for the terminal without -v."""

    def debug(self, message: str) -> None:
        _log.debug("%s", message)

    def warning(self, message: str) -> None:
        _log.info("%s", message)

    error = warning


def _library() -> Any:
    try:
        library = import_module("yt_dlp")
    except ImportError as error:
        raise ConfigurationError("fetching needs yt-dlp: pip install -e '.[fetch]'") from error
    import_module("yt_dlp.networking.exceptions")
    return library


def _pause(n: int) -> float:
    """Seconds to wait before trying again, twice as long each time."""
    return min(2.0**n, 30.0)


def _tell(said: Mapping[str, Any], on_progress: Transfer) -> None:
    if said.get("status") == "downloading":
        total = said.get("total_bytes") or said.get("total_bytes_estimate")
        on_progress(Path(said["filename"]).name, said.get("downloaded_bytes") or 0, int(total) if total else None)
