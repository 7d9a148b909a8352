"""Which contents still need a vector under a spec."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import dataclass, field
from enum import StrEnum

from embedders.fingerprint import Source, fingerprint
from feature_repo.catalog_rows import CatalogItem, LedgerRow
from feature_repo.contracts import digest


class State(StrEnum):
    """How a content stands under a spec.

    Fresh: it has its vector. Stale: it was changed since it was tried, or the file of its vector is gone. Failed: it is
    broken and was tried as it is now. Missing: it was never tried.
    """

    FRESH = "fresh"
    STALE = "stale"
    FAILED = "failed"
    MISSING = "missing"


@dataclass(frozen=True, slots=True)
class Pending:
    """A content to encode, and the fingerprint that its vector will have."""

    content_id: str
    fingerprint: str


@dataclass(slots=True)
class Plan:
    """What a run has to do: `pending` by content id; `fresh` have their vector, `failed` are known to be broken."""

    pending: list[Pending] = field(default_factory=list)
    fresh: int = 0
    failed: int = 0


@dataclass(slots=True)
class Stock:
    """How many contents are in each state, and of those that failed how many for which kind of reason."""

    states: Counter[State] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)

    @property
    def waiting(self) -> int:
        """What a run would find to do."""
        return self.states[State.STALE] + self.states[State.MISSING]


@dataclass(frozen=True, slots=True)
class Ledger:
    """What is known of one spec: its rows in the catalog, and the `partitions` that lie on disk.

    A content that is not `ready` has a fingerprint of its own, so that it is tried again once it is.
    """

    source: Source
    known: Mapping[str, LedgerRow]
    partitions: Set[str]
    ready: Callable[[CatalogItem], bool] = lambda item: True

    def look_up(self, item: CatalogItem) -> tuple[State, str]:
        """How a content stands, and the fingerprint that its vector has or will have."""
        wanted = fingerprint(item, self.source)
        if not self.ready(item):
            wanted = digest(wanted, "not ready")
        row = self.known.get(item.content.content_id)
        if row is None:
            return State.MISSING, wanted
        if row.fingerprint == wanted and row.partition is None:
            return State.FAILED, wanted
        fresh = row.fingerprint == wanted and row.partition in self.partitions
        return State.FRESH if fresh else State.STALE, wanted

    def reason(self, item: CatalogItem) -> str:
        """Why a content failed, as recorded."""
        return self.known[item.content.content_id].reason or ""


def plan(
    items: Iterable[CatalogItem],
    known: Mapping[str, LedgerRow],
    partitions: Set[str],
    spec: Source,
    retry_failed: bool = False,
    ready: Callable[[CatalogItem], bool] = lambda item: True,
) -> Plan:
    """Compare `items`, ordered by id, with the ledger's `known` rows and the `partitions` that lie on disk.

    A failure is final until its fingerprint changes, unless `retry_failed`. A vector whose file is gone is made again.
    A content that is not `ready` has a fingerprint of its own, so that it is tried again once it is.
    """
    made, ledger = Plan(), Ledger(spec, known, partitions, ready)
    for item in items:
        state, wanted = ledger.look_up(item)
        if state is State.FRESH:
            made.fresh += 1
        elif state is State.FAILED and not retry_failed:
            made.failed += 1
        else:
            made.pending.append(Pending(item.content.content_id, wanted))
    return made


def take_stock(items: Iterable[CatalogItem], ledgers: Iterable[Ledger]) -> list[Stock]:
    """Count the states of `items` under each of the specs, in one walk, by the comparison that `plan` makes."""
    counted = [(ledger, Stock()) for ledger in ledgers]
    for item in items:
        for ledger, stock in counted:
            state, _ = ledger.look_up(item)
            stock.states[state] += 1
            if state is State.FAILED:
                stock.reasons[kind_of(ledger.reason(item))] += 1
    return [stock for _, stock in counted]


def kind_of(reason: str) -> str:
    """What failed, without the particulars after the colon."""
    return reason.partition(":")[0]
