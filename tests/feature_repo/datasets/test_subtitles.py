"""Subtitles as text: both forms, what is dropped, what rolls, encodings, and files that are none."""

from __future__ import annotations

import string
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_repo.datasets.subtitles import MAX_BYTES, read_subtitles
from feature_repo.errors import MediaError

VTT = """WEBVTT - a title --- with dashes
Kind: captions
Language: en

STYLE
::cue(.yellow) { color: yellow }

REGION
id:fred

NOTE Written by hand,
over two lines.

first
00:01.000 --> 00:02.500 align:start position:0%
<v Fred Bloggs>Hello <c.yellow>there</c>,<00:00:01.500> <i>you</i>

1:00:02.000 --> 1:00:03.000
- Fish &amp;&nbsp;chips
- 2 < 3, I <3 it, a<b too
"""

SRT = """1
00:00:01,000 --> 00:00:02,000
<font color="#fff">First</font>   line
{\\an8}second line

2
00:00:02,500 --> 00:00:03,000  X1:40 X2:600
42
"""

# What YouTube serves as automatic captions: every line comes up word by word, stands still, and rolls up
ROLLING = """WEBVTT
Kind: captions
Language: en

00:00:00.000 --> 00:00:02.000 align:start position:0%
{blank}
so<00:00:00.500><c> this</c><00:00:01.000><c> is</c>

00:00:02.000 --> 00:00:02.010 align:start position:0%
so this is
{blank}

00:00:02.010 --> 00:00:04.000 align:start position:0%
so this is
how<00:00:02.500><c> it</c><00:00:03.000><c> rolls</c>

00:00:04.000 --> 00:00:04.010 align:start position:0%
how it rolls
{blank}

00:00:04.010 --> 00:00:06.000 align:start position:0%
how it rolls
up
""".format(blank=" ")  # an empty line would end the cue


def read(folder: Path, data: str | bytes, name: str = "a.vtt") -> str:
    path = folder / name
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return read_subtitles(path)


def test_vtt(tmp_path: Path) -> None:
    assert read(tmp_path, VTT).split("\n") == ["Hello there, you", "- Fish & chips", "- 2 < 3, I <3 it, a<b too"]


def test_srt(tmp_path: Path) -> None:
    assert read(tmp_path, SRT, "a.srt") == "First line\nsecond line\n42"


def test_lines_that_roll_are_taken_once(tmp_path: Path) -> None:
    assert read(tmp_path, ROLLING) == "so this is\nhow it rolls\nup"


def test_what_is_said_again_later_stays(tmp_path: Path) -> None:
    said = ("Go!", "No.", "Go!")
    cues = "\n".join(f"00:0{n}.000 --> 00:0{n}.900\n{line}\n" for n, line in enumerate(said))
    assert read(tmp_path, f"WEBVTT\n\n{cues}").splitlines() == list(said)


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_encodings_and_newlines(tmp_path: Path, encoding: str, newline: str) -> None:
    text = "WEBVTT\n\n00:01.000 --> 00:02.000\nCafé, 猫\n".replace("\n", newline)
    assert read(tmp_path, text.encode(encoding)) == "Café, 猫"


def test_latin_1_where_it_is_no_utf_8(tmp_path: Path) -> None:
    assert read(tmp_path, SRT.replace("First", "Près").encode("latin-1"), "a.srt").startswith("Près line")


def test_cues_without_an_empty_line_between(tmp_path: Path) -> None:
    packed = "1\n00:00:01,000 --> 00:00:02,000\none\n2\n00:00:02,000 --> 00:00:03,000\ntwo\n"
    assert read(tmp_path, packed, "a.srt") == "one\ntwo"


def test_a_cue_with_broken_timings_is_left_out(tmp_path: Path) -> None:
    broken = "00:01.000 --> 00:02.000\none\n\n00:02.000 --> soon\ntwo\n\n00:03.000 --> 00:04.000\nthree\n"
    assert read(tmp_path, f"WEBVTT\n\n{broken}") == "one\nthree"


def test_subtitles_that_say_nothing_are_empty_text(tmp_path: Path) -> None:
    assert read(tmp_path, "WEBVTT\n") == ""
    assert read(tmp_path, "WEBVTT\n\n00:01.000 --> 00:02.000\n<c></c>\n") == ""


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty file"),
        (b"WEBVTT\n\n\0\0", "not subtitles: NUL byte"),
        (b"\xff\xfeW\x00E", "broken subtitles: not utf-16"),
        (b"\xff\xfeWEB\x00\xd8", "broken subtitles: not utf-16"),
        (b"<html>nothing here</html>", "not subtitles: no line of timings"),
        (b"\x1a\x45\xdf\xa3" * 10, "not subtitles: no line of timings"),
        (b"WEBVTT" + b"\n" * MAX_BYTES, "too large: over "),
    ],
    ids=["empty", "NUL", "short UTF-16", "broken UTF-16", "HTML", "binary", "large"],
)
def test_what_is_no_file_of_subtitles(tmp_path: Path, data: bytes, reason: str) -> None:
    with pytest.raises(MediaError, match=reason):
        read(tmp_path, data)


def test_a_file_that_is_not_there_or_is_a_folder(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=r"file missing: .*none"):
        read_subtitles(tmp_path / "none.vtt")
    with pytest.raises(MediaError, match=r"file unreadable: .*directory"):
        read_subtitles(tmp_path)


WORDS = st.text(string.ascii_letters + "äß猫,.!?'", min_size=1, max_size=8)
LINES = st.lists(st.lists(WORDS, min_size=1, max_size=4).map(" ".join), min_size=1, max_size=12)


def cue(number: int, *lines: str) -> str:
    return "\n".join((f"00:{number:02}:00.000 --> 00:{number:02}:30.000 align:start", *lines, "", ""))


@given(LINES.map(lambda lines: [f"{n} {line}" for n, line in enumerate(lines)]), st.integers(1, 3))
def test_rolled_as_sites_do_any_lines_come_back_once_and_in_order(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str], shown: int
) -> None:
    windows = [lines[max(0, end - shown) : end] for end in range(1, len(lines) + 1)]
    rolled = "".join(cue(n, *window) + cue(n, *window) for n, window in enumerate(windows))
    assert read(tmp_path_factory.getbasetemp(), "WEBVTT\n\n" + rolled).splitlines() == lines


@given(st.binary(max_size=300), st.sampled_from([b"", b"WEBVTT\n\n", b"1\n00:00:01,000 --> 00:00:02,000\n"]))
def test_any_bytes_are_text_or_a_reason(tmp_path_factory: pytest.TempPathFactory, data: bytes, start: bytes) -> None:
    said = ""
    with suppress(MediaError):
        said = read(tmp_path_factory.getbasetemp(), start + data)
    assert "-->" not in said
    assert all(line == line.strip() for line in said.split("\n"))
