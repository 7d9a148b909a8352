"""What people see is what was said, whatever characters it has."""

from __future__ import annotations

import pytest

from larder.display import Display

NAME = "A title [BaW_jenozKc] [/bold].mp4"


def test_brackets_are_text_and_no_markup(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    display = Display()
    display.table(NAME, ("file", "rows"), [(NAME, 3)])
    display.facts(NAME, {"file": NAME})
    display.note(NAME)
    with display.transfer("fetch") as advance:
        advance(NAME, 1, None)
    said = capsys.readouterr()
    assert said.out.count(NAME) == 4
    assert said.err.count(NAME) == 1
