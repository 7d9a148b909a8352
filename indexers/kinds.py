"""The kinds of FAISS index as data: a frozen config each, a table of them, and the choice by catalog size.

Similarity is the cosine, kept as the inner product of rows scaled to unit length. FAISS gives back -1 where
a graph walk or the probed lists hold too little; `exhaustive` is each kind's way to fill such rows.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from math import ceil, sqrt
from typing import Any, ClassVar

import faiss
import numpy as np
import numpy.typing as npt

from feature_repo.errors import ConfigurationError, InputError, unknown_name

Matrix = npt.NDArray[np.float32]
Positions = npt.NDArray[np.int64]

EXACT_BELOW = 50_000
"""A scan of 50,000 rows of 384 floats takes about 10 ms on one core and is never wrong, so nothing faster is needed."""
HNSW_BELOW = 1_000_000
"""HNSW answers fastest, but takes over a millisecond of a core for each row added and keeps all of it in memory."""
GPU_MAX_K = 2048
"""FAISS's GPU kernels select at most so many neighbours, or lists to probe, for one query (`GPU_MAX_SELECTION_K`)."""
POINTS_PER_LIST = 39
"""Fewest training rows a list that FAISS's k-means asks for (`ClusteringParameters.min_points_per_centroid`)."""


@dataclass(frozen=True)
class Kind(ABC):
    """A way to index. Fields are its parameters, whole numbers all; they are saved in the manifest."""

    name: ClassVar[str]
    mend: ClassVar[str]

    @property
    def gpu(self) -> bool:
        """Whether FAISS has a GPU form of this config."""
        return True

    @abstractmethod
    def empty(self, dim: int) -> Any:
        """A FAISS index of this kind for rows of `dim` floats, untrained and with no rows."""

    def sized(self, count: int) -> Kind:
        """The same config with whatever follows from the number of rows filled in."""
        return self

    def effort(self, rows: int, share: float) -> float:
        """How many rows compared one by one cost as much as a search by `among` in a `share` of `rows`."""
        return rows

    def among(self, selector: Any, share: float) -> Any:
        """FAISS's parameters of a search in the `share`, above 0, of rows that `selector` lets through (None: in all).

        They look at so many more rows that recall stays what it is in all of them.
        """
        return faiss.SearchParameters(sel=selector)  # type: ignore[call-arg]  # FAISS's stubs know its C++ alone

    def exhaustive(self, index: Any, queries: Matrix, k: int, selector: Any = None) -> tuple[Matrix, Positions]:
        """Scores and positions, both (q, k), of the k best of those rows: no shortcut, so no -1 while k <= rows."""
        found: tuple[Matrix, Positions] = index.search(queries, k, params=Kind.among(self, selector, 1.0))
        return found

    @property
    def params(self) -> dict[str, int]:
        """The fields, as the manifest has them."""
        return asdict(self)


@dataclass(frozen=True)
class Exact(Kind):
    """Every row is compared: recall 1 by construction."""

    name: ClassVar[str] = "exact"
    mend: ClassVar[str] = "an exact index misses nothing, so look at the build of FAISS in use"

    def empty(self, dim: int) -> Any:
        """A flat inner-product index."""
        return faiss.IndexFlatIP(dim)


@dataclass(frozen=True)
class HNSW(Kind):
    """Hierarchical navigable small world graph (Malkov and Yashunin, 2018). FAISS has no GPU form of it.

    Since FAISS 1.15 the graph is built in the order of ParlayANN (Manohar et al., 2024): the same for any number of
    threads, so equal rows give equal bytes.
    """

    m: int = 32
    ef_construction: int = 200
    ef_search: int = 128

    name: ClassVar[str] = "hnsw"
    mend: ClassVar[str] = "raise ef_search, e.g. --kind hnsw:ef_search=512"

    def __post_init__(self) -> None:
        _require("hnsw", "m", self.m, 2)
        _require("hnsw", "ef_construction", self.ef_construction, self.m)
        _require("hnsw", "ef_search", self.ef_search, 1)

    @property
    def gpu(self) -> bool:
        """Never; the graph is walked on the CPU."""
        return False

    def empty(self, dim: int) -> Any:
        """A graph over a flat index."""
        index = faiss.IndexHNSWFlat(dim, self.m, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = self.ef_construction
        index.hnsw.efSearch = self.ef_search
        return index

    def effort(self, rows: int, share: float) -> float:
        """Measured on 50,000 rows of 64 floats: a step of a walk takes as long as comparing some 16 rows in a row."""
        return 16 * self.ef_search / share

    def among(self, selector: Any, share: float) -> Any:
        """A longer walk of the graph; rows that are not let through are walked over and not found."""
        walk = ceil(self.ef_search / share)
        return faiss.SearchParametersHNSW(sel=selector, efSearch=walk)  # type: ignore[attr-defined]

    def exhaustive(self, index: Any, queries: Matrix, k: int, selector: Any = None) -> tuple[Matrix, Positions]:
        """Scan the flat index below the graph."""
        return super().exhaustive(faiss.downcast_index(index.storage), queries, k, selector)


@dataclass(frozen=True)
class IVF(Kind):
    """Inverted lists around k-means centroids (Sivic and Zisserman, 2003); `nlist` 0: from the number of rows."""

    nlist: int = 0
    nprobe: int = 64

    name: ClassVar[str] = "ivf"
    mend: ClassVar[str] = "raise nprobe, e.g. --kind ivf:nprobe=256"

    def __post_init__(self) -> None:
        _require("ivf", "nlist", self.nlist, 0)
        _require("ivf", "nprobe", self.nprobe, 1)

    @property
    def gpu(self) -> bool:
        """As long as the GPU can select the lists to probe."""
        return self.nprobe <= GPU_MAX_K

    def sized(self, count: int) -> IVF:
        """4 sqrt(rows) lists, as FAISS's guidelines have it, as long as each has rows enough to train on."""
        if self.nlist > max(count, 1):
            raise ConfigurationError(
                f"ivf: nlist {self.nlist} is more than the {count} vectors; lower it, or leave it 0 to have it derived"
            )
        nlist = self.nlist or max(1, min(round(4 * sqrt(count)), count // POINTS_PER_LIST))
        return replace(self, nlist=nlist, nprobe=min(self.nprobe, nlist))

    def empty(self, dim: int) -> Any:
        """Lists over a flat quantiser; k-means is spherical under the inner product and seeded by FAISS's constant."""
        index: Any = faiss.index_factory(dim, f"IVF{self.nlist},Flat", faiss.METRIC_INNER_PRODUCT)
        index.nprobe = self.nprobe
        index.cp.min_points_per_centroid = 1  # `sized` gives lists rows enough; of those a user names FAISS would warn
        return index

    def effort(self, rows: int, share: float) -> float:
        """The rows of the probed lists."""
        return rows * self.nprobe / self.nlist

    def among(self, selector: Any, share: float) -> Any:
        """The lists of more centroids."""
        lists = min(ceil(self.nprobe / share), self.nlist)
        return faiss.SearchParametersIVF(sel=selector, nprobe=lists)  # type: ignore[call-arg]

    def exhaustive(self, index: Any, queries: Matrix, k: int, selector: Any = None) -> tuple[Matrix, Positions]:
        """Probe every list."""
        everywhere = replace(self, nprobe=self.nlist).among(selector, 1.0)
        found: tuple[Matrix, Positions] = index.search(queries, k, params=everywhere)
        return found


KINDS: dict[str, type[Kind]] = {"exact": Exact, "hnsw": HNSW, "ivf": IVF}


def choose(count: int) -> Kind:
    """The kind for `count` vectors when nobody names one."""
    if count < EXACT_BELOW:
        return Exact()
    return HNSW() if count < HNSW_BELOW else IVF()


def make(name: str, params: Mapping[str, int]) -> Kind:
    """The config called `name`. Raises ConfigurationError for an unknown name, parameter or value."""
    if name not in KINDS:
        raise unknown_name("index kind", name, ["auto", *KINDS])
    kind = KINDS[name]
    valid = [field.name for field in fields(kind)]
    for param in params:
        if param not in valid:
            raise unknown_name(f"parameter of index kind {name}", param, valid)
    return kind(**params)


def parse(text: str, count: int) -> Kind:
    """A config from `auto`, `NAME` or `NAME:param=value,…` (`hnsw:ef_search=256`) for `count` vectors.

    Raises ConfigurationError where a name or value is wrong.
    """
    name, _, given = text.partition(":")
    if text == "auto":
        return choose(count).sized(count)
    params: dict[str, int] = {}
    for pair in filter(None, given.split(",")):
        param, _, value = pair.partition("=")
        try:
            params[param.strip()] = int(value)
        except ValueError:
            raise ConfigurationError(
                f"index kind {text!r}: {pair!r} is not NAME=WHOLE NUMBER; write e.g. hnsw:ef_search=256"
            ) from None
    return make(name, params).sized(count)


def unit_rows(matrix: Matrix, what: str, names: Sequence[str] | None = None) -> tuple[Matrix, npt.NDArray[np.bool_]]:
    """Rows of (n, d) scaled to length 1, and (n,) bool: False where a row is all zeros, has no direction and stays so.

    Raises InputError where a value is NaN or infinite; `what` names the matrix, and `names` its rows.
    """
    rows = np.ascontiguousarray(matrix, np.float32)
    # float64 for the lengths alone: squares of float32 values above 1e19 overflow
    lengths = np.sqrt(np.einsum("ij,ij->i", rows, rows, dtype=np.float64))
    bad = np.flatnonzero(~np.isfinite(lengths))
    if bad.size:
        first = f"row {bad[0]}" if names is None else repr(names[bad[0]])
        raise InputError(f"{what}: NaN or infinity in {bad.size} of {len(rows)} vectors, the first is {first}")
    present = lengths > 0
    unit = np.divide(rows, lengths[:, None], out=np.zeros_like(rows), where=present[:, None], casting="same_kind")
    return unit, present


def _require(kind: str, name: str, value: int, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ConfigurationError(f"{kind}: {name} must be a whole number of at least {least}, not {value!r}")
