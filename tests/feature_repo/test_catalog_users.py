from __future__ import annotations

from feature_repo.catalog import Catalog
from feature_repo.catalog_users import Span

KEY = ("user_sequence", "d1")


def test_a_registered_embedding_is_replaced(any_catalog: Catalog) -> None:
    ledger = any_catalog.user_ledger
    assert ledger.embeddings() == {}
    ledger.register("user_sequence", "d1", 64, "day")
    ledger.register("user_sequence", "d2", 32, "20")
    assert [tuple(row) for row in ledger.embeddings().values()] == [("user_sequence", "d2", 32, "20")]
    assert any_catalog.embeddings() == {}  # those are the contents'


def test_spans_add_up_and_a_new_beginning_replaces_them(any_catalog: Catalog) -> None:
    ledger = any_catalog.user_ledger
    ledger.record(*KEY, [Span("u1", 0, 5, "f5", "p1"), Span("u2", 0, 3, "f3", "p1")])
    ledger.record(*KEY, [Span("u1", 5, 9, "f9", "p2")])
    ledger.record("user_sequence", "d2", [Span("u1", 0, 1, "f1", "p9")])
    assert ledger.spans(*KEY, ["u1", "nobody", "u2"]) == {
        "u1": [Span("u1", 0, 5, "f5", "p1"), Span("u1", 5, 9, "f9", "p2")],
        "u2": [Span("u2", 0, 3, "f3", "p1")],
    }
    assert ledger.partitions(*KEY) == {"p1", "p2"}
    assert ledger.count(*KEY) == 2
    ledger.record(*KEY, [Span("u1", 0, 10, "f10", "p3", 1)])
    assert ledger.spans(*KEY, ["u1"]) == {"u1": [Span("u1", 0, 10, "f10", "p3", 1)]}
    assert ledger.partitions(*KEY) == {"p1", "p3"}
    assert ledger.spans("user_sequence", "d2", ["u1"]) == {"u1": [Span("u1", 0, 1, "f1", "p9")]}


def test_more_users_than_a_statement_takes(any_catalog: Catalog) -> None:
    ledger = any_catalog.user_ledger
    spans = [Span(f"u{n:04d}", 0, n + 1, "f", f"p{n % 3}") for n in range(1201)]
    for _ in range(2):  # the second replaces the first
        ledger.record(*KEY, spans)
    assert ledger.count(*KEY) == 1201
    found = ledger.spans(*KEY, [span.user_id for span in spans])
    assert [found[span.user_id] for span in spans] == [[span] for span in spans]
