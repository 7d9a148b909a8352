from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from torch import nn

from embedders.base import load_embedder
from embedders.clip_tuned import PooledClip, TunedEmbedder, projections
from embedders.fitted import current
from embedders.specs import SPECS, resolve_spec
from feature_repo.contracts import Modality
from feature_repo.errors import ConfigurationError, StateError
from feature_repo.settings import Settings, load_settings
from tests.embedders import tiny
from tests.embedders.aligned import clip_tuned
from tests.embedders.behaviour import pictures, texts

_TEXT: Any = tiny.CLIP["text_cfg"]
TIMM: dict[str, Any] = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 160, "timm_model_name": "test_vit", "timm_pool": "avg", "timm_proj": "linear"},
    "text_cfg": {**_TEXT, "proj_bias": True},
    "custom_text": True,
}
RESNET: dict[str, Any] = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8, "head_width": 16},
    "text_cfg": _TEXT,
}


@pytest.fixture
def tuned(tmp_path: Path) -> Settings:
    """A tiny CLIP with other projections than its own, as a fit leaves them."""
    (tmp_path / "model").mkdir()
    models = clip_tuned(tmp_path / "model")
    return load_settings(home=tmp_path / "home", models=models, device="cpu", precision="float32")


def of(tmp_path: Path, config: dict[str, Any]) -> Settings:
    """Settings that choose a random CLIP of that shape."""
    folder = tmp_path / "clip"
    folder.mkdir()
    tiny.save_open_clip(folder, config)
    return load_settings(home=tmp_path / "home", models={"clip": f"local-dir:{folder}"}, device="cpu")


@pytest.mark.parametrize("config", [tiny.CLIP, TIMM], ids=["transformers", "timm and a layer with bias"])
def test_pooled_states_through_the_projections_are_clips_own_vectors(tmp_path: Path, config: dict[str, Any]) -> None:
    settings = of(tmp_path, config)
    spec = resolve_spec("clip_image", settings)
    clip = PooledClip(spec, settings)
    assert clip.log_scale == pytest.approx(np.log(1 / 0.07), abs=1e-5)
    shown, said = pictures(tmp_path), texts(tmp_path)
    items = [load_both(a, b) for a, b in zip(shown, said, strict=True)]
    pooled = clip.pool([clip.read(item) for item in items])
    for modality, name in ((Modality.IMAGE, "clip_image"), (Modality.TEXT, "clip_text")):
        whole = load_embedder(name, settings)
        expected = whole.encode([whole.decode(item) for item in items])
        made = torch.from_numpy(pooled[modality]) @ clip.start[modality] + clip.biases[modality]
        assert np.allclose(nn.functional.normalize(made, dim=-1), expected, atol=1e-5)


def load_both(shown: Any, said: Any) -> Any:
    """One content with the picture of the first and the text of the other."""
    return replace(shown, content=replace(shown.content, title=said.content.title))


def test_a_model_without_projections_is_refused(tmp_path: Path) -> None:
    settings = of(tmp_path, RESNET)
    with pytest.raises(ConfigurationError, match=r"has no projection of images to fit: choose .*LARDER_MODELS=clip="):
        PooledClip(resolve_spec("clip_image", settings), settings)


def test_siglip_has_no_projection_of_pictures(tmp_path: Path) -> None:
    tiny.siglip(tmp_path)
    model = open_clip.create_model(f"local-dir:{tmp_path}", load_weights=False)
    with pytest.raises(ConfigurationError, match="has no projection of images"):
        projections(model, SPECS["siglip_image"])


def test_vectors_are_those_of_the_fitted_projections(tuned: Settings, tmp_path: Path, png: bytes) -> None:
    embedder, plain = (load_embedder(name, tuned) for name in ("clip_tuned_image", "clip_image"))
    assert isinstance(embedder, TunedEmbedder)
    assert not np.allclose(embedder.embed_image(png), plain.embed_image(png), atol=1e-2)
    clip = PooledClip(resolve_spec("clip_image", tuned), tuned)
    item = load_both(pictures(tmp_path)[0], texts(tmp_path)[1])
    pooled = clip.pool([clip.read(item)])
    weights = np.random.default_rng(0).normal(size=(32, 16)).astype(np.float32)
    expected = nn.functional.normalize(torch.from_numpy(pooled[Modality.IMAGE] @ weights), dim=-1)
    assert np.allclose(embedder.encode([embedder.decode(item)]), expected, atol=1e-5)


def test_spec_changes_with_the_fit_and_with_the_model(tuned: Settings, tmp_path: Path) -> None:
    spec = resolve_spec("clip_tuned_image", tuned)
    assert spec.weights not in (resolve_spec("clip_image", tuned).weights, current(tuned, "clip_tuned"))
    assert (spec.dim, spec.token_dim) == (16, 32)
    other = tmp_path / "other"
    other.mkdir()
    tiny.save_open_clip(other, {**tiny.CLIP, "embed_dim": 8})
    moved = tuned.model_copy(update={"models": {"clip": f"local-dir:{other}"}})
    with pytest.raises(ConfigurationError, match=r"fitted over other models or weights .*`larder train clip_tuned`"):
        resolve_spec("clip_tuned_image", moved)
    fresh = tuned.model_copy(update={"home": tmp_path / "elsewhere"})
    with pytest.raises(ConfigurationError, match="clip_tuned is not fitted yet: run `larder train clip_tuned`"):
        resolve_spec("clip_tuned_text", fresh)
    with pytest.raises(StateError, match="fitted again meanwhile"):
        TunedEmbedder(spec, fresh)
