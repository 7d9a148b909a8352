"""Hostile CSV: each case has its outcome, and the good rows around it come through."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from feature_repo.datasets.rows import BOM, MAX_ROW_BYTES, MAX_ROW_LINES, Table
from feature_repo.errors import InputError

Told = list[tuple[int, str]]
COLUMNS = ("id", "title")


def read(path: Path) -> tuple[list[tuple[int, str, str]], Told]:
    """The rows as (line, id, title), and what was reported."""
    told: Told = []
    rows = Table.open(path, COLUMNS).rows(lambda line, reason: told.append((line, reason)))
    return [(row.line, row.values["id"], row.values["title"]) for row in rows], told


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "items.csv"


HUGE = b"x" * (3 * MAX_ROW_BYTES)
LONG = b"y\n" * (MAX_ROW_LINES + 5)
READ = {
    "byte order mark": (BOM + b"id,title\n1,a\n", [(2, "1", "a")]),
    "CRLF": (b"id,title\r\n1,a\r\n2,b\r\n", [(2, "1", "a"), (3, "2", "b")]),
    "no newline at the end": (b"id,title\n1,a", [(2, "1", "a")]),
    "quotes and delimiters": (b'id,title\n1,"a, ""b"""\n', [(2, "1", 'a, "b"')]),
    "a quote inside plain text": (b'id,title\n1,5" disk\n', [(2, "1", '5" disk')]),
    "newlines in a field": (b'id,title\n1,"a\n\r\nb"\n2,c\n', [(2, "1", "a\n\r\nb"), (5, "2", "c")]),
    "blank lines": (b"\nid,title\n\n1,a\n\r\n2,b\n\n", [(4, "1", "a"), (6, "2", "b")]),
    "blank fields": (b"id,title\n1,\n,\n", [(2, "1", ""), (3, "", "")]),
    "header with spaces": (b" id , title\n1,a\n", [(2, "1", "a")]),
    "header alone": (b"id,title\n", []),
    "UTF-8": ("id,title\n1,Amélie 🎬\n".encode(), [(2, "1", "Amélie 🎬")]),
    "a row as large as may be": (
        b"id,title\n1," + b"x" * (MAX_ROW_BYTES - 3) + b"\n",
        [(2, "1", "x" * (MAX_ROW_BYTES - 3))],
    ),
}


@pytest.mark.parametrize(("data", "rows"), READ.values(), ids=READ)
def test_odd_but_whole_files_are_read(path: Path, data: bytes, rows: list[tuple[int, str, str]]) -> None:
    path.write_bytes(data)
    assert read(path) == (rows, [])


BAD = {
    "too few columns": (b"2\n", "wrong number of columns: 1, expected 2"),
    "too many columns": (b"2,b,c\n", "wrong number of columns: 3, expected 2"),
    "Latin-1": ("2,Amélie\n".encode("latin-1"), "not UTF-8: byte 0xe9"),
    "NUL": (b"2,a\0b\n", "NUL byte"),
    "huge field": (b"2," + HUGE + b"\n", f"row too large: over {MAX_ROW_BYTES} bytes"),
    "huge quoted field": (b'2,"' + HUGE + b'"\n', f"row too large: over {MAX_ROW_BYTES} bytes"),
    "just too large": (b"2," + b"x" * (MAX_ROW_BYTES - 2) + b"\n", f"row too large: over {MAX_ROW_BYTES} bytes"),
    "text after a quote": (b'2,"b" c\n', "not CSV: ',' expected after '\"'"),
    "open quote": (b'2,"b\n', "not CSV: unexpected end of data"),
    "lone carriage return": (b"2,a\rb\n", "not CSV: new-line character seen in unquoted field"),
}


@pytest.mark.parametrize(("bad", "reason"), BAD.values(), ids=BAD)
def test_a_bad_row_costs_itself_alone(path: Path, bad: bytes, reason: str) -> None:
    path.write_bytes(b"id,title\n1,a\n" + bad + b"3,c\n4,d\n")
    rows, told = read(path)
    assert rows == [(2, "1", "a"), (4, "3", "c"), (5, "4", "d")]
    assert [line for line, _ in told] == [3]
    assert told[0][1].startswith(reason)


def test_a_bad_byte_deep_in_a_quoted_field_rejects_the_whole_row_once(path: Path) -> None:
    path.write_bytes(b'id,title\n1,"a\nb\xff\nc"\n2,d\n')
    assert read(path) == ([(5, "2", "d")], [(2, "not UTF-8: byte 0xff")])


def test_an_open_quote_is_followed_only_so_far(path: Path) -> None:
    path.write_bytes(b'id,title\n1,"a\n' + b"2,b\n" * (MAX_ROW_LINES + 5))
    rows, told = read(path)
    assert [line for line, *_ in rows] == list(range(3, MAX_ROW_LINES + 8))
    assert told == [(2, f"row too long: over {MAX_ROW_LINES} lines; is a quote left open?")]


def test_open_quotes_before_a_huge_line_cost_a_row_each(path: Path) -> None:
    path.write_bytes(b'id,title\n1,"a\n2,b\n3,' + HUGE + b"\n4,d\n")
    rows, told = read(path)
    assert [row[:2] for row in rows] == [(3, "2"), (5, "4")]
    assert [line for line, _ in told] == [2, 4]


def test_the_process_wide_field_limit_is_left_alone(path: Path) -> None:
    before = csv.field_size_limit()
    path.write_bytes(b"id,title\n1," + HUGE + b"\n2,b\n")
    assert [row[1] for row in read(path)[0]] == ["2"]
    assert csv.field_size_limit() == before
    assert before >= MAX_ROW_BYTES


FATAL = {
    "empty file": (b"", "items.csv is empty; expected a header with the columns id, title"),
    "only a byte order mark": (BOM, "items.csv is empty"),
    "header twice the same": (b"id,title,title\n1,a,b\n", "items.csv: the header names 'title' more than once"),
    "missing column": (b"id,name\n1,a\n", "items.csv: no column title; found: id, name; expected: id, title"),
    "UTF-16": ("id,title\n1,a\n".encode("utf-16"), "items.csv, line 1: not UTF-8: byte 0xff; expected a header"),
    "Mac line ends": (b"id,title\r1,a\r", "items.csv, line 1: not CSV: new-line character"),
    "header with an open quote": (b'id,"title\n1,a\n', "items.csv, line 1: not CSV: unexpected end of data"),
}


@pytest.mark.parametrize(("data", "message"), FATAL.values(), ids=FATAL)
def test_a_file_without_a_header_to_go_by_is_fatal(path: Path, data: bytes, message: str) -> None:
    path.write_bytes(data)
    with pytest.raises(InputError) as caught:
        read(path)
    assert message in str(caught.value)


def test_a_missing_file_is_fatal_with_what_was_expected(path: Path) -> None:
    with pytest.raises(
        InputError, match=r"no file .*items\.csv; expected one with a header with the columns id, title"
    ):
        read(path)


def test_reading_streams(path: Path) -> None:
    path.write_bytes(b"id,title\n1,a\n2\n3,c\n")
    told: Told = []
    rows = Table.open(path, COLUMNS).rows(lambda line, reason: told.append((line, reason)))
    assert next(rows).line == 2
    assert told == []
    assert [row.line for row in rows] == [4]
    assert [line for line, _ in told] == [3]


TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
PLAIN = [HealthCheck.function_scoped_fixture]  # every example writes the file anew


@hypothesis_settings(suppress_health_check=PLAIN, deadline=None)
@given(table=st.integers(1, 4).flatmap(lambda n: st.lists(st.lists(TEXT, min_size=n, max_size=n), min_size=1)))
def test_what_csv_writes_is_read_back_equal_and_at_its_line(path: Path, table: list[list[str]]) -> None:
    columns = [f"c{n}" for n in range(len(table[0]))]
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer)
    writer.writerow(columns)
    lines = []
    for fields in table:
        lines.append(buffer.getvalue().count("\n") + 1)
        writer.writerow(fields)
    path.write_bytes(buffer.getvalue().encode())
    told: Told = []
    rows = list(Table.open(path, columns).rows(lambda line, reason: told.append((line, reason))))
    assert [list(row.values.values()) for row in rows] == table
    assert [row.line for row in rows] == lines
    assert told == []


@hypothesis_settings(suppress_health_check=PLAIN, deadline=None)
@given(pieces=st.lists(st.sampled_from([b'"', b",", b"\n", b"\r", b"\0", b"\xff", b"1,a\n", b"a"]), max_size=30))
def test_any_bytes_end_in_rows_and_reports_each_line_once_and_in_order(path: Path, pieces: list[bytes]) -> None:
    path.write_bytes(b"id,title\n" + b"".join(pieces) + b"\n9,last\n")
    rows, told = read(path)
    lines = sorted([line for line, *_ in rows] + [line for line, _ in told])
    assert len(lines) == len(set(lines))
    last = path.read_bytes().count(b"\n")
    assert all(1 < line <= last for line in lines)
    assert (rows and rows[-1][1] == "9") or any(b'"' in piece for piece in pieces)
