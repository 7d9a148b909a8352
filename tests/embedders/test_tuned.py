from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from embedders.base import load_embedder, load_pinned
from embedders.fitted import current, publish
from embedders.specs import resolve_spec
from embedders.tuned import Tower, blocks_of, load_tuned, open_towers, put
from embedders.tuned_specs import ENCODER
from feature_repo.contracts import Modality
from feature_repo.errors import ConfigurationError, StateError
from feature_repo.settings import Settings, load_settings
from tests.embedders import tiny, tuned
from tests.embedders.behaviour import pictures, texts

NETS: dict[str, tuple[str, Callable[[Path], dict[str, str]], str, Callable[[Path], dict[str, str]]]] = {
    "transformers": ("vit", tiny.vit, "bert", tiny.bert),
    "registers and disentangled attention": ("vit", tiny.dinov2, "deberta", tiny.deberta),
    "timm": ("vit", lambda folder: tiny.save_timm(folder, "test_vit"), "bert", tiny.bert),
    "convolutions": ("vit", lambda folder: tiny.save_timm(folder, "test_convnext"), "bert", tiny.bert),
}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load_settings(home=tmp_path / "home", models=tuned.models(tmp_path / "models"), device="cpu")


def choose(folder: Path, kind: str) -> Settings:
    image, make_image, text, make_text = NETS[kind]
    for name in ("image", "text"):
        (folder / name).mkdir(parents=True)
    models = {ENCODER: f"{image}+{text}", **make_image(folder / "image"), **make_text(folder / "text")}
    return load_settings(home=folder / "home", models=models, device="cpu")


@pytest.mark.parametrize("kind", [*NETS, "bundled"])
def test_a_net_cut_in_two_gives_the_vectors_of_the_whole(tmp_path: Path, kind: str) -> None:
    settings = load_settings(home=tmp_path, device="cpu") if kind == "bundled" else choose(tmp_path, kind)
    for modality, embedder in open_towers(settings).items():
        items = (pictures if modality is Modality.IMAGE else texts)(tmp_path)
        decoded = [embedder.decode(item) for item in items]
        whole = embedder.features(decoded, 4)
        before = list(embedder.net.state_dict())
        tower = Tower(embedder, 1, decoded[0])
        tower.train(False)
        cut = tower.above(tower.below(decoded), decoded, 4)
        for one, other in zip(cut, whole, strict=True):
            assert torch.allclose(one, other, atol=0.02 * float(other.detach().abs().max()))  # states are float16
        assert list(embedder.net.state_dict()) == before


@pytest.mark.parametrize("kind", [*NETS])
def test_the_fitted_part_learns_and_the_rest_stays(tmp_path: Path, kind: str) -> None:
    for modality, embedder in open_towers(choose(tmp_path, kind)).items():
        items = (pictures if modality is Modality.IMAGE else texts)(tmp_path)
        decoded = [embedder.decode(item) for item in items]
        tower = Tower(embedder, 1, decoded[0])
        before = {name: value.clone() for name, value in embedder.net.state_dict().items()}
        states = tower.below(decoded)
        optimiser = torch.optim.SGD(list(tower.parameters.values()), 0.1)
        tower.train()
        vectors, tokens = tower.above(states, decoded, 2)
        (vectors.square().sum() + tokens.square().sum()).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        changed = {n for n, value in embedder.net.state_dict().items() if not torch.equal(value, before[n])}
        assert changed
        assert changed <= set(tower.depths)
        assert set(tower.weights) == set(tower.depths)
        assert not any(name.startswith("pooler") for name in tower.depths)  # drawn at random, and read by nobody


def test_rates_fall_from_the_last_block_down(settings: Settings) -> None:
    embedder = open_towers(settings)[Modality.TEXT]
    tower = Tower(embedder, 2, np.array([101, 5, 102]))
    depths = {name.split(".")[2]: depth for name, depth in tower.depths.items() if name.startswith("encoder.layer")}
    assert depths == {"0": 1, "1": 0}
    assert not any(name.startswith("embeddings") for name in tower.depths)


@pytest.mark.parametrize("fitted", [0, 3])
def test_as_many_blocks_can_be_fitted_as_there_are(settings: Settings, fitted: int) -> None:
    with pytest.raises(ConfigurationError, match=rf"bert has 2 blocks: of them 1 to 2 can be fitted, not {fitted}"):
        Tower(open_towers(settings)[Modality.TEXT], fitted, np.array([101, 5, 102]))


def test_a_net_without_blocks_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="Linear has no row of blocks"):
        blocks_of(torch.nn.Linear(2, 2))


def test_a_model_that_cannot_be_fitted_is_refused_with_those_that_can(tmp_path: Path) -> None:
    (tmp_path / "clip").mkdir()
    models = {ENCODER: "clip_image+minilm", **tiny.clip(tmp_path / "clip")}
    with pytest.raises(ConfigurationError, match=r"clip_image cannot be fine-tuned; choose .*vit\+bert"):
        open_towers(load_settings(home=tmp_path, models=models, device="cpu"))


@pytest.mark.parametrize("said", ["vit", "tuned_image+tuned_text", "aligned_image+minilm"])
def test_a_pair_that_is_none_is_refused(tmp_path: Path, said: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"{ENCODER}=.*write the names of two embeddings"):
        resolve_spec("tuned_image", load_settings(home=tmp_path, models={ENCODER: said}))


def test_vectors_are_those_of_the_fitted_layers(settings: Settings, png: bytes) -> None:
    tuned.fit(settings, seed=0)
    plain, fitted = (load_embedder(name, settings) for name in ("vit", "tuned_image"))
    assert not np.allclose(plain.embed_image(png), fitted.embed_image(png), atol=1e-2)


def test_each_fit_is_a_spec_of_its_own_and_an_older_one_can_be_loaded(settings: Settings, png: bytes) -> None:
    with pytest.raises(ConfigurationError, match=rf"tuned_image is not fitted yet: run `larder train {ENCODER}`"):
        resolve_spec("tuned_image", settings)
    tuned.fit(settings, seed=0)
    first = resolve_spec("tuned_image", settings)
    vector = load_embedder("tuned_image", settings).embed_image(png)
    tuned.fit(settings, seed=1)
    second = resolve_spec("tuned_image", settings)
    assert first.digest != second.digest
    assert first.weights != resolve_spec("tuned_text", settings).weights
    with pytest.raises(StateError, match="tuned_image was fitted again meanwhile"):
        load_tuned(first, settings)
    assert np.array_equal(load_pinned("tuned_image", settings, first.digest).embed_image(png), vector)


def test_another_model_below_the_fit_is_refused(settings: Settings, tmp_path: Path) -> None:
    tuned.fit(settings, seed=0)
    moved = settings.model_copy(update={"models": {**settings.models, ENCODER: "efficientnet_lite0+bert"}})
    with pytest.raises(ConfigurationError, match=rf"other models .*`larder train {ENCODER}`"):
        resolve_spec("tuned_image", moved)


def test_weights_of_another_net_are_refused(settings: Settings) -> None:
    fitted = tuned.fit(settings, seed=0)
    publish(settings, ENCODER, {"image.nothing": np.zeros(1, np.float32)}, fitted.facts)
    with pytest.raises(StateError, match="the image tower's weights are another net's: nothing"):
        load_embedder("tuned_image", settings)
    with pytest.raises(StateError, match="the text tower's weights are another net's"):
        put(torch.nn.Linear(2, 2), {"text.weight": np.zeros((3, 3), np.float32)}, Modality.TEXT)
    assert current(settings, ENCODER) is not None
