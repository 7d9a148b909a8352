"""Embeddings made of another one's vectors: those are read from the store, and no medium is decoded for them.

Such a spec names the other embedding in its option `base`. Imports no torch.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from threading import Lock

from embedders.fingerprint import fingerprint
from embedders.specs import resolve_spec
from feature_repo.catalog import Catalog
from feature_repo.catalog_rows import CatalogItem, LedgerRow
from feature_repo.contracts import EmbeddingSpec
from feature_repo.errors import MediaError, StateError
from feature_repo.settings import Settings
from feature_repo.vectors import Matrix, read_partition, vectors_dir

_PAGE = 500  # ledger rows
_PARTITIONS = 16  # contents that came or changed later lie in partitions of their own, between the others' ids


class BaseVectors:
    """The vectors that the store holds under `spec`, by content; safe to share between threads.

    Asked in the order of ids it reads each partition about once. It keeps a page of the ledger and a few partitions.
    """

    def __init__(self, spec: EmbeddingSpec, settings: Settings, catalog: Catalog) -> None:
        self.spec = spec
        self._catalog = catalog
        self._folder = vectors_dir(settings, spec.name, spec.digest)
        self._lock = Lock()
        self._page: dict[str, LedgerRow] = {}
        self._partitions: OrderedDict[str, tuple[dict[str, int], Matrix]] = OrderedDict()

    def has(self, item: CatalogItem) -> bool:
        """Whether `vector` would give one."""
        with self._lock:
            return not isinstance(self._place(item), MediaError)

    def vector(self, item: CatalogItem) -> Matrix:
        """(dim,) float32. Raises MediaError where there is none that is up to date, StateError without its file."""
        with self._lock:
            place = self._place(item)
            if isinstance(place, MediaError):
                raise place
            rows, matrix = self._partition(place)
            vector: Matrix = matrix[rows[item.content.content_id]].copy()
            return vector

    def _place(self, item: CatalogItem) -> str | MediaError:
        """The partition where the content's vector lies, or why there is none."""
        name, row = self.spec.name, self._row(item.content.content_id)
        if row is None:
            return MediaError(f"no {name} vector: not embedded yet, run `larder embed {name}`")
        if row.fingerprint != fingerprint(item, self.spec):
            return MediaError(f"no {name} vector: out of date, run `larder embed {name}`")
        return row.partition or MediaError(f"no {name} vector: {row.reason}")

    def _row(self, content_id: str) -> LedgerRow | None:
        if content_id in self._page:
            return self._page[content_id]
        # The database may order ids otherwise than Python does, so a gap in the page proves nothing.
        gap = bool(self._page) and min(self._page) < content_id < max(self._page)
        rows = self._catalog.ledger_page(self.spec.name, self.spec.digest, content_id, 1 if gap else _PAGE)
        found = {row.content_id: row for row in rows}
        if not gap:
            self._page = found
        return found.get(content_id)

    def _partition(self, name: str) -> tuple[dict[str, int], Matrix]:
        if name not in self._partitions:
            path = self._folder / f"{name}.parquet"
            try:
                content_ids, matrix = read_partition(path, self.spec.name)
            except FileNotFoundError as error:
                raise StateError(f"{path} is gone: run `larder embed {self.spec.name}`, then this again") from error
            self._partitions[name] = dict(zip(content_ids, range(len(content_ids)), strict=True)), matrix
            if len(self._partitions) > _PARTITIONS:
                self._partitions.popitem(last=False)
        self._partitions.move_to_end(name)
        return self._partitions[name]


def readiness(spec: EmbeddingSpec, settings: Settings, catalog: Catalog) -> Callable[[CatalogItem], bool]:
    """Whether a content has what `spec` makes its vector of: true but for embeddings with a base."""
    if "base" not in spec.options:
        return lambda item: True
    return BaseVectors(resolve_spec(str(spec.options["base"]), settings), settings, catalog).has
