"""Contents whose engagement shows in their pictures and is told in their texts, and tiny nets that can learn it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
from PIL import Image

from feature_repo.catalog import Catalog
from feature_repo.contracts import Content, Modality
from feature_repo.settings import Settings, load_settings
from predictors.end_to_end.config import EndToEndConfig
from tests.embedders import tuned

ROWS = 160
START = datetime(2024, 1, 1, tzinfo=UTC)
WORDS = (("rain", "grey", "monday"), ("party", "gold", "friday"))
BARE = {"c0003": Modality.IMAGE, "c0017": Modality.TEXT}  # contents, and the medium that they lack


def workspace(folder: Path) -> Settings:
    """Settings that choose a tiny ViT and a tiny BERT."""
    return load_settings(home=folder / "home", models=tuned.models(folder / "models"), device="cpu", workers=1)


def fill(settings: Settings, catalog: Catalog, seed: int = 0) -> list[Content]:
    """Bright pictures and glad words are liked: log1p of views is 4 + 2 brightness + 2 gladness + noise."""
    rng = np.random.default_rng(seed)
    settings.home.mkdir(parents=True, exist_ok=True)
    contents = []
    for row in range(ROWS):
        bright, glad = rng.uniform(), int(rng.integers(2))
        path = settings.home / f"{row}.png"
        pixels = rng.integers(0, 40, (32, 32, 3)) + int(215 * bright)
        Image.fromarray(pixels.astype(np.uint8)).save(path)
        name = f"c{row:04d}"
        views = float(np.expm1(4 + 2 * bright + 2 * glad + rng.normal(scale=0.1)))
        contents.append(
            Content(
                name,
                "" if BARE.get(name) is Modality.TEXT else " ".join(rng.permutation(WORDS[glad])),
                START + timedelta(hours=row),
                counters={"views": views},
                media={} if BARE.get(name) is Modality.IMAGE else {Modality.IMAGE: path},
            )
        )
    catalog.upsert_contents(contents, "media")
    return contents


def quick(**changes: object) -> EndToEndConfig:
    """A configuration that fits in seconds."""
    values: dict[str, object] = {
        "image_blocks": 1, "text_blocks": 1, "width": 16, "tokens": 4, "epochs": 3, "patience": 3, "rate": 3e-3,
        "tower_rate": 1e-3, "mixed_precision": False, "threads": 1, "resamples": 20,
    }  # fmt: skip
    return EndToEndConfig(**{**values, **changes})  # type: ignore[arg-type]
