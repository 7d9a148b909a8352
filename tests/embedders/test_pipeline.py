from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from embedders.base import Decoded, Embedder, Matrix, load_embedder
from embedders.ledger import Pending
from embedders.pipeline import Pipeline, Stages, Task, evenly, joined
from embedders.precision import load_settled
from embedders.runner import PartitionWorker
from embedders.specs import SPECS
from feature_repo.catalog import Catalog
from feature_repo.catalog_rows import CatalogItem
from feature_repo.contracts import Content
from feature_repo.errors import MediaError
from feature_repo.settings import Settings, load_settings
from predictors.torch_fit import cpu_threads

NAMES = [f"c{n}" for n in range(10)]


class Slow(Embedder):
    """Vectors of titles' lengths; decoding and encoding take as long as they are told."""

    def __init__(self, decode_s: float = 0.0, encode_s: float = 0.0) -> None:
        self.spec = SPECS["minilm"]
        self.window = 2
        self._decode_s, self._encode_s = decode_s, encode_s
        self.threads: set[str] = set()

    def decode(self, item: CatalogItem) -> Decoded:
        time.sleep(self._decode_s)
        if item.content.content_id == "c4":
            raise MediaError("broken: by design")
        return np.array([int(item.content.content_id[1:])])

    def encode(self, decoded: Sequence[Decoded]) -> Matrix:
        self.threads.add(threading.current_thread().name)
        time.sleep(self._encode_s)
        return np.repeat(np.stack(decoded), self.spec.dim, 1).astype(np.float32)


def tasks(size: int) -> list[Task]:
    return [[Pending(name, f"f{name}") for name in NAMES[n : n + size]] for n in range(0, len(NAMES), size)]


def rows_of(embedders: Sequence[Embedder], catalog: Catalog, line: list[Task], stages: Stages) -> list[list[float]]:
    pipeline = Pipeline(embedders, catalog, 2, stages)
    try:
        return [joined(partition, embedders[0])[0][:, 0].tolist() for partition in pipeline.run(line)]
    finally:
        pipeline.close()


@pytest.mark.parametrize("lanes", [1, 2, 3])
def test_partitions_come_out_in_order_however_many_lanes(lanes: int, posts: list[Content], catalog: Catalog) -> None:
    embedders = [Slow(encode_s=0.002 * (1 + n)) for n in range(lanes)]
    found = rows_of(embedders, catalog, tasks(3), Stages())
    assert found == [[0, 1, 2], [3, 5], [6, 7, 8], [9]]
    assert all(embedder.threads for embedder in embedders)


@pytest.mark.parametrize(("lanes", "at_once"), [(1, 2), (2, 2), (1, 4)])
def test_windows_are_encoded_at_once_and_stay_in_order(
    lanes: int, at_once: int, posts: list[Content], catalog: Catalog
) -> None:
    meeting = threading.Barrier(2, timeout=10)

    class Together(Slow):
        def encode(self, decoded: Sequence[Decoded]) -> Matrix:
            if int(decoded[0][0]) < 2:  # the first two windows: neither ends before the other has begun
                meeting.wait()
            return super().encode(decoded)

    pipeline = Pipeline([Together() for _ in range(lanes)], catalog, 2, Stages(), at_once=at_once)
    with closing(pipeline), closing(pipeline.run([tasks(10)[0]])) as made:
        [found] = [joined(partition, Slow())[0][:, 0].tolist() for partition in made]
    assert found == [0, 1, 2, 3, 5, 6, 7, 8, 9]


@given(st.lists(st.integers(), max_size=60), st.integers(1, 20), st.integers(1, 4))
def test_windows_are_of_like_size_and_as_many_for_each_lane(items: list[int], most: int, at_once: int) -> None:
    parts = list(evenly(items, most, at_once))
    assert [item for part in parts for item in part] == items
    sizes = [len(part) for part in parts]
    assert max(sizes) <= most
    assert max(sizes) - min(sizes) <= 1
    assert len(parts) % at_once == 0 or sizes == [1] * len(items) or parts == [[]]
    assert len(parts) < max(1, -(-len(items) // most)) + at_once


def test_a_worker_shares_the_cores_among_its_batches_while_it_works(catalog: Catalog, settings: Settings) -> None:
    with cpu_threads(6):
        with PartitionWorker(Slow(), settings.model_copy(update={"device": "cpu"}), catalog, stages := Stages()):
            assert (torch.get_num_threads(), stages.lanes) == (1, 4)
        assert torch.get_num_threads() == 6


def test_two_lanes_write_what_one_writes(posts: list[Content], catalog: Catalog, tmp_path: Path) -> None:
    files = []
    for lanes in (1, 2):
        settings = load_settings(home=tmp_path / str(lanes), device="cpu", precision="float32")
        embedders = [load_embedder("minilm", settings) for _ in range(lanes)]
        with PartitionWorker(embedders, settings, catalog, Stages()) as worker:
            recorded = [row.content_id for rows in worker.run(tasks(4)) for row in rows]
        assert recorded == NAMES
        files.append({path.name: path.read_bytes() for path in settings.embeddings_dir.rglob("*.parquet")})
    assert files[0] == files[1]
    assert len(files[0]) == 3


def test_the_encoder_does_not_wait_at_borders_where_decoding_is_quicker(posts: list[Content], catalog: Catalog) -> None:
    stages = Stages()
    rows_of([Slow(decode_s=0.002, encode_s=0.03)], catalog, tasks(2), stages)
    assert stages.seconds["encode"] >= 5 * 0.03
    assert stages.seconds["decode"] + stages.seconds["read"] < 0.4 * stages.seconds["encode"]
    assert stages.bottleneck() == "encode"


def test_the_slowest_stage_is_named(posts: list[Content], catalog: Catalog) -> None:
    stages = Stages()
    rows_of([Slow(decode_s=0.02)], catalog, tasks(5), stages)
    assert stages.bottleneck() == "decode"
    assert Stages({"encode": 3.0, "write": 1.0, "record": 2.5}).bottleneck() == "write"
    assert Stages({"encode": 3.0, "write": 1.0, "record": 1.5}, lanes=2).bottleneck() == "write"
    assert Stages({"plan": 9.0}).bottleneck() is None


def test_an_error_of_a_lane_comes_after_what_was_done_before_it(posts: list[Content], catalog: Catalog) -> None:
    class Failing(Slow):
        def encode(self, decoded: Sequence[Decoded]) -> Matrix:
            if int(decoded[0][0]) >= 6:
                raise RuntimeError("device lost")
            return super().encode(decoded)

    before = threading.active_count()
    pipeline = Pipeline([Failing()], catalog, 2, Stages())
    taken: list[int] = []
    with pytest.raises(RuntimeError, match="device lost"):
        taken.extend(len(partition.items) for partition in pipeline.run(tasks(3)))
    pipeline.close()
    assert taken == [3, 3]
    assert threading.active_count() == before


def test_leaving_early_ends_the_threads(posts: list[Content], catalog: Catalog) -> None:
    before = threading.active_count()
    pipeline = Pipeline([Slow(), Slow()], catalog, 2, Stages())
    with closing(pipeline.run(tasks(1))) as made:
        assert next(made).task[0].content_id == "c0"
    pipeline.close()
    assert threading.active_count() == before


def test_contents_that_have_left_the_catalog_are_left_out(posts: list[Content], catalog: Catalog) -> None:
    gone: Task = [Pending("x", "f"), Pending("c1", "f"), Pending("y", "f")]
    assert rows_of([Slow()], catalog, [gone, [Pending("z", "f")]], Stages()) == [[1], []]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU")
@pytest.mark.parametrize("name", ["efficientnet_lite0", "minilm"])
def test_every_gpu_gives_the_vectors_of_the_cpu(
    name: str, posts: list[Content], settings: Settings, catalog: Catalog
) -> None:
    items = list(catalog.items())
    plain = load_embedder(name, settings.model_copy(update={"device": "cpu"}))
    decoded = [plain.decode(one) for one in items]
    lanes = load_settled(name, settings.model_copy(update={"device": "cuda", "precision": "bfloat16"}), items)
    assert len(lanes) == torch.cuda.device_count()
    for lane in lanes:
        cosines = (lane.encode(decoded) * plain.encode(decoded)).sum(1)
        assert cosines.mean() > 0.999
