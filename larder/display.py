"""What a person sees: progress with rate and time left on stderr, results as tables or JSON on stdout."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Table
from rich.text import Text

Advance = Callable[[int, int], None]
"""Told how many are done by now, and of how many."""

Transfer = Callable[[str, int, int | None], None]
"""Told a file's name, its bytes so far, and in all (None where that is not known)."""


class RateColumn(ProgressColumn):
    """Done a second."""

    def render(self, task: Task) -> Text:
        """The rate, empty until one can be told."""
        return Text(f"{task.speed:,.0f}/s" if task.speed else "", style="cyan")


class Display:
    """Where commands show what they do. Progress and notes never mix with results: they go to stderr."""

    def __init__(self) -> None:
        self.err = Console(stderr=True, highlight=False)
        self.out = Console(highlight=False, soft_wrap=True)

    def note(self, text: str) -> None:
        """One line about what goes on."""
        self.err.print(text, markup=False)

    @contextmanager
    def bar(self, label: str) -> Iterator[Advance]:
        """A progress bar; yields what to call with the number done so far and the number in all."""
        with self.phases(label) as advance:
            yield lambda done, total: advance("", done, total)

    @contextmanager
    def phases(self, label: str) -> Iterator[Callable[[str, int, int], None]]:
        """A progress bar for one stage after the other; yields what to call with a stage's name, done and in all."""
        columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        times = (RateColumn(), TimeElapsedColumn(), TimeRemainingColumn())
        with Progress(*columns, *times, console=self.err, transient=True, disable=not self.err.is_terminal) as progress:
            task = progress.add_task(label, total=None)
            yield lambda stage, done, total: progress.update(
                task, description=f"{label}: {stage}" if stage else label, completed=done, total=total
            )

    @contextmanager
    def transfer(self, label: str) -> Iterator[Transfer]:
        """A bar of bytes; yields what to call with a file's name, its bytes so far and in all."""
        columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), DownloadColumn())
        times = (TransferSpeedColumn(), TimeElapsedColumn(), TimeRemainingColumn())
        with Progress(*columns, *times, console=self.err, transient=True, disable=not self.err.is_terminal) as progress:
            task = progress.add_task(label, total=None)
            yield lambda name, done, total: progress.update(
                task, description=f"{label}: {escape(name)}", completed=done, total=total
            )

    @contextmanager
    def stages(self, label: str) -> Iterator[Callable[[str], None]]:
        """A spinner for work without a count; yields what to call with the name of each stage."""
        with self.err.status(label) as status:
            yield lambda stage: status.update(f"{label}: {stage}")

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """A table on stdout; numbers stand to the right."""
        table = Table(title=escape(title), title_justify="left", title_style="bold")
        for index, column in enumerate(columns):
            numeric = all(isinstance(row[index], int | float) for row in rows) and bool(rows)
            table.add_column(column, justify="right" if numeric else "left", overflow="fold")
        for row in rows:
            table.add_row(*(_cell(value) for value in row))
        self.out.print(table)

    def facts(self, title: str, facts: Mapping[str, object]) -> None:
        """Names and values on stdout."""
        table = Table(title=escape(title), title_justify="left", title_style="bold", show_header=False, box=None)
        for name, value in facts.items():
            table.add_row(f"[dim]{name}[/dim]", _cell(value))
        self.out.print(table)


def print_json(value: object) -> None:
    """One JSON document on stdout; dataclasses become objects, NaN becomes null."""
    json.dump(_plain(value), sys.stdout, indent=2, ensure_ascii=False)
    sys.stdout.write("\n")


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return "" if value is None else escape(str(value))  # [x] in a file's name is no markup


def _plain(value: object) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _plain(dataclasses.asdict(value))
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(v) for v in value]
    if isinstance(value, float):
        return value if value == value else None
    if isinstance(value, Path | datetime):
        return str(value)
    return value
