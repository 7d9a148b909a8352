"""Fine-tuned towers of tiny models, as a training leaves them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from embedders.fitted import FittedVersion, publish
from embedders.specs import resolve_spec
from embedders.tuned import Tower, open_towers, weights_of
from embedders.tuned_specs import ENCODER, tower_names, towers_of
from feature_repo.contracts import Modality
from feature_repo.settings import Settings, load_settings
from tests.embedders import tiny
from tests.embedders.behaviour import Case, pictureless, pictures, textless, texts

BLOCKS = 1


def models(folder: Path) -> dict[str, str]:
    """What `LARDER_MODELS` says for a tiny ViT and a tiny BERT."""
    for name in ("vit", "bert"):
        (folder / name).mkdir(parents=True)
    return {ENCODER: "vit+bert", **tiny.vit(folder / "vit"), **tiny.bert(folder / "bert")}


def cut(settings: Settings) -> dict[Modality, Tower]:
    """Both towers, the last block of each to be fitted."""
    samples = {Modality.IMAGE: np.zeros((32, 32, 3), np.uint8), Modality.TEXT: np.array([101, 5, 102])}
    return {modality: Tower(one, BLOCKS, samples[modality]) for modality, one in open_towers(settings).items()}


def fit(settings: Settings, seed: int) -> FittedVersion:
    """Publish both towers with noise upon what a training would fit."""
    rng = np.random.default_rng(seed)
    weights = {name: value + rng.normal(0, 0.1, value.shape) for name, value in weights_of(cut(settings)).items()}
    facts = {"of": tower_names(towers_of(settings, resolve_spec)), "tokens": 0}
    return publish(settings, ENCODER, {name: value.astype(np.float32) for name, value in weights.items()}, facts)


def tuned(folder: Path) -> dict[str, str]:
    """Tiny models and towers fitted upon them, in the workspace beside `folder`."""
    made = models(folder)
    fit(load_settings(home=folder.parent / "home", models=made, device="cpu"), seed=0)
    return made


CASES = {
    "tuned_image": Case("tuned_image", pictures, tuned, 4, pictureless),
    "tuned_text": Case("tuned_text", texts, tuned, 4, textless),
}
