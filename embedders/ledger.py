"""Which contents still need a vector under a spec."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field

from embedders.fingerprint import fingerprint
from feature_repo.catalog_rows import CatalogItem, LedgerRow
from feature_repo.contracts import EmbeddingSpec


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


def plan(
    items: Iterable[CatalogItem],
    known: Mapping[str, LedgerRow],
    partitions: Set[str],
    spec: EmbeddingSpec,
    retry_failed: bool = False,
) -> Plan:
    """Compare `items`, ordered by id, with the ledger's `known` rows and the `partitions` that lie on disk.

    A failure is final until its fingerprint changes, unless `retry_failed`. A vector whose file is gone is made again.
    """
    made = Plan()
    for item in items:
        content_id, wanted = item.content.content_id, fingerprint(item, spec)
        row = known.get(content_id)
        if row is None or row.fingerprint != wanted:
            made.pending.append(Pending(content_id, wanted))
        elif row.partition in partitions:
            made.fresh += 1
        elif row.partition is None and not retry_failed:
            made.failed += 1
        else:
            made.pending.append(Pending(content_id, wanted))
    return made
