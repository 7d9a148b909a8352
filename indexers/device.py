"""Where FAISS works: on a GPU where the build of FAISS and the machine have one (the `gpu` extra), else on the CPU.

What is saved is always the CPU form, so an index built on either is served on either. Plain FAISS has no HNSW for
GPUs; that kind stays on the CPU.
"""

from __future__ import annotations

import logging
from functools import cache
from threading import Lock
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt

from indexers.kinds import GPU_MAX_K, Kind, Matrix, Positions

log = logging.getLogger(__name__)

Mask = npt.NDArray[np.bool_]


def gpu_count() -> int:
    """GPUs that FAISS can use; 0 with the CPU build, which lacks the GPU names altogether."""
    return int(faiss.get_num_gpus()) if hasattr(faiss, "StandardGpuResources") else 0


@cache
def _resources() -> Any | None:
    """The process's GPU scratch memory and streams, or None where there is no GPU; said once."""
    if gpu_count():
        log.info("FAISS works on GPU 0 of %d", gpu_count())
        return faiss.StandardGpuResources()
    able = hasattr(faiss, "StandardGpuResources")
    why = "no GPU is visible" if able else "faiss-cpu is installed, not the `gpu` extra"
    log.info("FAISS works on the CPU: %s", why)
    return None


def _resident(kind: Kind, index: Any, device: str) -> Any | None:
    """A copy of `index` on the GPU, or None where it stays on the CPU."""
    if device == "cpu" or not kind.gpu:
        return None
    resources = _resources()
    return None if resources is None else faiss.index_cpu_to_gpu(resources, 0, index)


def build(kind: Kind, unit: Matrix, device: str = "auto") -> Any:
    """Train an index of `kind` on `unit`, (n, dim) float32 rows of length 1, and add them; gives its CPU form.

    `device` is `auto`, `cuda` (both: the GPU where there is one) or `cpu`.
    """
    index = kind.empty(unit.shape[1])
    if not len(unit):
        return index
    resident = _resident(kind, index, device)
    at_work = index if resident is None else resident
    at_work.train(unit)
    at_work.add(unit)
    return index if resident is None else faiss.index_gpu_to_cpu(resident)


class Searcher:
    """A built index, searched where it runs fastest. Safe to share between threads."""

    def __init__(self, kind: Kind, index: Any, device: str = "auto") -> None:
        """`index` is the CPU form, as `build` gives it."""
        self._kind = kind
        self._index = index
        self._resident = _resident(kind, index, device) if index.ntotal else None
        # FAISS's CPU indexes may be read by many threads at once; its GPU resources may not.
        self._gpu = Lock()

    def search(self, queries: Matrix, k: int, allowed: Mask | None = None) -> tuple[Matrix, Positions]:
        """Scores and positions, both (q, k), best first, of the rows that `allowed`, (rows,) bool, marks, or of all.

        No -1 while `k` is at most the number of those: a query whose probed lists or graph walk give fewer than `k`
        is compared with every one of them. GPUs take no part in a search among some.
        """
        if allowed is not None:
            return self._among(queries, k, allowed)
        if self._resident is None or k > GPU_MAX_K:
            scores, positions = self._index.search(queries, k)
        else:
            with self._gpu:
                scores, positions = self._resident.search(queries, k)
        return self._filled(queries, k, scores, positions)

    def _among(self, queries: Matrix, k: int, allowed: Mask) -> tuple[Matrix, Positions]:
        bits: Any = np.packbits(allowed, bitorder="little")
        selector = faiss.IDSelectorBitmap(bits)  # type: ignore[call-arg]  # FAISS's stubs know its C++ alone
        count = int(np.count_nonzero(allowed))
        share = count / len(allowed)
        if count <= self._kind.effort(len(allowed), share):
            return self._kind.exhaustive(self._index, queries, k, selector)
        scores, positions = self._index.search(queries, k, params=self._kind.among(selector, share))
        return self._filled(queries, k, scores, positions, selector)

    def _filled(
        self, queries: Matrix, k: int, scores: Matrix, positions: Positions, selector: Any = None
    ) -> tuple[Matrix, Positions]:
        """What was found, rows with fewer than `k` by a search without shortcuts."""
        short = positions[:, -1] < 0  # FAISS puts what it found first
        if short.any():
            scores[short], positions[short] = self._kind.exhaustive(self._index, queries[short], k, selector)
        return scores, positions
