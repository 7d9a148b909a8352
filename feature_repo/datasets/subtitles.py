"""Subtitle files as the text that is said in them.

WebVTT (https://www.w3.org/TR/webvtt1/) and SubRip differ in what stands around the cues. A cue is a line of timings
and the lines after it, up to an empty one; whatever lies outside (header, numbers, notes, styles, regions) is no text.
"""

from __future__ import annotations

import codecs
import html
import re
from collections.abc import Iterator
from pathlib import Path

from feature_repo.errors import MediaError
from feature_repo.files import open_plain

MAX_BYTES = 2**23
"""More than a day of speech; what is larger is something else."""

_NEWLINE = re.compile(r"\r\n|\r|\n")
_TIME = r"(?:\d+:)?\d{1,2}:\d{2}[.,]\d{1,3}"
_TIMINGS = re.compile(rf"\s*{_TIME}\s*-->\s*{_TIME}(?:\s.*)?")
# <c.colour>, </c>, <v Name>, <00:00:01.000> and {\an8}; not the sign in "a < b" or "<3"
_MARKUP = re.compile(r"<(?:/?[A-Za-z][^<>]*|/|\d+:[\d:.]+)>|\{\\[^{}]*\}")
_BOMS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}


def read_subtitles(path: Path) -> str:
    """What a VTT or SRT file says, a line of text each, without timings, settings, tags, notes and styles.

    Automatic captions roll: a cue shows the line before again, so that each line comes two or three times.
    The lines with which a cue repeats the end of the one before are taken once. Empty where no cue says anything.
    Raises MediaError for a file that cannot be read, is too large, or holds no subtitles.
    """
    said: list[str] = []
    before: list[str] = []
    for cue in _cues(_text(path)):
        said += cue[_repeated(before, cue) :]
        before = cue
    return "\n".join(said)


def _text(path: Path) -> str:
    """The characters: UTF-8, or UTF-16 behind its mark; what is neither is taken for Latin-1, as old tools write it."""
    try:
        with open_plain(path) as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError as error:
        raise MediaError(f"file missing: {path}") from error
    except OSError as error:
        raise MediaError(f"file unreadable: {path}: {error.strerror}") from error
    if len(data) > MAX_BYTES:
        raise MediaError(f"too large: over {MAX_BYTES:,} bytes")
    if not data:
        raise MediaError("empty file")
    encoding = next((name for mark, name in _BOMS.items() if data.startswith(mark)), "")
    if not encoding and b"\0" in data:
        raise MediaError("not subtitles: NUL byte")
    try:
        return data.decode(encoding or "utf-8")
    except UnicodeDecodeError as error:
        if encoding:
            raise MediaError(f"broken subtitles: not {encoding}, as its first bytes say: {error.reason}") from error
        return data.decode("latin-1")


def _cues(text: str) -> Iterator[list[str]]:
    """The lines of each cue that says something, cleaned. Raises MediaError where there is no line of timings."""
    lines = _NEWLINE.split(text)
    cue: list[str] | None = None
    timed = lines[0].startswith("WEBVTT")  # with this header even a file without cues is one of subtitles
    for line in [*lines, ""]:
        if _TIMINGS.fullmatch(line):
            if cue:
                yield cue[:-1] if cue[-1].isdecimal() else cue  # no empty line between: the next cue's number
            cue, timed = [], True
        elif not line or "-->" in line:
            if cue:
                yield cue
            cue = None
        elif cue is not None and (clean := _clean(line)):
            cue.append(clean)
    if not timed:
        raise MediaError("not subtitles: no line of timings (00:00:01.000 --> 00:00:02.000)")


def _clean(line: str) -> str:
    """A line without markup, its entities as the characters they mean, single spaces between the words."""
    return " ".join(html.unescape(_MARKUP.sub("", line)).split())


def _repeated(before: list[str], cue: list[str]) -> int:
    """How many lines at the start of `cue` are the last ones of `before`."""
    longest = min(len(before), len(cue))
    return next(n for n in range(longest, -1, -1) if before[len(before) - n :] == cue[:n])
