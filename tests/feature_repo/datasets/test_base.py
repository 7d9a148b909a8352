"""The account of rows that were not used."""

from __future__ import annotations

import json

from feature_repo.datasets.base import Reject, Rejects


def test_rejects_count_beyond_what_they_keep_and_hand_all_to_the_sink() -> None:
    lines: list[str] = []
    rejects = Rejects(keep=2, sink=lines.append)
    for line in range(2, 7):
        rejects.add("a.csv", line, f"not UTF-8: byte 0x{line:02x}")
    rejects.add("b.csv", 9, "title is blank")
    assert rejects.total == 6
    assert rejects.kept == [Reject("a.csv", 2, "not UTF-8: byte 0x02"), Reject("a.csv", 3, "not UTF-8: byte 0x03")]
    assert list(rejects.by_reason().items()) == [(("a.csv", "not UTF-8"), 5), (("b.csv", "title is blank"), 1)]
    assert all(line.endswith("\n") for line in lines)
    assert json.loads(lines[-1]) == {"file": "b.csv", "line": 9, "reason": "title is blank"}
    assert len(lines) == 6


def test_a_pass_adds_what_earlier_passes_did_not_get_to() -> None:
    rejects = Rejects()
    first, second = rejects.reading("a.csv"), rejects.reading("a.csv")
    first(2, "bad")
    second(2, "bad")
    second(2, "bad again")
    second(5, "worse")
    first(2, "bad again")
    rejects.reading("b.csv")(2, "bad")
    assert [(r.file, r.line, r.reason) for r in rejects.kept] == [
        ("a.csv", 2, "bad"),
        ("a.csv", 2, "bad again"),
        ("a.csv", 5, "worse"),
        ("b.csv", 2, "bad"),
    ]
