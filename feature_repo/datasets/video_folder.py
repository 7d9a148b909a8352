"""A folder of clips, with what yt-dlp writes beside them or with nothing.

| file | use |
|---|---|
| `NAME.mp4` `.webm` `.mkv` `.mov` `.m4v` `.avi`, at any depth | one content |
| `NAME.info.json` | id, title, description, tags, channel, time, language, counters |
| `NAME.jpg` `.jpeg` `.png` `.webp` | the picture |
| `NAME.LANGUAGE.vtt` `.srt`, or without the language | the captions |
| `*.part` `*.ytdl` `NAME.temp.*` `NAME.f137.*` | left alone: downloads under way, and streams not merged yet |
| hidden files and folders | left alone |
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from stat import S_ISREG
from typing import NamedTuple

import av

from feature_repo.contracts import Content, Interaction, Modality, User
from feature_repo.datasets.base import Rejects, Report
from feature_repo.datasets.fields import EPOCH, shown
from feature_repo.datasets.infojson import Info
from feature_repo.datasets.tabular import SUFFIXES
from feature_repo.errors import InputError, MediaError

CLIPS = (".mp4", ".webm", ".mkv", ".mov", ".m4v", ".avi")
SUBTITLES = (".vtt", ".srt")

# FFmpeg goes by what a file holds, not by its name, and some formats are lists of other files and addresses to open.
_CONTAINERS = "mov,matroska,webm,avi,mpegts"
_BETWEEN = re.compile(r"(?P<name>.+)\.(?:temp|f\d[\w-]*)")


class Streams(NamedTuple):
    """What a clip's container holds."""

    video: bool
    audio: bool
    duration_s: float | None


class VideoFolder:
    """Clips without users or events. A clip that cannot be opened is reported, and is a content all the same.

    A clip without an `info.json`, or with a broken one, has its path below the folder as id, its file's name as title,
    its file's time as publication and its folder's name as tag. A clip with one should have a picture. Where an id
    comes twice, the first path counts.
    """

    name = "video_folder"

    def __init__(self, path: Path) -> None:
        self.rejects = Rejects()
        self.missing_media: Counter[Modality] = Counter()
        self._root = path.absolute()
        if not any(True for folder in self._folders() for _clip in folder.clips()):
            raise InputError(f"{path}: no clip ({', '.join(CLIPS)}) in it or below it")

    def contents(self) -> Iterator[Content]:
        """The clips in the order of their paths, a folder's own before those of the folders in it."""
        self.missing_media = missing = Counter[Modality]()
        seen: set[str] = set()
        for folder in self._folders():
            for clip in folder.clips():
                report = self.rejects.reading(self._name(clip))
                content = self._content(clip, folder, report)
                if content is None:
                    continue
                if content.content_id in seen:
                    report(1, f"duplicate id: {shown(content.content_id)}")
                    continue
                seen.add(content.content_id)
                if folder.info(clip.stem) and Modality.IMAGE not in content.media:
                    missing[Modality.IMAGE] += 1
                yield content

    def users(self) -> Iterator[User]:
        """Nobody: a folder does not say who watched."""
        return iter(())

    def interactions(self) -> Iterator[Interaction]:
        """None."""
        return iter(())

    def _folders(self) -> Iterator[_Folder]:
        def unreadable(error: OSError) -> None:
            self.rejects.reading(self._name(Path(error.filename)))(1, f"folder unreadable: {error.strerror}")

        for place, folders, names in os.walk(self._root, onerror=unreadable):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            yield _Folder(Path(place), sorted(names))

    def _content(self, clip: Path, folder: _Folder, report: Report) -> Content | None:
        """A clip with what lies beside it; None, and reported, where its name or its file is of no use."""
        try:
            str(clip).encode()
            stat = clip.stat()
        except UnicodeEncodeError:
            report(1, "file name is not UTF-8")
            return None
        except OSError as error:
            report(1, f"file unreadable: {error.strerror}")
            return None
        if not S_ISREG(stat.st_mode):  # opening it might never end
            report(1, "not a file: a pipe or a device")
            return None
        changed = EPOCH + timedelta(microseconds=stat.st_mtime_ns // 1000)
        streams = self._streams(clip, report)
        beside = folder.info(clip.stem)
        info = Info.read(beside, self.rejects.reading(self._name(beside))) if beside else Info({}, report)
        return Content(
            content_id=info.content_id or self._name(clip),
            title=info.title or clip.stem,
            description=info.description,
            published_at=info.published_at or changed,
            creator_id=info.creator_id,
            tags=info.tags if info or clip.parent == self._root else (clip.parent.name,),
            attributes=self._attributes(clip, streams, info),
            counters=info.counters,
            media=_media(clip, folder, streams, info),
        )

    def _streams(self, clip: Path, report: Report) -> Streams:
        try:
            return probe(clip)
        except MediaError as error:
            report(1, str(error))
            return Streams(video=True, audio=False, duration_s=None)  # so that embedders list it, with this reason

    def _attributes(self, clip: Path, streams: Streams, info: Info) -> dict[str, float | str]:
        folder = self._name(clip.parent)
        duration = info.duration_s or streams.duration_s
        said = {"duration_s": duration, "language": info.language, "folder": "" if folder == "." else folder}
        return {name: value for name, value in said.items() if value}

    def _name(self, path: Path) -> str:
        """The path below the folder, as reports show it."""
        return path.relative_to(self._root).as_posix().encode("utf-8", "replace").decode()


class _Folder:
    """The files of one folder, by what they belong to."""

    def __init__(self, place: Path, names: Sequence[str]) -> None:
        paths = (place / name for name in names if not name.startswith("."))
        self._files = {(path.stem, path.suffix.lower()): path for path in paths}

    def clips(self) -> Iterator[Path]:
        """The finished clips by name."""
        for (stem, suffix), path in self._files.items():
            if suffix in CLIPS and not self._under_way(stem):
                yield path

    def info(self, stem: str) -> Path | None:
        """The info.json of a clip."""
        return self._files.get((f"{stem}.info", ".json"))

    def picture(self, stem: str) -> Path | None:
        """The thumbnail of a clip, in the usual format where there are several."""
        found = (self._files.get((stem, suffix)) for suffix in SUFFIXES[Modality.IMAGE])
        return next((path for path in found if path), None)

    @cached_property
    def subtitles(self) -> Mapping[str, Sequence[tuple[str, Path]]]:
        """Language (empty where unnamed) and path of each subtitle file, by the clip that it belongs to."""
        found: dict[str, list[tuple[str, Path]]] = {}
        for (stem, suffix), path in self._files.items():
            if suffix in SUBTITLES:
                exact = any((stem, clip) in self._files for clip in CLIPS)
                name, _, language = (stem, "", "") if exact else stem.rpartition(".")
                found.setdefault(name, []).append((language, path))
        return found

    def _under_way(self, stem: str) -> bool:
        """Whether yt-dlp is about to merge or rename the file; a format's number is one beside the clip's own files."""
        between = _BETWEEN.fullmatch(stem)
        if between is None:
            return False
        whole = between["name"]
        others = ((f"{whole}.info", ".json"), *((whole, suffix) for suffix in CLIPS))
        return stem.endswith(".temp") or any(other in self._files for other in others)


def probe(path: Path) -> Streams:
    """What streams a clip has, from its headers. Raises MediaError where no container can be read."""
    try:
        with av.open(str(path), options={"format_whitelist": _CONTAINERS}, metadata_errors="replace") as container:
            duration = container.duration / av.time_base if container.duration else None
            return Streams(bool(container.streams.video), bool(container.streams.audio), duration)
    except (av.FFmpegError, OSError, ValueError) as error:
        raise MediaError(f"broken clip: {getattr(error, 'strerror', None) or error}") from error


def choose_subtitles(found: Sequence[tuple[str, Path]], info: Info) -> Path | None:
    """The subtitle file that says most surely what is said in a clip, of (language, path) pairs.

    The rule, in this order: written by people before automatic, in the clip's language, in English, in any other by
    the alphabet; VTT before SRT. Automatic is what the info.json does not list under `subtitles`.
    """
    manual = info.manual_subtitles

    def rank(candidate: tuple[str, Path]) -> tuple[bool, bool, bool, str, int]:
        language, path = candidate
        short = language.partition("-")[0].lower()
        automatic = manual is not None and language not in manual
        place = SUBTITLES.index(path.suffix.lower())
        return automatic, not info.language or short != info.language, short != "en", language, place

    return min(found, key=rank, default=("", None))[1]


def _media(clip: Path, folder: _Folder, streams: Streams, info: Info) -> dict[Modality, Path]:
    """The files of a clip; its sound lies in the clip itself."""
    found = {
        Modality.VIDEO: clip if streams.video else None,
        Modality.AUDIO: clip if streams.audio else None,
        Modality.IMAGE: folder.picture(clip.stem),
        Modality.CAPTIONS: choose_subtitles(folder.subtitles.get(clip.stem, ()), info),
    }
    return {modality: path for modality, path in found.items() if path}
