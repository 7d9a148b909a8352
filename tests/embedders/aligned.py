"""Worlds of base vectors for the embedders that are fitted on pairs, and their cases of the behaviour suite."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from embedders.aligned import Heads
from embedders.aligned_specs import ALIGNED, CLIP_TUNED, bases_of, pair_name
from embedders.fingerprint import fingerprint
from embedders.fitted import publish
from embedders.pairs import Pairs
from embedders.runner import run
from embedders.specs import resolve_spec
from feature_repo.catalog import Catalog
from feature_repo.catalog_rows import CatalogItem, LedgerRow
from feature_repo.contracts import Content, Modality, digest
from feature_repo.settings import Settings, load_settings
from feature_repo.vectors import vectors_dir, write_partition
from tests.embedders import tiny
from tests.embedders.behaviour import NOON, TITLES, Case, item, painted, pictureless, pictures, textless, texts


def twin_vectors(count: int, widths: Sequence[int] = (32, 32), captions: int = 1, seed: int = 0) -> Pairs:
    """Two views of one hidden meaning of 12 numbers, each through a map of its own and with noise."""
    rng = np.random.default_rng(seed)
    maps = [np.random.default_rng(99 + side).normal(size=(12, width)) for side, width in enumerate(widths)]
    meaning = rng.normal(size=(count, 12))
    image_of = np.repeat(np.arange(count), captions)
    views = [meaning @ maps[0], (meaning[image_of] + 0.2 * rng.normal(size=(len(image_of), 12))) @ maps[1]]
    images, texts = (view + rng.normal(size=view.shape) for view in views)
    return Pairs(_unit(images), _unit(texts), image_of)


def _unit(vectors: np.ndarray) -> np.ndarray:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


def posts_without_files(catalog: Catalog, count: int) -> list[str]:
    """Contents whose pictures lie nowhere, so that whoever decoded one would fail; their ids in order."""
    contents = [
        Content(f"c{n:03}", f"title {n}", NOON, media={Modality.IMAGE: Path(f"/nowhere/{n}.jpg")}) for n in range(count)
    ]
    catalog.upsert_contents(contents, "posts")
    return [content.content_id for content in contents]


def store(settings: Settings, catalog: Catalog, name: str, vectors: Mapping[str, np.ndarray]) -> None:
    """Put vectors into the store as a run of the embedder `name` would, one partition."""
    spec, found = resolve_spec(name, settings), catalog.get(list(vectors))
    partition = digest(name, *vectors, *(vector.tobytes() for vector in vectors.values()))
    path = vectors_dir(settings, name, spec.digest) / f"{partition}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    times = [NOON] * len(vectors)
    write_partition(path, name, list(vectors), times, times, np.stack(list(vectors.values())))
    rows = [LedgerRow(c, fingerprint(found[c], spec), partition) for c in vectors]
    catalog.register_embedding(spec)
    catalog.record(name, spec.digest, rows)


def store_twins(settings: Settings, catalog: Catalog, ids: Sequence[str], seed: int = 0) -> Pairs:
    """Vectors of `vit` and `bert` for all of the contents."""
    pairs = twin_vectors(len(ids), seed=seed)
    for name, vectors in zip(("vit", "bert"), (pairs.images, pairs.texts), strict=True):
        store(settings, catalog, name, dict(zip(ids, vectors, strict=True)))
    return pairs


def _settings(folder: Path, models: Mapping[str, str]) -> Settings:
    return load_settings(home=folder.parent / "home", models=models, device="cpu", precision="float32")


def aligned(folder: Path) -> dict[str, str]:
    """Random heads over tiny encoders, whose vectors of five contents lie in the suite's workspace."""
    for name in ("vit", "bert", "posts"):
        (folder / name).mkdir()
    models = {"aligned": "vit+bert", **tiny.vit(folder / "vit"), **tiny.bert(folder / "bert")}
    settings = _settings(folder, models)
    contents = []
    for n, title in enumerate(TITLES):
        path = folder / "posts" / f"{n}.png"
        painted(n).save(path)
        contents.append(Content(f"c{n}", title, NOON, media={Modality.IMAGE: path}))
    with Catalog(settings.catalog) as catalog:
        catalog.upsert_contents(contents, "posts")
        for name in ("vit", "bert"):
            assert run(name, settings, catalog).encoded == len(TITLES)
    torch.manual_seed(0)
    heads = Heads(32, 32, 16)
    facts = {"dim": 16, "on": pair_name(bases_of(settings, lambda name: resolve_spec(name, settings)))}
    publish(settings, ALIGNED, {name: value.numpy() for name, value in heads.state_dict().items()}, facts)
    return models


def stored(folder: Path) -> list[CatalogItem]:
    """The contents whose base vectors `aligned` left."""
    with Catalog(load_settings(home=folder / "home").catalog) as catalog:
        return list(catalog.items())


def clip_tuned(folder: Path) -> dict[str, str]:
    """A tiny CLIP and other projections than its own."""
    models = tiny.clip(folder)
    settings = _settings(folder, models)
    rng = np.random.default_rng(0)
    weights = {"image": rng.normal(size=(32, 16)), "text": rng.normal(size=(16, 16))}
    facts = {"of": resolve_spec("clip_image", settings).weights}
    publish(settings, CLIP_TUNED, {name: value.astype(np.float32) for name, value in weights.items()}, facts)
    return models


CASES = {
    "aligned_image": Case(
        "aligned_image", stored, aligned, broken=lambda folder: {r"^no vit vector: not embedded yet": item("a", "a")}
    ),
    "aligned_text": Case(
        "aligned_text",
        stored,
        aligned,
        broken=lambda folder: {
            r"^no bert vector: not embedded yet": item("a", "a"),
            r"^no bert vector: out of date": item("c0", "another title"),
        },
    ),
    "clip_tuned_image": Case("clip_tuned_image", pictures, clip_tuned, 4, pictureless),
    "clip_tuned_text": Case("clip_tuned_text", texts, clip_tuned, 4, textless),
}
