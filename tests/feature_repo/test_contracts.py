"""Contracts refuse what no room could use, and name things by what they say."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_repo.contracts import Content, EmbeddingSpec, EventType, Interaction, Modality, User, digest

NOW = datetime(2025, 3, 1, 12, tzinfo=UTC)


@given(st.lists(st.text()), st.lists(st.text()))
def test_digest_tells_any_two_lists_apart(one: list[str], other: list[str]) -> None:
    assert (digest(*one) == digest(*other)) == (one == other)


def test_ids_must_not_be_empty() -> None:
    with pytest.raises(ValueError, match="content_id"):
        Content("", "title", NOW)
    with pytest.raises(ValueError, match="user_id"):
        User("")
    with pytest.raises(ValueError, match="must not be empty"):
        Interaction("u", "", EventType.VIEW, NOW)


@pytest.mark.parametrize("time", [datetime(2025, 1, 1), datetime(2025, 1, 1, tzinfo=timezone(timedelta(hours=2)))])
def test_times_must_be_utc(time: datetime) -> None:
    with pytest.raises(ValueError, match="UTC"):
        Content("c", "title", time)
    with pytest.raises(ValueError, match="UTC"):
        Interaction("u", "c", EventType.VIEW, time)


def test_the_same_event_has_the_same_id() -> None:
    event = Interaction("u", "c", EventType.LIKE, NOW)
    assert event.event_id == Interaction("u", "c", EventType.LIKE, NOW).event_id
    assert event.event_id != replace(event, timestamp=NOW + timedelta(microseconds=1)).event_id


def test_row_digest_sees_every_field() -> None:
    content = Content("c", "title", NOW)
    changes = [{"title": "x"}, {"description": "x"}, {"tags": ("x",)}, {"counters": {"views": 1.0}}]
    digests = {replace(content, **change).row_digest for change in changes}  # type: ignore[arg-type]
    assert len(digests | {content.row_digest}) == len(changes) + 1


def test_text_joins_what_is_there() -> None:
    assert Content("c", " A ", NOW, "b").text == "A. b"
    assert Content("c", " ", NOW).text == ""


def test_spec_digest_is_of_what_decides_the_vectors() -> None:
    spec = EmbeddingSpec("e", Modality.IMAGE, 8, "w", "m:C")
    assert spec.digest == replace(spec, loader="other:C", licence="MIT", profile="hub").digest
    assert spec.digest != replace(spec, options={"size": 224}).digest
    assert spec.digest != replace(spec, version=2).digest


def test_contracts_import_neither_torch_nor_feast() -> None:
    code = "import sys, feature_repo.contracts, feature_repo.settings; print({'torch', 'feast'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
