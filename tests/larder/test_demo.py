"""The demo, from nothing to a report, and again on what is there."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from html.parser import HTMLParser
from typing import Any

import pytest

from larder import demo
from larder.show import METRICS
from tests.larder.shell import Outcome, Shell

CONTENTS, USERS = 60, 20


class Page(HTMLParser):
    """A report's tables as lists of rows, and everything that it would load."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tables: list[list[list[str]]] = []
        self.pictures: list[str] = []
        self.loaded: list[str] = []
        self.svgs = 0
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        said = {name: value or "" for name, value in attributes}
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
        elif tag == "img":
            self.pictures.append(said["src"])
        self.svgs += tag == "svg"
        self.loaded += [said[name] for name in ("src", "href", "xlink:href", "data", "srcset") if name in said]

    def handle_data(self, data: str) -> None:
        if self.tables and self.tables[-1] and self.tables[-1][-1]:
            self.tables[-1][-1][-1] += data.strip()

    def table(self, first: str) -> list[dict[str, str]]:
        """The rows of the table whose first column is headed so, by its headings."""
        heads, *rows = next(table for table in self.tables if table[0][0] == first)
        return [dict(zip(heads, row, strict=False)) for row in rows]


@dataclass(frozen=True)
class Run:
    """One run of the demo: what it said, its report, and its server processes."""

    outcome: Outcome
    text: str
    servers: list[subprocess.Popen[Any]]

    @property
    def page(self) -> Page:
        return Page(self.text)


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    return Shell(tmp_path_factory.mktemp("demo") / "home")


def _demo(shell: Shell) -> Run:
    report = shell.home.parent / "out" / "report.html"
    servers: list[subprocess.Popen[Any]] = []

    class Watched(subprocess.Popen[Any]):
        def __init__(self, command: list[str], **options: Any) -> None:
            super().__init__(command, **options)
            if "serve" in command:
                servers.append(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subprocess, "Popen", Watched)
        size = ("--contents", CONTENTS, "--users", USERS, "--calls", 5)
        outcome = shell.ok("demo", *size, "--report", report)
    return Run(outcome, report.read_text(), servers)


@pytest.fixture(scope="module")
def first(shell: Shell) -> Run:
    return _demo(shell)


@pytest.fixture(scope="module")
def second(first: Run, shell: Shell) -> Run:
    return _demo(shell)


def test_the_report_needs_nothing_beside_it(first: Run) -> None:
    page = first.page
    assert page.pictures
    assert all(link.startswith(("data:", "#")) for link in page.loaded)
    assert not re.search(r"@import|url\((?!#)|<script|<link", first.text)


def test_the_report_shows_metrics_curves_and_pictures(first: Run) -> None:
    page = first.page
    own, *others = page.table("model")
    assert list(own)[1:] == [metric.replace("_", " ") for metric in METRICS]
    assert own["model"] == "popularity (this model)"
    assert {row["model"] for row in others} >= {"mean", "metadata only"}
    assert float(own["r2"]) <= 1.0
    assert page.svgs == 3  # curves, importances, stages
    assert len(page.pictures) >= demo.SHEET_ROWS * 2 * (1 + demo.SHEET_COLUMNS) * 0.9
    assert all(picture.startswith("data:image/jpeg;base64,") for picture in page.pictures)
    assert [row["calls"] for row in page.table("call")] == ["5", "5", "5"]


def test_the_first_run_makes_everything(first: Run) -> None:
    assert [(row["encoded"], row["fresh"]) for row in first.page.table("embedding")] == [(str(CONTENTS), "0")] * 2
    assert "(trained)" in first.outcome.out
    assert "trained before" not in first.outcome.out


def test_the_second_run_makes_nothing_again(first: Run, second: Run, shell: Shell) -> None:
    assert [(row["encoded"], row["fresh"]) for row in second.page.table("embedding")] == [("0", str(CONTENTS))] * 2
    assert "trained before" in second.outcome.out
    assert second.page.table("model") == first.page.table("model")
    release = re.compile(r"Release [0-9a-f]{16}")
    assert release.findall(second.text) == release.findall(first.text) != []
    for kind in ("indexes/minilm", "indexes/efficientnet_lite0", "models/popularity"):
        folder = shell.home / "demo-synthetic" / kind
        assert len([path for path in folder.iterdir() if path.is_dir()]) == 1


def test_the_server_is_gone_afterwards(first: Run, second: Run) -> None:
    assert [[server.returncode for server in run.servers] for run in (first, second)] == [[0], [0]]


def test_it_says_how_to_go_on(first: Run, shell: Shell) -> None:
    assert f"export LARDER_HOME={shell.home / 'demo-synthetic'}" in first.outcome.err
    assert shell.ok("--home", shell.home / "demo-synthetic", "status", "--json").json["contents"] == CONTENTS
