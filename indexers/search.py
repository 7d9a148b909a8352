"""A published index, loaded: nearest contents by cosine."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import faiss
import numpy as np
import numpy.typing as npt

from feature_repo.errors import InputError, NotFoundError, StateError
from feature_repo.settings import Settings
from indexers import versions
from indexers.device import Mask, Searcher
from indexers.kinds import Matrix, Positions, make, unit_rows
from indexers.versions import IDS_FILE, INDEX_FILE, IndexManifest

Vector = npt.NDArray[np.float32]


class Neighbour(NamedTuple):
    """A content near a query; `score` is their cosine, -1 to 1."""

    content_id: str
    score: float


class VectorIndex:
    """One version in memory. Nothing in it changes, so threads may share it."""

    def __init__(self, manifest: IndexManifest, content_ids: list[str], index: Any, device: str = "auto") -> None:
        """`index` is the FAISS index in its CPU form, its rows as in `content_ids`."""
        self.manifest = manifest
        self.content_ids = content_ids
        self._index = index
        self._positions = {content_id: position for position, content_id in enumerate(content_ids)}
        self._searcher = Searcher(make(manifest.kind, manifest.params), index, device)
        if manifest.kind == "ivf" and content_ids:
            index.make_direct_map()  # `reconstruct` finds rows inside the lists through it

    @classmethod
    def load(cls, settings: Settings, embedding: str, version: str = "current") -> VectorIndex:
        """Read a published version, its digests verified.

        Raises StateError where none is published or it is damaged, NotFoundError for an unknown version.
        """
        manifest = versions.resolve(settings, embedding, version)
        folder = versions.version_dir(settings, embedding, manifest.version)
        try:
            # mapped, so that all processes of a machine share one copy
            index = faiss.read_index(str(folder / INDEX_FILE), faiss.IO_FLAG_MMAP_IFC)
        except RuntimeError as error:
            raise StateError(
                f"FAISS {faiss.__version__} cannot read {folder / INDEX_FILE}, written by FAISS {manifest.faiss}: "
                "install that version, or build the index again with `larder index`"
            ) from error
        content_ids = json.loads((folder / IDS_FILE).read_bytes())
        return cls(manifest, content_ids, index, settings.device)

    def __len__(self) -> int:
        return len(self.content_ids)

    def __contains__(self, content_id: object) -> bool:
        return content_id in self._positions

    def nearest(self, vectors: Matrix, k: int) -> tuple[Positions, Matrix]:
        """Positions in `content_ids`, int64, and cosines, float32, both (q, min(k, size)), best first.

        `vectors` is (q, dim). Raises InputError for another shape, NaN, a zero vector or k < 1.
        """
        scores, positions = self._nearest(self._queries(vectors, k), k)
        return positions, np.clip(scores, -1.0, 1.0)

    def search(
        self,
        vectors: Matrix,
        k: int,
        exclude: Sequence[Sequence[str]] | None = None,
        allowed: Mask | None = None,
    ) -> list[list[Neighbour]]:
        """The `k` nearest contents of each row of `vectors`, (q, dim), best first; fewer only where there are no more.

        `exclude` has the content ids to leave out, a sequence for each row; unknown ones do no harm. `allowed`, (n,)
        bool along `content_ids`, marks those that may be found. Raises InputError for another shape, NaN, a zero
        vector, k < 1, or an `exclude` of another length.
        """
        queries = self._queries(vectors, k)
        if exclude is None:
            exclude = [()] * len(queries)
        elif len(exclude) != len(queries):
            raise InputError(f"exclude has {len(exclude)} entries for {len(queries)} vectors; give one for each")
        return self._without(queries, k, [self._known(ids) for ids in exclude], allowed)

    def around(
        self, direction: Vector, k: int, without: Collection[str] = (), allowed: Mask | None = None
    ) -> list[Neighbour]:
        """The same for one vector, (dim,) float32, of length 1, which is taken as it is: one of this index's own, or a
        row of `unit`. Most of a request for some neighbours would go into looking at it.
        """
        return self._without(direction[np.newaxis], k, [self._known(without)], allowed)[0]

    def similar(self, content_ids: Sequence[str], k: int, exclude_self: bool = True) -> list[list[Neighbour]]:
        """The `k` nearest contents of each named one. Raises NotFoundError naming those that are not in the index."""
        matrix, present = self.vectors_of(content_ids)
        if not present.all():
            unknown = [c for c, there in zip(content_ids, present, strict=True) if not there]
            raise NotFoundError(
                f"not in the index of {self.manifest.embedding!r}: {', '.join(map(repr, unknown))}; embed them with "
                f"`larder embed {self.manifest.embedding}` and build the index again with `larder index`"
            )
        return self.search(matrix, k, [[c] for c in content_ids] if exclude_self else None)

    def vectors_of(self, content_ids: Sequence[str]) -> tuple[Matrix, npt.NDArray[np.bool_]]:
        """The unit vectors of contents, (n, dim) float32, zeros where (n,) bool says that one is not in the index."""
        places = np.array([self._positions.get(c, -1) for c in content_ids], np.int64)
        present = places >= 0
        if len(places) and present.all():
            return self._index.reconstruct_batch(places), present
        matrix = np.zeros((len(places), self.manifest.dim), np.float32)
        if present.any():
            matrix[present] = self._index.reconstruct_batch(places[present])
        return matrix, present

    def vector_of(self, content_id: str) -> Vector | None:
        """The unit vector of a content, (dim,) float32; None where it is not in the index."""
        position = self._positions.get(content_id)
        return None if position is None else self._index.reconstruct(position)

    def _queries(self, vectors: Matrix, k: int) -> Matrix:
        """`vectors` as unit rows, once they and `k` have been checked."""
        if k < 1:
            raise InputError(f"k must be at least 1, not {k}")
        return self.unit(vectors)

    def unit(self, vectors: Matrix) -> Matrix:
        """The rows of (q, dim), each of length 1. Raises InputError for another shape, NaN or a zero vector."""
        shape = np.shape(vectors)
        if len(shape) != 2 or shape[1] != self.manifest.dim:
            wanted = f"(queries, {self.manifest.dim}), as {self.manifest.embedding!r} gives them"
            raise InputError(f"vectors must have the shape {wanted}, not {shape}")
        queries, present = unit_rows(vectors, "vectors")
        if not present.all():
            raise InputError(f"vectors: row {int(np.argmin(present))} is all zeros and has no direction to search in")
        return queries

    def _known(self, content_ids: Collection[str]) -> set[int]:
        """Positions of those that the index has."""
        return {self._positions[c] for c in content_ids if c in self._positions}

    def _without(
        self, queries: Matrix, k: int, banned: Sequence[set[int]], allowed: Mask | None
    ) -> list[list[Neighbour]]:
        """The `k` nearest of each unit row that are not banned."""
        scores, positions = self._nearest(queries, k + max(map(len, banned), default=0), allowed)
        return [
            [
                Neighbour(self.content_ids[position], min(max(score, -1.0), 1.0))
                for position, score in zip(found, cosines, strict=True)
                if position not in without
            ][:k]
            for found, cosines, without in zip(positions.tolist(), scores.tolist(), banned, strict=True)
        ]

    def _nearest(self, queries: Matrix, k: int, allowed: Mask | None = None) -> tuple[Matrix, Positions]:
        """Scores and positions; sums of float32 may pass 1 by a rounding."""
        k = min(k, len(self) if allowed is None else int(np.count_nonzero(allowed)))
        if not k or not len(queries):
            return np.empty((len(queries), k), np.float32), np.empty((len(queries), k), np.int64)
        return self._searcher.search(queries, k, allowed)
