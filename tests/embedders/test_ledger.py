from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from embedders.fingerprint import fingerprint
from embedders.ledger import Pending, plan
from embedders.specs import SPECS
from feature_repo.catalog_rows import CatalogItem, LedgerRow
from feature_repo.contracts import Content

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
SPEC = SPECS["minilm"]
ITEMS = [CatalogItem(Content(f"c{n}", f"title {n}", NOON), NOON, {}) for n in range(5)]
PRINTS = {i.content.content_id: fingerprint(i, SPEC) for i in ITEMS}


def test_an_empty_ledger_leaves_everything_to_do() -> None:
    made = plan(ITEMS, {}, set(), SPEC)
    assert made.pending == [Pending(c, PRINTS[c]) for c in ("c0", "c1", "c2", "c3", "c4")]
    assert (made.fresh, made.failed) == (0, 0)


def test_each_state_has_its_place() -> None:
    known = {
        "c0": LedgerRow("c0", PRINTS["c0"], partition="p"),
        "c1": LedgerRow("c1", "old", partition="p"),
        "c2": LedgerRow("c2", PRINTS["c2"], reason="no text"),
        "c3": LedgerRow("c3", PRINTS["c3"], partition="deleted"),
        "c4": LedgerRow("c4", "old", reason="no text"),
    }
    made = plan(ITEMS, known, {"p"}, SPEC)
    assert [p.content_id for p in made.pending] == ["c1", "c3", "c4"]
    assert (made.fresh, made.failed) == (1, 1)
    again = plan(ITEMS, known, {"p"}, SPEC, retry_failed=True)
    assert [p.content_id for p in again.pending] == ["c1", "c2", "c3", "c4"]
    assert (again.fresh, again.failed) == (1, 0)


state = st.sampled_from(["unknown", "fresh", "stale", "failed", "lost"])


@given(st.lists(state, min_size=5, max_size=5), st.booleans())
def test_every_content_is_counted_once_and_in_order(states: list[str], retry: bool) -> None:
    rows = {
        "fresh": lambda c: LedgerRow(c, PRINTS[c], partition="p"),
        "stale": lambda c: LedgerRow(c, "old", partition="p"),
        "failed": lambda c: LedgerRow(c, PRINTS[c], reason="no text"),
        "lost": lambda c: LedgerRow(c, PRINTS[c], partition="gone"),
    }
    known = {c: rows[s](c) for c, s in zip(PRINTS, states, strict=True) if s in rows}
    made = plan(ITEMS, known, {"p"}, SPEC, retry)
    pending = [p.content_id for p in made.pending]
    assert pending == sorted(pending)
    assert len(pending) + made.fresh + made.failed == len(ITEMS)
    assert made.fresh == states.count("fresh")
    assert made.failed == (0 if retry else states.count("failed"))
