from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from embedders import train_aligned as module
from embedders.aligned_specs import ALIGNED
from embedders.contrastive import ContrastConfig, evaluate
from embedders.fitted import current, encoder_dir, load_weights
from embedders.pairs import Pairs
from embedders.train_aligned import AlignConfig, fit_aligned, fit_heads
from feature_repo.catalog import Catalog
from feature_repo.errors import InputError
from feature_repo.settings import Settings, load_settings
from tests.embedders.aligned import posts_without_files, store, store_twins, twin_vectors

CPU = torch.device("cpu")
QUICK = AlignConfig(dim=16, contrast=ContrastConfig(epochs=1, batch=32))
ROWS = np.arange(120)
TRAIN, CHECK, HELD = ROWS[:80], ROWS[80:100], ROWS[100:]


@pytest.fixture
def settings(tmp_path: Path, small_bases: dict[str, str]) -> Settings:
    return load_settings(home=tmp_path / "home", models=small_bases, device="cpu", precision="float32")


def start(monkeypatch: pytest.MonkeyPatch, ridges: tuple[float, float]) -> AlignConfig:
    """A fit that is its start: one pair of ridges, no epoch."""
    monkeypatch.setattr(module, "RIDGES", (ridges,))
    return replace(QUICK, contrast=ContrastConfig(epochs=0))


def test_texts_find_pictures_that_were_not_seen() -> None:
    pairs = twin_vectors(len(ROWS), (40, 24), captions=3)
    fit = fit_heads(pairs, TRAIN, CHECK, QUICK, CPU)
    found = evaluate(fit.heads, pairs, HELD, CPU)
    assert found["text to image R@1"] > 0.6  # chance: 0.05
    assert found["image to text R@5"] > 0.9
    assert fit.ridges in module.RIDGES
    assert fit.training.scores[fit.training.epoch] == max(fit.training.scores)


def test_the_start_is_that_of_canonical_correlations(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without ridges both sides have, over the training pairs, no correlation but of each direction with its twin."""
    pairs = twin_vectors(300, (20, 10))
    rows = np.arange(300)
    heads = fit_heads(pairs, rows[:290], rows[290:], start(monkeypatch, (1e-9, 1e-9)), CPU).heads
    sides = []
    for head, vectors in ((heads.image, pairs.images), (heads.text, pairs.texts)):
        scaled = (torch.from_numpy(vectors[:290]) - head.mean) / head.scale
        assert float(scaled.var(0, correction=0).mean()) == pytest.approx(1, abs=1e-4)
        sides.append(np.asarray(head.projection(scaled).detach(), np.float64))
    both = np.asarray(np.corrcoef(np.concatenate(sides, 1).T))
    count = sides[0].shape[1]
    assert count == 10
    assert np.abs(both[:count, :count] - np.eye(count)).max() < 1e-3
    across = both[:count, count:]
    assert np.abs(across - np.diag(np.diag(across))).max() < 1e-3
    assert (np.diff(np.diag(across)) < 0).all()


def test_the_start_does_not_depend_on_validation(monkeypatch: pytest.MonkeyPatch) -> None:
    config = start(monkeypatch, (1.0, 1.0))
    pairs = twin_vectors(len(ROWS), (20, 10), captions=2)
    images, texts = pairs.images.copy(), pairs.texts.copy()
    images[CHECK], texts[pairs.texts_of(CHECK)] = 1, 2
    fits = [fit_heads(p, TRAIN, CHECK, config, CPU) for p in (pairs, Pairs(images, texts, pairs.image_of))]
    first, second = (fit.heads.state_dict() for fit in fits)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_the_chunks_of_covariances_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = twin_vectors(50, (20, 10), captions=3)
    whole = module._covariances(pairs, np.arange(150))
    monkeypatch.setattr(module, "_CHUNK", 7)
    means, within, across = module._covariances(pairs, np.arange(150))
    both = np.concatenate([pairs.images[pairs.image_of], pairs.texts], 1).astype(np.float64)
    expected = np.cov(both.T, bias=True)
    assert np.allclose(np.concatenate(means), both.mean(0))
    assert np.allclose(within[0], expected[:20, :20])
    assert np.allclose(within[1], expected[20:, 20:])
    assert np.allclose(across, expected[:20, 20:])
    assert np.allclose(whole[2], across)


def test_a_fit_reads_the_store_and_publishes(settings: Settings, catalog: Catalog) -> None:
    ids = posts_without_files(catalog, 60)
    store_twins(settings, catalog, ids[:50])  # the last ten have no vectors
    told: list[tuple[str, int, int]] = []
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    version = fit_aligned(settings, catalog, config=QUICK, on_progress=lambda *done: told.append(done))
    assert torch.equal(before, torch.random.get_rng_state())
    assert version == current(settings, ALIGNED)
    assert {"dim": 16, "training": 45, "validation": 5}.items() <= version.facts.items()
    assert version.facts["bases"] == {"image": "vit", "text": "bert"}
    assert version.facts["recalls"].keys() == version.facts["chance"].keys()
    assert version.facts["chance"]["text to image R@1"] == pytest.approx(1 / 5)
    assert told == [*(("read", n, 60) for n in range(1, 61)), ("epoch", 1, 1)]
    assert {path.name for path in encoder_dir(settings, ALIGNED).iterdir()} == {".lock", "CURRENT", version.version}
    again = fit_aligned(settings, catalog, config=QUICK)
    assert again.weights == version.weights
    assert load_weights(again)["text.projection.weight"].shape == (16, 32)


def test_validation_may_be_handed_in(settings: Settings, catalog: Catalog) -> None:
    ids = posts_without_files(catalog, 40)
    store_twins(settings, catalog, ids)
    version = fit_aligned(settings, catalog, [*ids[:7], "unknown"], QUICK)
    assert {"training": 33, "validation": 7}.items() <= version.facts.items()


def test_a_fit_on_too_few_pairs_leaves_nothing(settings: Settings, catalog: Catalog) -> None:
    ids = posts_without_files(catalog, 20)
    pairs = twin_vectors(20)
    store(settings, catalog, "vit", dict(zip(ids, pairs.images, strict=True)))
    for texts in (0, 6):
        if texts:
            store(settings, catalog, "bert", dict(zip(ids[:texts], pairs.texts, strict=False)))
        with pytest.raises(InputError, match="8 and 2 are the least"):
            fit_aligned(settings, catalog, config=QUICK)
    assert current(settings, ALIGNED) is None
    assert not list(encoder_dir(settings, ALIGNED).glob(".fitting-*"))
