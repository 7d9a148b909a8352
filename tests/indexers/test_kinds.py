"""Configs, their text form, and the choice by size."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from feature_repo.errors import ConfigurationError, InputError
from indexers import device
from indexers.kinds import EXACT_BELOW, HNSW, HNSW_BELOW, IVF, KINDS, Exact, Kind, choose, make, parse, unit_rows


@pytest.mark.parametrize(
    ("count", "name"),
    [
        (0, "exact"),
        (EXACT_BELOW - 1, "exact"),
        (EXACT_BELOW, "hnsw"),
        (HNSW_BELOW - 1, "hnsw"),
        (HNSW_BELOW, "ivf"),
        (10**8, "ivf"),
    ],
)
def test_the_size_chooses_the_kind(count: int, name: str) -> None:
    assert choose(count).name == parse("auto", count).name == name


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("exact", Exact()),
        ("hnsw", HNSW()),
        ("hnsw:ef_search=256,m=16", HNSW(m=16, ef_search=256)),
        ("ivf:nlist=20, nprobe=4", IVF(nlist=20, nprobe=4)),
    ],
)
def test_text_names_a_config(text: str, kind: Kind) -> None:
    assert parse(text, 1000) == kind


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("lsh", "unknown index kind 'lsh'; valid: auto, exact, hnsw, ivf"),
        ("", "unknown index kind ''"),
        ("hnsw:ef=3", "unknown parameter of index kind hnsw 'ef'; valid: ef_construction, ef_search, m"),
        ("exact:m=3", "unknown parameter of index kind exact 'm'"),
        ("hnsw:m", "'m' is not NAME=WHOLE NUMBER"),
        ("ivf:nprobe=many", "'nprobe=many' is not"),
        ("hnsw:m=1", "hnsw: m must be a whole number of at least 2, not 1"),
        ("hnsw:ef_construction=8", "ef_construction must be a whole number of at least 32, not 8"),
        ("ivf:nlist=-1", "nlist must be a whole number of at least 0"),
        ("ivf:nprobe=0", "nprobe must be a whole number of at least 1"),
        ("ivf:nlist=1001", "nlist 1001 is more than the 1000 vectors"),
    ],
)
def test_wrong_text_is_refused_with_the_valid_names(text: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        parse(text, 1000)


@pytest.mark.parametrize("value", [True, 2.5, "32", None])
def test_parameters_are_whole_numbers(value: object) -> None:
    with pytest.raises(ConfigurationError, match="must be a whole number"):
        HNSW(m=value)  # type: ignore[arg-type]


@pytest.mark.parametrize(("count", "nlist", "nprobe"), [(0, 1, 1), (100, 2, 2), (10_000, 256, 64), (10**6, 4000, 64)])
def test_lists_follow_the_number_of_rows(count: int, nlist: int, nprobe: int) -> None:
    assert IVF().sized(count) == IVF(nlist=nlist, nprobe=nprobe)


@pytest.mark.parametrize("name", KINDS)
def test_params_make_the_same_config_again(name: str) -> None:
    kind = KINDS[name]().sized(5000)
    assert make(name, kind.params) == kind
    assert kind.name == name
    with pytest.raises(dataclasses.FrozenInstanceError):
        kind.name = "other"  # type: ignore[misc]


def test_only_what_faiss_has_on_gpus_goes_there() -> None:
    assert Exact().gpu
    assert IVF().gpu
    assert not IVF(nprobe=2049).gpu
    assert not HNSW().gpu


def test_unit_rows_have_length_one_even_at_the_ends_of_float32() -> None:
    rows = np.array([[3, 4], [0, 0], [2e30, 0], [0, -3e-30]], np.float32)
    unit, present = unit_rows(rows, "test")
    np.testing.assert_allclose(unit, [[0.6, 0.8], [0.0, 0.0], [1.0, 0.0], [0.0, -1.0]], atol=1e-7)
    assert present.tolist() == [True, False, True, True]
    assert unit.dtype == np.float32


def test_unit_rows_name_what_is_not_a_number() -> None:
    rows = np.array([[1, 2], [np.nan, 0], [np.inf, 1]], np.float32)
    with pytest.raises(InputError, match="vectors: NaN or infinity in 2 of 3 vectors, the first is 'b'"):
        unit_rows(rows, "vectors", ["a", "b", "c"])


@pytest.mark.parametrize(("text", "rows"), [("ivf", 5), ("ivf:nlist=8", 60), ("ivf", 200)])
def test_few_rows_are_clustered_without_a_warning(text: str, rows: int, capfd: pytest.CaptureFixture[str]) -> None:
    unit, _ = unit_rows(np.random.default_rng(0).normal(size=(rows, 4)).astype(np.float32), "vectors")
    kind = parse(text, rows)
    index = device.build(kind, unit, "cpu")
    assert index.ntotal == rows
    assert capfd.readouterr() == ("", "")
