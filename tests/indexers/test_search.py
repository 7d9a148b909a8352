"""One behaviour for every kind of index."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from feature_repo.catalog import Catalog
from feature_repo.errors import InputError, NotFoundError, StateError
from feature_repo.settings import Settings
from indexers.build import build
from indexers.kinds import HNSW, IVF, KINDS, Exact, Kind, Matrix, unit_rows
from indexers.search import VectorIndex
from indexers.versions import INDEX_FILE, version_dir

Indexed = Callable[[Kind, Matrix], VectorIndex]
Clustered = Callable[..., Matrix]

EVERY_KIND = [pytest.param(kind(), id=name) for name, kind in KINDS.items()]
# configs whose own search leaves gaps: one list probed, a graph too thin to reach everything
GAPPY = [IVF(nlist=1, nprobe=1), IVF(nlist=8, nprobe=1), HNSW(m=2, ef_construction=2, ef_search=1), Exact()]


@pytest.fixture(params=EVERY_KIND)
def kind(request: pytest.FixtureRequest) -> Kind:
    value: Kind = request.param
    return value


@pytest.mark.parametrize("config", [*(k.values[0] for k in EVERY_KIND), *GAPPY], ids=repr)
@pytest.mark.parametrize("share", [0.005, 0.08, 0.4, 0.95])
def test_among_some_it_finds_the_best_of_those(indexed: Indexed, matrix: Matrix, config: Kind, share: float) -> None:
    rng = np.random.default_rng(3)
    allowed = rng.random(len(matrix)) < share
    allowed[0] = True
    index, queries = indexed(config, matrix), matrix[:20]
    unit, _ = unit_rows(matrix, "test")
    excluded = [[index.content_ids[0]]] * len(queries)
    found = index.search(queries, 10, exclude=excluded, allowed=allowed)
    allowed[0] = False
    best = np.sort(np.where(allowed, unit[:20] @ unit.T, -2.0), axis=1)[:, ::-1][:, :10]
    count = min(10, int(allowed.sum()))
    assert {len(row) for row in found} == {count}
    assert all(allowed[int(n.content_id[1:])] for row in found for n in row)
    # a graph or lists that lose contents lose them here as well
    hits = np.mean([[n.score >= row[count - 1] - 1e-5 for n in own] for own, row in zip(found, best, strict=True)])
    assert hits == 1 if config.name == "exact" else hits > (0.25 if config in GAPPY else 0.97)


@pytest.fixture(scope="module")
def matrix(clustered: Clustered) -> Matrix:
    return clustered(600)


@pytest.fixture
def index(kind: Kind, matrix: Matrix, indexed: Indexed) -> VectorIndex:
    return indexed(kind, matrix)


def cosines(queries: Matrix, matrix: Matrix) -> Matrix:
    return unit_rows(queries, "q")[0] @ unit_rows(matrix, "m")[0].T


def test_each_content_is_nearest_to_itself(index: VectorIndex, matrix: Matrix) -> None:
    found = index.search(matrix, 1)
    assert [row[0].content_id for row in found] == index.content_ids
    assert all(row[0].score == pytest.approx(1.0, abs=1e-6) for row in found)


def test_scores_are_cosines_and_neighbours_are_the_nearest(index: VectorIndex, matrix: Matrix) -> None:
    queries = matrix[:100] + np.float32(0.05)
    truth = cosines(queries, matrix)
    hits = 0
    for row, expected in zip(index.search(queries, 10), truth, strict=True):
        where = [index.content_ids.index(n.content_id) for n in row]
        scores = [n.score for n in row]
        np.testing.assert_allclose(scores, expected[where], atol=1e-5)
        assert scores == sorted(scores, reverse=True)
        assert -1.0 <= min(scores) <= max(scores) <= 1.0
        hits += len(set(where) & set(np.argsort(-expected)[:10].tolist()))
    assert hits / 1000 >= 0.95


def test_opposite_vectors_score_minus_one(kind: Kind, indexed: Indexed) -> None:
    pair = np.array([[3, 4], [-6, -8]], np.float32)
    (row,) = indexed(kind, pair).search(pair[:1], 2)
    assert [n.score for n in row] == pytest.approx([1.0, -1.0])


def test_k_above_the_size_gives_everything_once(index: VectorIndex, matrix: Matrix) -> None:
    (row,) = index.search(matrix[:1], len(matrix) + 50)
    assert sorted(n.content_id for n in row) == index.content_ids


def test_an_empty_index_finds_nothing(kind: Kind, indexed: Indexed) -> None:
    index = indexed(kind, np.empty((0, 4), np.float32))
    assert index.search(np.ones((2, 4), np.float32), 3) == [[], []]
    positions, scores = index.nearest(np.ones((2, 4), np.float32), 3)
    assert positions.shape == scores.shape == (2, 0)
    assert len(index) == 0
    assert index.similar([], 3) == []


def test_no_queries_give_no_rows(index: VectorIndex) -> None:
    assert index.search(np.empty((0, 16), np.float32), 3) == []


def test_excluded_contents_are_left_out_and_made_up_for(index: VectorIndex, matrix: Matrix) -> None:
    plain = index.search(matrix[:2], 8)
    without = [plain[0][0].content_id, plain[0][3].content_id, "unknown"]
    first, second = index.search(matrix[:2], 6, exclude=[without, []])
    assert first == [n for n in plain[0] if n.content_id not in without][:6]
    assert second == plain[1][:6]


def test_everything_excluded_leaves_nothing(index: VectorIndex, matrix: Matrix) -> None:
    assert index.search(matrix[:1], 5, exclude=[index.content_ids]) == [[]]


def test_similar_leaves_out_the_content_itself_unless_told(index: VectorIndex) -> None:
    content_id = index.content_ids[7]
    (others,) = index.similar([content_id], 5)
    assert len(others) == 5
    assert content_id not in {n.content_id for n in others}
    (with_self,) = index.similar([content_id], 6, exclude_self=False)
    assert with_self[0].content_id == content_id
    assert with_self[1:] == others


def test_similar_names_the_unknown_contents(index: VectorIndex) -> None:
    with pytest.raises(NotFoundError, match=r"'nobody', 'gone'"):
        index.similar(["nobody", index.content_ids[0], "gone"], 3)


def test_vectors_of_gives_unit_vectors_and_says_which_are_missing(index: VectorIndex, matrix: Matrix) -> None:
    found, present = index.vectors_of([index.content_ids[3], "unknown", index.content_ids[0]])
    assert present.tolist() == [True, False, True]
    np.testing.assert_allclose(found[[0, 2]], unit_rows(matrix[[3, 0]], "m")[0], atol=1e-6)
    assert not found[1].any()
    assert index.content_ids[3] in index
    assert "unknown" not in index


def test_around_a_vector_of_length_one_is_what_a_search_finds(index: VectorIndex, matrix: Matrix) -> None:
    own = index.vector_of(index.content_ids[3])
    assert own is not None
    np.testing.assert_array_equal(own, index.vectors_of([index.content_ids[3]])[0][0])
    assert index.vector_of("unknown") is None
    allowed, without = np.arange(len(index)) % 2 == 0, (index.content_ids[3], index.content_ids[4], "unknown")
    for direction, plain in ((own, matrix[3:4]), (index.unit(matrix[5:6])[0], matrix[5:6])):
        assert index.around(direction, 8) == index.search(plain, 8)[0]
        assert index.around(direction, 8, without, allowed) == index.search(plain, 8, [without], allowed)[0]


@pytest.mark.parametrize("k", [0, -1])
def test_k_must_be_positive(index: VectorIndex, matrix: Matrix, k: int) -> None:
    with pytest.raises(InputError, match=f"k must be at least 1, not {k}"):
        index.search(matrix[:1], k, exclude=[index.content_ids[:3]])
    with pytest.raises(InputError, match="k must be at least 1"):
        index.nearest(matrix[:1], k)


@pytest.mark.parametrize(
    ("vectors", "said"),
    [
        (np.ones((1, 15), np.float32), r"shape \(queries, 16\).* not \(1, 15\)"),
        (np.ones(16, np.float32), r"not \(16,\)"),
        (np.array([[1.0] * 16, [np.nan] * 16], np.float32), "NaN or infinity in 1 of 2 vectors, the first is row 1"),
        (np.full((1, 16), np.inf, np.float32), "NaN or infinity"),
        (np.zeros((1, 16), np.float32), "row 0 is all zeros"),
    ],
    ids=["dim", "one row", "nan", "infinite", "zero"],
)
def test_vectors_that_cannot_be_searched_with_are_refused(index: VectorIndex, vectors: Matrix, said: str) -> None:
    with pytest.raises(InputError, match=said):
        index.search(vectors, 3)


def test_exclude_must_match_the_queries(index: VectorIndex, matrix: Matrix) -> None:
    with pytest.raises(InputError, match="exclude has 1 entries for 2 vectors"):
        index.search(matrix[:2], 3, exclude=[[]])


@given(
    kind=st.sampled_from(GAPPY),
    rows=st.integers(8, 80),
    k=st.integers(1, 100),
    banned=st.integers(0, 90),
    seed=st.integers(0, 5),
)
@hypothesis_settings(max_examples=80, deadline=None)
def test_no_gap_ever_reaches_a_caller(
    indexed: Indexed, clustered: Clustered, kind: Kind, rows: int, k: int, banned: int, seed: int
) -> None:
    matrix = clustered(rows, dim=4, seed=seed)
    index = indexed(kind, matrix)
    without = index.content_ids[:banned]
    for row in index.search(matrix[:5], k, exclude=[without] * 5):
        found = [n.content_id for n in row]
        assert len(found) == len(set(found)) == min(k, max(rows - banned, 0))
        assert set(found) <= set(index.content_ids) - set(without)
    positions, scores = index.nearest(matrix[:5], k)
    assert positions.min() >= 0
    assert np.isfinite(scores).all()


def test_threads_may_share_an_index(index: VectorIndex, matrix: Matrix) -> None:
    expected = index.search(matrix, 5)
    with ThreadPoolExecutor(8) as pool:
        rows = pool.map(lambda n: index.search(matrix[n : n + 1], 5)[0], range(len(matrix)))
        for got, alone in zip(rows, expected, strict=True):
            assert [n.content_id for n in got] == [n.content_id for n in alone]
            np.testing.assert_allclose([n.score for n in got], [n.score for n in alone], atol=1e-6)


def test_a_loaded_index_answers_as_the_one_in_memory(
    kind: Kind, matrix: Matrix, indexed: Indexed, settings: Settings, catalog: Catalog, embed: Callable[[Matrix], None]
) -> None:
    embed(matrix)
    manifest = build(settings, catalog, "toy", kind)
    loaded, memory = VectorIndex.load(settings, "toy"), indexed(kind, matrix)
    assert loaded.manifest == manifest
    assert loaded.content_ids == memory.content_ids
    assert loaded.search(matrix[:50], 10) == memory.search(matrix[:50], 10)
    assert np.array_equal(loaded.vectors_of(["c00003"])[0], memory.vectors_of(["c00003"])[0])


def test_loading_says_what_is_missing(
    settings: Settings, catalog: Catalog, matrix: Matrix, embed: Callable[[Matrix], None]
) -> None:
    with pytest.raises(StateError, match="run `larder index toy`"):
        VectorIndex.load(settings, "toy")
    embed(matrix)
    manifest = build(settings, catalog, "toy")
    for wrong in ("0123", "../toy", "."):
        with pytest.raises(NotFoundError, match=f"published: {manifest.version}"):
            VectorIndex.load(settings, "toy", version=wrong)


def test_a_flipped_byte_is_refused(
    kind: Kind, matrix: Matrix, settings: Settings, catalog: Catalog, embed: Callable[[Matrix], None]
) -> None:
    embed(matrix)
    manifest = build(settings, catalog, "toy", kind)
    path = version_dir(settings, "toy", manifest.version) / INDEX_FILE
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(StateError, match=r"index\.faiss is not the file that was published: build it again"):
        VectorIndex.load(settings, "toy")
