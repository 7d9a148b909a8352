from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch

from embedders import aligned as module
from embedders.aligned import AlignedEmbedder, Heads, build_heads
from embedders.aligned_specs import ALIGNED
from embedders.base import load_embedder
from embedders.contrastive import ContrastConfig
from embedders.fitted import FittedVersion, current, load_weights, publish
from embedders.runner import run
from embedders.specs import resolve_spec
from embedders.train_aligned import AlignConfig, fit_aligned
from feature_repo.catalog import Catalog
from feature_repo.contracts import Content
from feature_repo.errors import ConfigurationError, StateError
from feature_repo.settings import Settings, load_settings
from feature_repo.vectors import read_vectors
from tests.embedders.aligned import posts_without_files, store, store_twins, twin_vectors
from tests.embedders.behaviour import NOON

QUICK = AlignConfig(dim=16, contrast=ContrastConfig(epochs=1))


@pytest.fixture
def settings(tmp_path: Path, small_bases: dict[str, str]) -> Settings:
    return load_settings(home=tmp_path / "home", models=small_bases, device="cpu", precision="float32")


def with_models(settings: Settings, **models: str) -> Settings:
    return settings.model_copy(update={"models": models})


def refit(settings: Settings, change: float) -> FittedVersion:
    """Publish the heads that are there, a little changed."""
    before = current(settings, ALIGNED)
    assert before is not None
    weights = {name: value + np.float32(change) for name, value in load_weights(before).items()}
    return publish(settings, ALIGNED, weights, before.facts)


@pytest.fixture
def fitted(settings: Settings, catalog: Catalog) -> list[str]:
    """Ids of 60 contents with base vectors, the heads fitted on them."""
    ids = posts_without_files(catalog, 60)
    store_twins(settings, catalog, ids)
    fit_aligned(settings, catalog, ids[:10], QUICK)
    return ids


def test_siglips_loss_is_the_papers() -> None:
    """The pseudocode of https://arxiv.org/abs/2303.15343, algorithm 1."""
    torch.manual_seed(0)
    images, texts = (torch.nn.functional.normalize(torch.randn(5, 4), dim=-1) for _ in range(2))
    heads = Heads(3, 3, 4)
    total = 0.0
    for i in range(5):
        for j in range(5):
            logit = 10 * float(images[i] @ texts[j]) - 10
            total += np.log1p(np.exp(-logit if i == j else logit))
    assert float(heads.loss(images, texts).detach()) == pytest.approx(total / 5, rel=1e-5)


def test_noise_and_dropout_are_of_training_alone() -> None:
    heads = Heads(6, 6, 4, noise=0.5, dropout=0.5)
    seen = torch.randn(3, 6)
    assert not torch.equal(heads.train().image_vectors(seen), heads.image_vectors(seen))
    assert torch.equal(heads.eval().image_vectors(seen), heads.image_vectors(seen))


def test_vectors_come_from_the_store_and_texts_find_pictures(
    fitted: list[str], settings: Settings, catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(name: str, settings: Settings) -> None:
        raise AssertionError(f"{name} was loaded")

    monkeypatch.setattr(module, "load_embedder", refuse)
    for name in ("aligned_image", "aligned_text"):
        report = run(name, settings, catalog)
        assert (report.encoded, report.failed) == (60, {})
        assert (run(name, settings, catalog).encoded, run(name, settings, catalog).fresh) == (0, 60)
    images, texts = (read_vectors(settings, catalog, name) for name in ("aligned_image", "aligned_text"))
    assert images.content_ids == texts.content_ids == fitted
    nearest = (texts.matrix[:10] @ images.matrix[:10].T).argmax(1)
    assert (nearest == np.arange(10)).mean() >= 0.7  # contents that were not trained on


def test_contents_without_a_base_vector_fail_until_there_is_one(
    fitted: list[str], settings: Settings, catalog: Catalog
) -> None:
    catalog.upsert_contents([Content("c000", "changed", NOON), Content("d", "new", NOON)], "posts")
    assert run("aligned_text", settings, catalog).failed == {"no bert vector": 2}
    ledger = catalog.ledger("aligned_text", resolve_spec("aligned_text", settings).digest)
    assert ledger["c000"].reason == "no bert vector: out of date, run `larder embed bert`"
    assert ledger["d"].reason == "no bert vector: not embedded yet, run `larder embed bert`"
    still = run("aligned_text", settings, catalog)
    assert (still.encoded, still.fresh, still.skipped, still.failed) == (0, 59, 2, {})
    vectors = twin_vectors(2, seed=7).texts
    store(settings, catalog, "bert", {"c000": vectors[0], "d": vectors[1]})
    then = run("aligned_text", settings, catalog)
    assert (then.encoded, then.fresh, then.failed) == (2, 59, {})
    assert run("aligned_text", settings, catalog).fresh == 61


def test_other_heads_and_other_bases_are_other_specs(fitted: list[str], settings: Settings, catalog: Catalog) -> None:
    before = {name: resolve_spec(name, settings) for name in ("aligned_image", "aligned_text")}
    assert before["aligned_image"].weights != before["aligned_text"].weights
    assert before["aligned_image"].dim == before["aligned_text"].dim == 16
    tokens = settings.model_copy(update={"tokens": {"bert": 4}})
    assert resolve_spec("aligned_text", tokens).digest == before["aligned_text"].digest
    refit(settings, 0.25)
    after = {name: resolve_spec(name, settings) for name in before}
    assert all(after[name].digest != before[name].digest for name in before)
    other = with_models(settings, **{**settings.models, "aligned": "vit+minilm"})
    with pytest.raises(ConfigurationError, match=r"fitted over other models .*`larder train aligned`"):
        resolve_spec("aligned_text", other)


def test_a_fit_in_between_is_noticed(fitted: list[str], settings: Settings) -> None:
    spec = resolve_spec("aligned_text", settings)
    refit(settings, 0.25)
    with pytest.raises(StateError, match="fitted again meanwhile"):
        AlignedEmbedder(spec, settings)


def test_queries_go_through_the_bases_encoders(fitted: list[str], settings: Settings, png: bytes) -> None:
    """Each encoder is loaded at its first query and kept; both specs take both kinds."""
    embedder = load_embedder("aligned_image", settings)
    assert isinstance(embedder, AlignedEmbedder)
    assert not embedder._encoders
    version = current(settings, ALIGNED)
    assert version is not None
    heads = build_heads(load_weights(version))
    asked: Mapping[str, tuple[np.ndarray, np.ndarray, torch.nn.Module]] = {
        "text": (embedder.embed_text("tea"), load_embedder("bert", settings).embed_text("tea"), heads.text),
        "image": (
            embedder.embed_image(png),
            load_embedder("vit", settings).embed_image(png),
            heads.image,
        ),
    }
    for found, base, head in asked.values():
        assert np.allclose(found, head(torch.from_numpy(base)[None]).detach()[0], atol=1e-6)
    kept = dict(embedder._encoders)
    embedder.embed_text("a train")
    assert embedder._encoders == kept


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("minilm", r"aligned=minilm: write the names of two embeddings, aligned=IMAGE\+TEXT"),
        ("efficientnet_lite0+aligned_text", "write the names of two embeddings"),
        ("minilm+efficientnet_lite0", "minilm is no embedding of images that a query can use"),
        ("efficientnet_lite0+captions", "captions is no embedding of texts"),
        ("efficientnet_lite0+word2vec", "unknown embedding 'word2vec'"),
        ("efficientnet_lite0+minilm", "aligned is not fitted yet: run `larder train aligned`"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: Settings, said: str, reason: str) -> None:
    with pytest.raises(ConfigurationError, match=reason):
        resolve_spec("aligned_image", with_models(settings, aligned=said))
