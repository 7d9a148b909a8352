"""Rows of a CSV file that may be broken anywhere: every row comes out whole or is reported, and reading goes on.

| in the file | outcome |
|---|---|
| byte order mark, CRLF, quotes, newlines and delimiters in quoted fields | read (RFC 4180) |
| blank line | no row |
| wrong number of columns, NUL byte, a quote out of place | the row is reported |
| bytes that are not UTF-8 | the row is reported: any other encoding would be a guess, which may spoil a title |
| a row above `MAX_ROW_BYTES` or `MAX_ROW_LINES` | the line is reported, however long it is |
| a quote that is never closed | the line is reported and reading goes on at the next, so it costs one row |
| empty file, a header twice the same name, a missing column or file | `InputError` |
"""

from __future__ import annotations

import csv
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple

from feature_repo.datasets.base import Report
from feature_repo.errors import InputError

MAX_ROW_BYTES = 2**17
"""The `csv` module's own limit of a field, so that its process-wide `field_size_limit` need not be touched."""

MAX_ROW_LINES = 256
"""Bounds how far an open quote is followed, and with it the time that a hostile file can take."""

BOM = b"\xef\xbb\xbf"


class Row(NamedTuple):
    """One row: the physical line where it starts, from 1, and its text by column."""

    line: int
    values: dict[str, str]


@dataclass(frozen=True, slots=True)
class Table:
    """A delimited text file and its columns, checked once and then read as often as wanted."""

    path: Path
    columns: tuple[str, ...]
    headed: bool = True
    delimiter: str = ","

    @classmethod
    def open(cls, path: Path, required: Sequence[str]) -> Table:
        """A CSV file with a header that has at least the `required` columns. Raises InputError."""
        wanted = f"a header with the columns {', '.join(required)}"
        if not path.is_file():
            raise InputError(f"there is no file {path}; expected one with {wanted}")
        columns = first_record(path, wanted)
        doubled = sorted({name for name in columns if columns.count(name) > 1})
        if doubled:
            names = ", ".join(map(repr, doubled))
            raise InputError(f"{path}: the header names {names} more than once; give each column a name of its own")
        missing = [name for name in required if name not in columns]
        if missing:
            raise InputError(
                f"{path}: no column {', '.join(missing)}; found: {', '.join(columns)}; expected: {', '.join(required)}"
            )
        return cls(path, columns)

    def rows(self, report: Report) -> Iterator[Row]:
        """Stream the rows in the order of the file; `report` is told of every other."""
        records = _records(self.path, self.delimiter, report)
        if self.headed:
            next(records, None)
        width = len(self.columns)
        for line, fields in records:
            if len(fields) == width:
                yield Row(line, dict(zip(self.columns, fields, strict=True)))
            else:
                report(line, f"wrong number of columns: {len(fields)}, expected {width}")


def first_record(path: Path, expected: str, report: Report | None = None) -> tuple[str, ...]:
    """The stripped fields of a CSV file's first record, behind bad ones if `report` takes them.

    Raises InputError where there is none or where a bad one is not taken, saying what was `expected`.
    """

    def refuse(line: int, reason: str) -> None:
        raise InputError(f"{path}, line {line}: {reason}; expected {expected}, as UTF-8 text")

    for _, fields in _records(path, ",", report or refuse):
        return tuple(field.strip() for field in fields)
    raise InputError(f"{path} is empty; expected {expected}")


class _BadRowError(ValueError):
    """The row being read is given up."""


class _Lines:
    """Physical lines for `csv.reader`; remembers those of the row being read, so that it can be given up."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._row: list[bytes] = []
        self._again: deque[bytes] = deque()
        self._bytes = 0
        self.line = 1
        self.flaw = ""
        if file.read(len(BOM)) != BOM:
            file.seek(0)

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        raw = self._again.popleft() if self._again else self._read()
        if not raw:
            raise StopIteration
        self._row.append(raw)
        self._bytes += len(raw)
        if self._bytes > MAX_ROW_BYTES:
            raise _BadRowError(f"row too large: over {MAX_ROW_BYTES} bytes")
        if len(self._row) > MAX_ROW_LINES:
            raise _BadRowError(f"row too long: over {MAX_ROW_LINES} lines; is a quote left open?")
        if b"\0" in raw:
            self.flaw = "NUL byte"
        try:
            return raw.decode()
        except UnicodeDecodeError as error:
            self.flaw = f"not UTF-8: byte 0x{raw[error.start]:02x}"
            return raw.decode(errors="surrogateescape")

    def begin(self) -> None:
        """The next line begins a row."""
        self.line += len(self._row)
        self._row.clear()
        self._bytes = 0
        self.flaw = ""

    def give_up(self) -> None:
        """Drop the first line of the row; those after it are read again, as rows of their own."""
        self._again.extendleft(reversed(self._row[1:]))
        del self._row[1:]

    def _read(self) -> bytes:
        """The next line, cut where it is too large: the rest of it is passed over in pieces, never held."""
        raw = self._file.readline(MAX_ROW_BYTES + 1)
        rest = raw
        while len(rest) > MAX_ROW_BYTES and not rest.endswith(b"\n"):
            rest = self._file.readline(MAX_ROW_BYTES + 1)
        return raw


def _records(path: Path, delimiter: str, report: Report) -> Iterator[tuple[int, list[str]]]:
    """Line and fields of every record that can be read. Raises InputError where the file cannot."""
    try:
        file = path.open("rb")
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    with file:
        lines = _Lines(file)
        reader = csv.reader(lines, delimiter=delimiter, strict=True)
        while True:
            lines.begin()
            try:
                fields = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                report(lines.line, f"not CSV: {error}")
                lines.give_up()
                continue
            except _BadRowError as error:
                report(lines.line, str(error))
                lines.give_up()
                continue
            if lines.flaw:
                report(lines.line, lines.flaw)
            elif fields:
                yield lines.line, fields
