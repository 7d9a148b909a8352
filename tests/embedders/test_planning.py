from __future__ import annotations

from collections.abc import Sequence

import pytest

from embedders import planning
from embedders.fingerprint import fingerprint
from embedders.ledger import Pending
from embedders.planning import Planner, Tally, grouped
from embedders.specs import SPECS
from feature_repo.catalog import Catalog
from feature_repo.catalog_rows import LedgerRow
from feature_repo.contracts import Content

SPEC = SPECS["minilm"]


@pytest.fixture(params=[(2000, 20_000), (3, 2), (3, 0)], ids=["one page", "few kept", "none kept"])
def small_pages(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages that ten contents fill, and plans that are too long to be remembered."""
    page, kept = request.param
    monkeypatch.setattr(planning, "_PAGE", page)
    monkeypatch.setattr(planning, "_KEPT", kept)


def record(catalog: Catalog, partition: str | None, *content_ids: str) -> None:
    items = catalog.get(content_ids)
    reason = None if partition else "no text"
    rows = [LedgerRow(c, fingerprint(items[c], SPEC), partition, reason) for c in content_ids]
    catalog.record(SPEC.name, SPEC.digest, rows)


def ids(tasks: Sequence[Sequence[Pending]]) -> list[list[str]]:
    return [[pending.content_id for pending in task] for task in tasks]


@pytest.mark.usefixtures("small_pages")
def test_partitions_are_cut_across_pages(posts: list[Content], catalog: Catalog) -> None:
    record(catalog, "p", "c0", "c5")
    record(catalog, "lost", "c1")
    record(catalog, None, "c7")
    planner = Planner(catalog, SPEC, {"p"})
    assert planner.tally() == Tally(pending=7, fresh=2, failed=1)
    assert ids(list(planner.tasks(4))) == [["c1", "c2", "c3", "c4"], ["c6", "c8", "c9"]]
    again = Planner(catalog, SPEC, {"p"}, retry_failed=True)
    assert again.tally() == Tally(pending=8, fresh=2)
    assert ids(list(again.tasks(8))) == [["c1", "c2", "c3", "c4", "c6", "c7", "c8", "c9"]]


@pytest.mark.usefixtures("small_pages")
def test_what_is_recorded_on_the_way_changes_no_task(posts: list[Content], catalog: Catalog) -> None:
    planner = Planner(catalog, SPEC, set())
    planner.tally()
    seen = []
    for task in planner.tasks(4):
        seen.append([pending.content_id for pending in task])
        record(catalog, "p", *seen[-1])
    assert seen == [["c0", "c1", "c2", "c3"], ["c4", "c5", "c6", "c7"], ["c8", "c9"]]


def test_groups_are_full_but_for_the_last() -> None:
    assert list(grouped(range(5), 2)) == [[0, 1], [2, 3], [4]]
    assert list(grouped([], 2)) == []


def test_the_catalog_answers_for_the_named_contents_and_for_partitions(posts: list[Content], catalog: Catalog) -> None:
    record(catalog, "p", "c0", "c1")
    record(catalog, "q", "c2")
    record(catalog, None, "c3")
    assert set(catalog.ledger(SPEC.name, SPEC.digest, ["c1", "c3", "c9"])) == {"c1", "c3"}
    assert catalog.ledger(SPEC.name, SPEC.digest, []) == {}
    assert catalog.ledger_partitions(SPEC.name, SPEC.digest) == {"p", "q"}
