"""The GPU gives the CPU's answers where there is one; without one the CPU does the work and says so once."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

import faiss
import numpy as np
import pytest

from indexers import device
from indexers.kinds import GPU_MAX_K, HNSW, IVF, Exact, Kind, Matrix, unit_rows

Clustered = Callable[..., Matrix]

no_gpu = pytest.mark.skipif(not device.gpu_count(), reason="needs faiss-gpu (`larder[gpu]`) and a GPU")


@pytest.fixture
def fresh_process() -> Iterator[None]:
    """As if FAISS had not been used yet."""
    device._resources.cache_clear()
    yield
    device._resources.cache_clear()


@pytest.mark.skipif(device.gpu_count() > 0, reason="a GPU is in use here")
@pytest.mark.usefixtures("fresh_process")
def test_without_a_gpu_the_cpu_works_and_says_so_once(clustered: Clustered, caplog: pytest.LogCaptureFixture) -> None:
    unit, _ = unit_rows(clustered(200), "test")
    with caplog.at_level(logging.INFO, logger="indexers.device"):
        for wanted in ("auto", "cuda"):
            index = device.build(Exact(), unit, wanted)
            _, positions = device.Searcher(Exact(), index, wanted).search(unit[:3], 1)
            assert positions[:, 0].tolist() == [0, 1, 2]
    assert len(caplog.messages) == 1
    assert caplog.messages[0].startswith("FAISS works on the CPU: ")


@pytest.mark.usefixtures("fresh_process")
def test_the_cpu_can_be_asked_for(clustered: Clustered, caplog: pytest.LogCaptureFixture) -> None:
    unit, _ = unit_rows(clustered(50), "test")
    with caplog.at_level(logging.INFO, logger="indexers.device"):
        device.Searcher(Exact(), device.build(Exact(), unit, "cpu"), "cpu")
        device.Searcher(HNSW(), device.build(HNSW(), unit, "auto"), "auto")
    assert caplog.messages == []


@pytest.mark.parametrize("kind", [Exact(), HNSW(), IVF(nlist=8, nprobe=8)])
def test_equal_rows_give_equal_bytes_whatever_the_threads(kind: Kind, clustered: Clustered) -> None:
    unit, _ = unit_rows(clustered(1500), "test")
    before = faiss.omp_get_max_threads()
    built = []
    try:
        for threads in (1, 4, 4):
            faiss.omp_set_num_threads(threads)
            built.append(faiss.serialize_index(device.build(kind, unit, "cpu")).tobytes())
    finally:
        faiss.omp_set_num_threads(before)
    assert built[0] == built[1] == built[2]


@no_gpu
@pytest.mark.parametrize("kind", [Exact(), IVF(nlist=32, nprobe=8)])
def test_the_gpu_gives_the_answers_of_the_cpu(kind: Kind, clustered: Clustered) -> None:
    unit, _ = unit_rows(clustered(5000), "test")
    index = device.build(kind, unit, "cuda")
    on_gpu = device.Searcher(kind, index, "cuda").search(unit[:200], 10)
    on_cpu = device.Searcher(kind, index, "cpu").search(unit[:200], 10)
    np.testing.assert_allclose(on_gpu[0], on_cpu[0], atol=1e-5)
    assert (on_gpu[1] == on_cpu[1]).mean() > 0.99


@no_gpu
def test_more_neighbours_than_a_gpu_selects_come_from_the_cpu(clustered: Clustered) -> None:
    unit, _ = unit_rows(clustered(GPU_MAX_K + 100), "test")
    index = device.build(Exact(), unit, "cuda")
    _, positions = device.Searcher(Exact(), index, "cuda").search(unit[:1], len(unit))
    assert sorted(positions[0].tolist()) == list(range(len(unit)))
