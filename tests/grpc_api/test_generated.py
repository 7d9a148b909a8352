"""The committed code is what the .proto files give."""

from __future__ import annotations

import shutil
from pathlib import Path

from protos.generate import ROOT, generate, stale


def test_the_committed_code_is_fresh() -> None:
    assert stale() == []


def test_an_edited_or_absent_file_is_stale(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "protos", tmp_path / "protos")
    first, second, *_ = generate(tmp_path)
    (tmp_path / first).write_bytes((tmp_path / first).read_bytes() + b"#")
    (tmp_path / second).unlink()
    assert stale(tmp_path) == [first, second]
