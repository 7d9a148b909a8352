"""What a run has to do, found page by page, so that memory does not grow with the catalog."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

from embedders.ledger import Pending, Plan, plan
from feature_repo.catalog import Catalog
from feature_repo.catalog_rows import CatalogItem
from feature_repo.contracts import EmbeddingSpec

T = TypeVar("T")

_PAGE = 2000  # contents looked at together
_KEPT = 20_000  # contents to encode that are remembered; where there are more, a second walk finds them


@dataclass(slots=True)
class Tally:
    """How many contents have to be encoded, have their vector, and are known to be broken."""

    pending: int = 0
    fresh: int = 0
    failed: int = 0


@dataclass(slots=True)
class Planner:
    """Walks the catalog beside the ledger of one spec. `partitions` are those that lie on disk.

    A walk sees what is recorded meanwhile only of contents that it has not come to, so `tasks` may be recorded as they
    are done.
    """

    catalog: Catalog
    spec: EmbeddingSpec
    partitions: Set[str]
    retry_failed: bool = False
    ready: Callable[[CatalogItem], bool] = lambda item: True
    _found: list[Pending] | None = None  # by `tally`, None where they were too many

    def tally(self) -> Tally:
        """Count what there is to do."""
        made, self._found = Tally(), []
        for page in grouped(self.catalog.items(_PAGE), _PAGE):
            done = self._plan(page)
            made.pending += len(done.pending)
            if self._found is not None:
                self._found = [*self._found, *done.pending] if made.pending <= _KEPT else None
            made.fresh += done.fresh
            made.failed += done.failed
        return made

    def tasks(self, size: int) -> Iterator[Sequence[Pending]]:
        """What there is to do, ordered by id, in partitions of `size`."""
        if self._found is not None:
            return grouped(self._found, size)
        pages = grouped(self.catalog.items(_PAGE), _PAGE)
        return grouped((pending for page in pages for pending in self._plan(page).pending), size)

    def _plan(self, page: Sequence[CatalogItem]) -> Plan:
        ids = [item.content.content_id for item in page]
        known = self.catalog.ledger(self.spec.name, self.spec.digest, ids)
        return plan(page, known, self.partitions, self.spec, self.retry_failed, self.ready)


def grouped(source: Iterable[T], size: int) -> Iterator[list[T]]:
    """`source` in lists of `size`; the last may be shorter."""
    rest = iter(source)
    while some := list(islice(rest, size)):
        yield some
