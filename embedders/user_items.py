"""Items as the user models read them: their vectors from the store side by side, and rows of a table of ids."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from feature_repo.catalog import Catalog
from feature_repo.errors import StateError
from feature_repo.settings import Settings
from feature_repo.vectors import Vectors, read_vectors

Matrix = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

_PREFIX = "input."  # of the arrays that are kept beside the net's


@dataclass(frozen=True, slots=True)
class ItemInputs:
    """What `fit` learned of the training items, and of every item its vectors.

    `mean` and `scale` (numbers,) standardise the vectors side by side; `seen` (ids,) are the hashes of the ids that
    training has met, ascending.
    """

    sources: Sequence[Vectors]
    mean: Matrix
    scale: Matrix
    seen: Rows
    buckets: int

    @classmethod
    def fit(cls, sources: Sequence[Vectors], content_ids: Sequence[str], buckets: int) -> ItemInputs:
        """Take the statistics of these contents, and of no other. Raises StateError where none has a vector."""
        known = [rows[rows >= 0] for rows in (_places(source, content_ids) for source in sources)]
        for source, rows in zip(sources, known, strict=True):
            if not len(rows):
                raise StateError(f"no content that users met has a {source.embedding} vector: run `larder embed`")
        blocks = [source.matrix[rows] for source, rows in zip(sources, known, strict=True)]
        deviation = np.concatenate([block.std(0) for block in blocks])
        scale = np.where(deviation > 0, 1 / np.where(deviation > 0, deviation, 1), 0)
        mean = np.concatenate([block.mean(0) for block in blocks])
        return cls(sources, mean, scale.astype(np.float32), np.unique(id_hashes(content_ids)), buckets)

    @classmethod
    def load(cls, sources: Sequence[Vectors], weights: Mapping[str, npt.NDArray[Any]], buckets: int) -> ItemInputs:
        """From what `weights` gave."""
        mean, scale, seen = (weights[_PREFIX + name] for name in ("mean", "scale", "seen"))
        return cls(sources, mean, scale, seen, buckets)

    def weights(self) -> dict[str, npt.NDArray[Any]]:
        """The fitted arrays by name, to be kept with the net's."""
        return {_PREFIX + name: getattr(self, name) for name in ("mean", "scale", "seen")}

    @property
    def width(self) -> int:
        """How many numbers `features` gives for an item."""
        return len(self.mean) + len(self.sources)

    def features(self, content_ids: Sequence[str]) -> Matrix:
        """Standardised vectors side by side, zeros where there is none; then per embedding 1 where there is none."""
        found = np.zeros((len(content_ids), self.width), np.float32)
        at = 0
        for number, source in enumerate(self.sources):
            rows = _places(source, content_ids)
            part = slice(at, at + source.matrix.shape[1])
            has = np.flatnonzero(rows >= 0)
            found[has, part] = (source.matrix[rows[has]] - self.mean[part]) * self.scale[part]
            found[:, len(self.mean) + number] = rows < 0
            at = part.stop
        return found

    def knows(self, content_ids: Sequence[str]) -> Mask:
        """Items that have a vector, or an id that training has met, (n,): all others look alike."""
        vectors = [_places(source, content_ids) >= 0 for source in self.sources]
        known: Mask = np.logical_or.reduce([self.rows(content_ids) > 0, *vectors])
        return known

    def rows(self, content_ids: Sequence[str]) -> Rows:
        """Rows of the id table, (n,): 0 for an id that training has not met."""
        hashes = id_hashes(content_ids)
        place = np.minimum(np.searchsorted(self.seen, hashes), len(self.seen) - 1)
        return np.where(self.seen[place] == hashes, 1 + hashes % self.buckets, 0)


def read_sources(settings: Settings, catalog: Catalog, digests: Mapping[str, str | None]) -> list[Vectors]:
    """Vectors of the named embeddings, of the specs that are named too. Raises StateError where they are others.

    Always in the order of their names: a net that was fitted on the one must not be shown the other in its place.
    """
    found = [read_vectors(settings, catalog, name) for name in sorted(digests)]
    for source in found:
        wanted = digests[source.embedding]
        if wanted is not None and wanted != source.spec_digest:
            raise StateError(
                f"the contents' {source.embedding} vectors are others than the user model was fitted on "
                f"({source.spec_digest}, not {wanted}): fit it again with `larder train user_sequence`"
            )
    return found


def id_hashes(content_ids: Sequence[str]) -> Rows:
    """A number of 63 bits for each id, the same everywhere, (n,) int64."""
    digests = b"".join(hashlib.blake2b(content_id.encode(), digest_size=8).digest() for content_id in content_ids)
    return np.frombuffer(digests, "<i8") & np.int64(2**63 - 1)


def _places(source: Vectors, content_ids: Sequence[str]) -> Rows:
    """Of each content the row of its vector, -1 where there is none; a source's ids are ascending."""
    place = {content_id: row for row, content_id in enumerate(source.content_ids)}
    return np.array([place.get(content_id, -1) for content_id in content_ids], np.int64)
