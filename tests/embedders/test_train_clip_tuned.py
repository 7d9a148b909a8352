from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from embedders.base import load_embedder
from embedders.clip_tuned import PooledClip
from embedders.contrastive import ContrastConfig, evaluate, mean_recall, train_pairs
from embedders.fitted import current, encoder_dir, load_weights
from embedders.pairs import Pairs
from embedders.runner import run
from embedders.specs import resolve_spec
from embedders.train_clip_tuned import Projections, fit_clip_tuned
from feature_repo.catalog import Catalog
from feature_repo.contracts import Content, Modality
from feature_repo.errors import InputError
from feature_repo.settings import Settings, load_settings
from feature_repo.vectors import read_vectors
from tests.embedders import tiny
from tests.embedders.aligned import twin_vectors
from tests.embedders.behaviour import NOON

CPU = torch.device("cpu")
COLOURS = ("red", "green", "blue", "yellow", "black", "white")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return tiny.clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture
def settings(tmp_path: Path, models: dict[str, str]) -> Settings:
    return load_settings(home=tmp_path / "home", models=models, device="cpu", precision="float32", batch_size=8)


@pytest.fixture
def posts(tmp_path: Path, catalog: Catalog) -> list[str]:
    """Thirty-six plain pictures, each named by the colours of its halves; one more is broken and one has no text."""
    contents = []
    for n in range(36):
        upper, lower = COLOURS[n // 6], COLOURS[n % 6]
        picture = Image.new("RGB", (32, 32), upper)
        picture.paste(lower, (0, 16, 32, 32))
        path = tmp_path / f"{n}.png"
        picture.save(path)
        contents.append(Content(f"c{n:02}", f"{upper} over {lower}", NOON, media={Modality.IMAGE: path}))
    (tmp_path / "broken.png").write_bytes(b"no picture")
    contents.append(Content("d", "broken", NOON, media={Modality.IMAGE: tmp_path / "broken.png"}))
    contents.append(Content("e", "", NOON, media=contents[0].media))
    catalog.upsert_contents(contents, "posts")
    return [content.content_id for content in contents]


def test_a_fit_ends_in_vectors_of_the_fitted_projections(
    posts: list[str], settings: Settings, catalog: Catalog
) -> None:
    told: list[tuple[str, int, int]] = []
    config = ContrastConfig(epochs=40, patience=40, batch=26, rate=3e-3)
    version = fit_clip_tuned(settings, catalog, posts[:36:4], config, lambda *done: told.append(done))
    assert version == current(settings, "clip_tuned")
    assert {"training": 27, "validation": 9, "of": resolve_spec("clip_image", settings).weights}.items() <= dict(
        version.facts
    ).items()
    assert told[:5] == [("encode", n, 38) for n in (8, 16, 24, 32, 38)]
    assert version.facts["epoch"] > 0
    assert mean_recall(version.facts["recalls"]) > mean_recall(version.facts["recalls_before"])
    assert {path.name for path in encoder_dir(settings, "clip_tuned").iterdir()} == {
        ".lock",
        "CURRENT",
        version.version,
    }
    for name in ("clip_tuned_image", "clip_tuned_text"):
        assert run(name, settings, catalog).failed.keys() <= {"not a picture", "no text"}
    images, texts = (read_vectors(settings, catalog, name) for name in ("clip_tuned_image", "clip_tuned_text"))
    rows = [images.content_ids.index(c) for c in posts[:36]]
    nearest = (texts.matrix[:36] @ images.matrix[rows].T).argmax(1)
    plain = [load_embedder(name, settings) for name in ("clip_text", "clip_image")]
    items = list(catalog.get(posts[:36]).values())
    said, seen = (one.encode([one.decode(it) for it in items]) for one in plain)
    assert (nearest == np.arange(36)).mean() > ((said @ seen.T).argmax(1) == np.arange(36)).mean()


def test_a_fit_that_helps_nobody_leaves_the_projections(posts: list[str], settings: Settings, catalog: Catalog) -> None:
    version = fit_clip_tuned(settings, catalog, posts[:36:4], ContrastConfig(epochs=0))
    assert version.facts["epoch"] == 0
    assert version.facts["recalls"] == version.facts["recalls_before"]
    clip = PooledClip(resolve_spec("clip_image", settings), settings)
    weights = load_weights(version)
    for modality, start in clip.start.items():
        assert np.array_equal(weights[modality.value], start)
    plain, tuned = (load_embedder(name, settings) for name in ("clip_text", "clip_tuned_text"))
    assert np.array_equal(plain.embed_text("tea"), tuned.embed_text("tea"))


def test_too_few_pairs_leave_nothing(posts: list[str], settings: Settings, catalog: Catalog) -> None:
    with pytest.raises(InputError, match="8 and 2 are the least"):
        fit_clip_tuned(settings, catalog, [])
    assert current(settings, "clip_tuned") is None
    assert not list(encoder_dir(settings, "clip_tuned").glob(".fitting-*"))


class Towers(PooledClip):
    """Random projections of the twins' widths, as a CLIP would give them."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        self.start = {m: torch.randn(32, 16, generator=generator) / 6 for m in (Modality.IMAGE, Modality.TEXT)}
        self.biases = {modality: torch.zeros(16) for modality in self.start}
        self.log_scale = 5.0


def test_projections_learn_and_the_scale_is_bounded() -> None:
    pairs = twin_vectors(120, captions=2)
    rows = np.arange(120)
    model = Projections(Towers())
    assert model.weights()["log_scale"] == pytest.approx(np.log(100))
    config = ContrastConfig(epochs=20, batch=32, rate=5e-3)
    fit = train_pairs(model, pairs, rows[:80], rows[80:100], config, CPU)
    assert fit.scores[0] < 0.4 < 0.7 < mean_recall(evaluate(model, pairs, rows[100:], CPU))


def test_decay_pulls_towards_the_published_projections() -> None:
    pairs = twin_vectors(60)
    rows = np.arange(60)
    moved = []
    for decay in (0.0, 200.0):
        model = Projections(Towers())
        config = ContrastConfig(epochs=3, batch=16, rate=2e-3, weight_decay=decay)
        train_pairs(model, Pairs(pairs.images, pairs.texts, rows), rows[:50], rows[50:], config, CPU)
        moved.append(float(model.get_parameter("added_image").detach().norm()))
    assert 0 < moved[1] < 0.7 * moved[0]


def test_clips_loss_is_the_papers() -> None:
    """Symmetric cross-entropy over the batch, https://arxiv.org/abs/2103.00020, figure 3."""
    torch.manual_seed(0)
    images, texts = (torch.nn.functional.normalize(torch.randn(4, 16), dim=-1) for _ in range(2))
    logits = 100 * (images @ texts.T).double().numpy()
    rows = np.mean(np.log(np.exp(logits).sum(1)) - np.diag(logits))
    columns = np.mean(np.log(np.exp(logits).sum(0)) - np.diag(logits))
    assert float(Projections(Towers()).loss(images, texts).detach()) == pytest.approx((rows + columns) / 2, rel=1e-4)
