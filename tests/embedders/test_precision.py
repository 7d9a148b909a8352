from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from embedders import precision
from embedders.base import load_embedder
from embedders.lower import Int8Linear
from embedders.precision import SAMPLE, kept_choice, load_settled, mean_cosine, settle
from embedders.runner import run
from embedders.specs import resolve_spec
from feature_repo.catalog import Catalog
from feature_repo.catalog_rows import CatalogItem
from feature_repo.contracts import Content
from feature_repo.errors import ConfigurationError
from feature_repo.settings import Settings, load_settings
from feature_repo.vectors import read_vectors
from tests.embedders import tiny
from tests.embedders.behaviour import item, texts

HAS_BFLOAT16 = precision.multiplies_bfloat16("cpu")


def asked(tmp_path: Path, what: str, **more: object) -> Settings:
    return load_settings(home=tmp_path / "home", precision=what, device="cpu", **more)


@pytest.mark.parametrize(("what", "least"), [("bfloat16", 0.999), ("int8", 0.99)])
def test_a_precision_that_passes_is_used_and_remembered(what: str, least: float, tmp_path: Path) -> None:
    settings = asked(tmp_path, what)
    plain = load_embedder("minilm", settings)
    contents = texts(tmp_path)
    (embedder,) = load_settled("minilm", settings, contents)
    choice = kept_choice(settings, plain.spec)
    assert choice is not None
    assert (choice.asked, choice.precision, choice.note) == (what, what, None)
    decoded = [plain.decode(content) for content in contents]
    quick, exact = embedder.encode(decoded), plain.encode(decoded)
    assert quick.dtype == np.float32
    assert not np.array_equal(quick, exact)
    assert least <= mean_cosine(quick, exact) < 1
    assert choice.cosine == pytest.approx(mean_cosine(quick, exact), abs=1e-4)


def test_one_that_differs_too_much_is_not_used_and_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(precision.LEAST_COSINE, "bfloat16", 0.9999999)
    settings = asked(tmp_path, "bfloat16")
    with caplog.at_level(logging.WARNING):
        (embedder,) = load_settled("minilm", settings, texts(tmp_path))
    choice = kept_choice(settings, embedder.spec)
    assert choice is not None
    assert choice.precision == "float32"
    assert choice.note is not None
    assert choice.note.startswith("bfloat16 gives vectors at cosine 0.9")
    assert f"minilm: {choice.note}" in caplog.text
    decoded = [embedder.decode(content) for content in texts(tmp_path)]
    assert np.array_equal(embedder.encode(decoded), load_embedder("minilm", settings).encode(decoded))


def test_the_choice_of_a_killed_run_is_kept(tmp_path: Path) -> None:
    settings = asked(tmp_path, "bfloat16")
    embedder = load_embedder("minilm", settings)
    first = settle(embedder, settings, texts(tmp_path))
    assert settle(embedder, settings, []) == first  # nothing is decoded for it
    exact = settings.model_copy(update={"precision": "float32"})
    assert settle(embedder, exact, []).precision == "float32"
    assert settle(embedder, settings, []).note is not None  # what is asked for now is not what was kept


def test_what_a_killed_run_was_writing_is_removed(tmp_path: Path) -> None:
    settings = asked(tmp_path, "float32")
    embedder = load_embedder("minilm", settings)
    settle(embedder, settings, [])
    left = settings.embeddings_dir / "minilm" / ".writing-999999999-.x.precision.json.d"
    left.mkdir()
    settle(embedder, settings, [])
    assert not left.exists()


def test_broken_contents_are_passed_over_in_the_check(tmp_path: Path) -> None:
    embedder = load_embedder("minilm", asked(tmp_path, "bfloat16"))
    broken: list[CatalogItem] = [item("a", " ")] * (2 * SAMPLE)
    assert settle(embedder, asked(tmp_path, "bfloat16"), [*broken, *texts(tmp_path)]).precision == "bfloat16"


def test_without_a_form_of_that_precision_it_stays_with_float32(tmp_path: Path) -> None:
    settings = asked(tmp_path, "int8")
    embedder = load_embedder("efficientnet_lite0", settings)
    choice = settle(embedder, settings, [])
    assert (choice.precision, choice.note) == ("float32", "it has no int8 form on this device; float32 is used")


def test_auto_is_bfloat16_where_the_processor_has_it(tmp_path: Path) -> None:
    settings = asked(tmp_path, "auto")
    choice = settle(load_embedder("minilm", settings), settings, texts(tmp_path))
    assert choice.precision == ("bfloat16" if HAS_BFLOAT16 else "float32")


def test_only_int8_vectors_are_other_vectors(tmp_path: Path) -> None:
    def digest(name: str, what: str) -> str:
        return resolve_spec(name, asked(tmp_path, what)).digest

    assert digest("minilm", "auto") == digest("minilm", "bfloat16") == digest("minilm", "float32")
    assert digest("minilm", "int8") != digest("minilm", "auto")
    assert digest("efficientnet_lite0", "int8") == digest("efficientnet_lite0", "auto")


@pytest.mark.parametrize("name", ["vit", "clip_image", "clip_text", "efficientnet_lite0", "bert"])
def test_every_net_has_the_forms_that_it_names(name: str, tmp_path: Path) -> None:
    case = tiny.CASES[name]
    (tmp_path / "model").mkdir()
    settings = load_settings(home=tmp_path, models=case.model(tmp_path / "model"), tokens={name: 4}, device="cpu")
    embedder = load_embedder(case.spec, settings)
    decoded = [embedder.decode(content) for content in case.items(tmp_path)]
    vectors, tokens = embedder.encode_tokens(decoded)
    for what in set(embedder.precisions) - {"float32", "compile"}:
        lowered = embedder.at(what)
        quick, states = lowered.encode_tokens(decoded)
        assert quick.dtype == states.dtype == np.float32
        assert not np.array_equal(quick, vectors)
        assert mean_cosine(quick, vectors) > 0.98
        assert mean_cosine(states.reshape(len(states), -1), tokens.reshape(len(tokens), -1)) > 0.98
        assert np.array_equal(embedder.encode_tokens(decoded)[0], vectors)  # the other one is untouched


def test_an_8_bit_layer_gives_a_row_the_same_in_any_batch() -> None:
    torch.manual_seed(0)
    layer = nn.Linear(48, 32)
    rows = torch.randn(7, 3, 48) * torch.logspace(-3, 3, 7)[:, None, None]
    with torch.inference_mode():
        exact, quick = layer(rows), Int8Linear(layer)(rows)
        alone = torch.cat([Int8Linear(layer)(row[None]) for row in rows])
        assert torch.equal(quick, alone)
        assert ((quick - exact).norm(dim=-1) / exact.norm(dim=-1)).max() < 0.02
        assert torch.isfinite(Int8Linear(layer)(torch.zeros(2, 48))).all()


def test_compile_without_a_compiler_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    settings = asked(tmp_path, "compile")
    with pytest.raises(ConfigurationError, match=r"LARDER_PRECISION.*needs a C\+\+ compiler"):
        settle(load_embedder("minilm", settings), settings, texts(tmp_path))


def test_a_run_says_what_it_computed_in(posts: list[Content], catalog: Catalog, tmp_path: Path) -> None:
    vectors = {}
    for what in ("float32", "int8"):
        settings = asked(tmp_path, what)
        report = run("minilm", settings, catalog)
        assert (report.encoded, report.precision, report.note) == (10, what, None)
        assert report.bottleneck in ("read", "decode", "encode", "write")
        catalog.register_embedding(resolve_spec("minilm", settings))
        vectors[what] = read_vectors(settings, catalog, "minilm").matrix
    assert 0.99 < mean_cosine(vectors["int8"], vectors["float32"]) < 1
    again = run("minilm", asked(tmp_path, "int8"), catalog)
    assert (again.encoded, again.fresh, again.bottleneck) == (0, 10, None)
