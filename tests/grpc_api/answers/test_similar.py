"""Similar: several contents, several embeddings, filters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import faiss
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_repo.errors import DeadlineError, InputError, NotFoundError
from grpc_api.answers.blend import Part, blended
from grpc_api.calls import Call
from grpc_api.messages.filters import AnyOf, Filter, NoneOf, NumberRange
from grpc_api.messages.similar import ByContent, ByContents, ByText, ByVector, Query, SimilarQuery
from grpc_api.service import ScoringService
from indexers.kinds import unit_rows
from indexers.search import VectorIndex
from indexers.versions import IndexManifest
from predictors.loaded import LoadedRelease
from tests.grpc_api.parts import IDS, WITHOUT_VECTOR, YEAR, angle

Ids = list[str]
Find = Callable[..., Ids]


@pytest.fixture
def find(service: ScoringService, call: Call) -> Find:
    """Ids of the neighbours of a query."""

    def found(query: Query, *filters: Filter, k: int = 20, embeddings: tuple[tuple[str, float], ...] = ()) -> Ids:
        answer = service.similar(SimilarQuery(query, embeddings, k, filters), call)
        return [neighbour.content_id for neighbour in answer.neighbours]

    return found


FILTERS: list[tuple[Filter, Callable[[int], bool]]] = [
    (Filter("creator", AnyOf(("odd",))), lambda n: n % 2 == 1),
    (Filter("language", NoneOf(("en",))), lambda n: n % 3 == 1),
    (Filter("tags", AnyOf(("t3", "t8", "t99"))), lambda n: n in (3, 8)),
    (Filter("tags", NoneOf(("t3",))), lambda n: n not in (0, 3)),  # c00 has no tags at all
    (Filter("published_year", NumberRange(YEAR + 2, YEAR + 6)), lambda n: 2 <= n < 6),
    (Filter("published_at", NumberRange()), lambda n: True),
    (Filter("duration_s", NumberRange(None, 80.0)), lambda n: n < 8 and n != 7),
    (Filter("duration_s", NumberRange(float("inf"), None)), lambda n: False),
]


@given(st.sets(st.integers(0, len(FILTERS) - 1)), st.integers(1, 12))
def test_k_neighbours_wherever_so_many_meet_all_filters(built: LoadedRelease, chosen: set[int], k: int) -> None:
    from grpc_api.messages.describe import Limits

    service, said = ScoringService(built, Limits()), [FILTERS[number] for number in chosen]
    query = SimilarQuery(ByContent("c00"), k=k, filters=tuple(one for one, _ in said))
    answer = service.similar(query, Call("test"))
    meeting = [IDS[n] for n in range(1, len(IDS) - 1) if all(meets(n) for _, meets in said)]  # c11 has no vector
    assert [neighbour.content_id for neighbour in answer.neighbours] == meeting[:k]


def test_what_is_near_to_several_contents(find: Find) -> None:
    assert find(ByContents(("c02", "c06")), k=1) == ["c04"]
    assert set(find(ByContents(("c02", "c06"), include_self=True))) == set(IDS[:-1])
    assert not {"c02", "c06"} & set(find(ByContents(("c02", "c06"))))


def test_of_several_contents_the_one_that_is_not_there_is_named(find: Find) -> None:
    with pytest.raises(NotFoundError, match=f"contents: .*'{WITHOUT_VECTOR}'"):
        find(ByContents(("c01", WITHOUT_VECTOR)))


def test_contents_that_cancel_out_are_near_nothing(service: ScoringService, release: LoadedRelease, call: Call) -> None:
    opposite = index_of("tiny", np.stack([angle(0), angle(18)]), ["c00", "c01"])
    service.release = replace(release, indexes={**release.indexes, "tiny": opposite})
    with pytest.raises(InputError, match=r"contents: .*cancel out"):
        service.similar(SimilarQuery(ByContents(("c00", "c01"))), call)


def test_a_weight_says_how_much_an_embedding_counts(service: ScoringService, call: Call) -> None:
    answer = service.similar(SimilarQuery(ByContent("c00"), (("tiny", 3.0), ("deaf", 1.0)), 2), call)
    assert [(one.embedding, one.weight) for one in answer.indexes] == [("tiny", 0.75), ("deaf", 0.25)]
    # both embeddings of the small release hold the same vectors, so their blend is either
    assert [one.score for one in answer.neighbours] == pytest.approx(np.cos(np.radians([10, 20])), abs=1e-5)


@pytest.mark.parametrize(
    ("query", "said"),
    [
        (SimilarQuery(ByContents(())), "contents.ids: is empty"),
        (SimilarQuery(ByContents(("c01", ""))), "contents.ids: number 1 is empty"),
        (SimilarQuery(ByContent("c01"), (("tiny", 0.0),)), r"embeddings\[0\].weight: 0.0 is no number above 0"),
        (SimilarQuery(ByContent("c01"), (("tiny", float("nan")),)), r"embeddings\[0\].weight: nan"),
        (SimilarQuery(ByContent("c01"), (("tiny", float("inf")),)), r"embeddings\[0\].weight: inf"),
        (SimilarQuery(ByContent("c01"), (("tiny", 1.0), ("tiny", 1.0))), "embeddings: names one twice"),
        (SimilarQuery(ByContent("c01"), (("", 1.0),)), r"embeddings\[0\].name: is empty"),
        (SimilarQuery(ByText("1"), (("tiny", 1.0), ("deaf", 1.0))), "embeddings: 'deaf' cannot be searched by text"),
        (SimilarQuery(ByVector(angle(1)), (("tiny", 1.0), ("deaf", 1.0))), "embeddings: name the one embedding"),
    ],
)
def test_refusals_name_the_field(service: ScoringService, call: Call, query: SimilarQuery, said: str) -> None:
    with pytest.raises(InputError, match=said):
        service.similar(query, call)


@pytest.mark.parametrize(
    ("one", "said"),
    [
        (Filter("colour", AnyOf(("red",))), r"filters\[0\].field: 'colour' is no fact .* there are: creator, language"),
        (Filter("language", None), r"filters\[0\]: give one of"),
        (Filter("language", AnyOf(())), r"filters\[0\]: names no texts"),
        (Filter("language", NumberRange(1.0)), r"filters\[0\]: language is a text"),
        (Filter("duration_s", NoneOf(("10",))), r"filters\[0\]: duration_s is a number"),
        (Filter("duration_s", NumberRange(float("nan"))), r"filters\[0\].range: has an end that is no number"),
        (Filter("duration_s", NumberRange(60.0, 10.0)), r"filters\[0\].range: holds nothing, as 60 is not below 10"),
        (Filter("duration_s", NumberRange(60.0, 60.0)), r"filters\[0\].range: holds nothing"),
    ],
)
def test_a_filter_that_makes_no_sense_is_refused(find: Find, one: Filter, said: str) -> None:
    with pytest.raises(InputError, match=said):
        find(ByContent("c00"), one)


def test_too_many_filters_are_refused(find: Find) -> None:
    with pytest.raises(InputError, match="filters: 33 are more than"):
        find(ByContent("c00"), *[FILTERS[0][0]] * 33)


def index_of(embedding: str, matrix: np.ndarray, ids: Ids) -> VectorIndex:
    """An exact index in memory."""
    unit, _ = unit_rows(matrix, "test")
    index = faiss.IndexFlatIP(unit.shape[1])
    index.add(unit)
    zeros = {"count": len(ids), "skipped": 0, "recall_k": 10, "recall_sample": 0, "seed": 0}
    manifest = IndexManifest(
        embedding, "", "v", "exact", {}, "cosine", dim=unit.shape[1], recall=1.0, faiss="", files={}, **zeros
    )
    return VectorIndex(manifest, ids, index, "cpu")


@given(seed=st.integers(0, 2**32 - 1), k=st.integers(1, 30), sizes=st.tuples(st.integers(1, 300), st.integers(1, 300)))
def test_a_blend_is_the_best_of_all_contents(seed: int, k: int, sizes: tuple[int, int]) -> None:
    """Two indexes over overlapping contents; what an index lacks has cosine 0 there."""
    rng = np.random.default_rng(seed)
    ids = [f"c{n:03}" for n in range(330)]
    pick = [sorted(rng.choice(330, size, replace=False).tolist()) for size in sizes]
    matrices = [rng.normal(size=(size, 4)).astype(np.float32) for size in sizes]
    weights, vectors = (0.3, 0.7), [unit_rows(rng.normal(size=(1, 4)).astype(np.float32), "q")[0][0] for _ in sizes]
    parts = [
        Part(index_of(name, matrix, [ids[n] for n in rows]), weight, vector)
        for name, matrix, rows, weight, vector in zip(("a", "b"), matrices, pick, weights, vectors, strict=True)
    ]
    without = {ids[pick[0][0]]}
    allowed = {name: np.array(rows) % 3 > 0 for name, rows in zip(("a", "b"), pick, strict=True)}
    truth: dict[str, float] = {}
    for matrix, rows, weight, vector in zip(matrices, pick, weights, vectors, strict=True):
        cosines = matrix @ vector / np.linalg.norm(matrix, axis=1)
        for n, cosine in zip(rows, cosines.tolist(), strict=True):
            if n % 3 and ids[n] not in without:
                truth[ids[n]] = truth.get(ids[n], 0.0) + weight * cosine
    found = blended(parts, k, without, allowed, Call("test"))
    assert [n.score for n in found] == pytest.approx(sorted(truth.values(), reverse=True)[:k], abs=1e-5)
    assert [n.score for n in found] == pytest.approx([truth[n.content_id] for n in found], abs=1e-5)


def test_a_blend_stops_when_nobody_waits() -> None:
    matrix, ids = np.random.default_rng(0).normal(size=(900, 16)).astype(np.float32), [f"c{n}" for n in range(900)]
    # What is near by the one is far by the other: the search has to go deeper
    query = unit_rows(matrix, "q")[0][0]
    parts = [Part(index_of(name, sign * matrix, ids), 0.5, query) for name, sign in (("a", 1), ("b", -1))]
    with pytest.raises(DeadlineError):
        blended(parts, 20, (), None, Call("test", gone=True))
