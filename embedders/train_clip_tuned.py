"""Fits the two projections of a CLIP and its scale on the catalog's pairs of pictures and texts.

Pooled states are made once, in a file of the workspace; all epochs over them together take seconds.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from embedders.aligned_specs import CLIP_TUNED
from embedders.base import Decoded
from embedders.clip_tuned import PooledClip
from embedders.contrastive import (
    GALLERY,
    ContrastConfig,
    PairModel,
    Progress,
    chance_recalls,
    evaluate,
    train_pairs,
)
from embedders.device import pick_device
from embedders.fitted import FittedVersion, Weights, publish
from embedders.pairs import Pairs, check_split, held_out, open_matrix, scratch, split_key
from embedders.planning import grouped
from embedders.specs import resolve_spec
from feature_repo.catalog import Catalog
from feature_repo.catalog_rows import CatalogItem
from feature_repo.contracts import Modality
from feature_repo.errors import MediaError
from feature_repo.settings import Settings

USUAL = ContrastConfig(rate=1e-4, weight_decay=1.0)

_LARGEST_LOG_SCALE = math.log(100.0)  # as CLIP's own training has it


class Projections(PairModel):
    """Both projections as they were published and what is added to them; weight decay pulls towards the former."""

    def __init__(self, clip: PooledClip) -> None:
        super().__init__()
        for modality, start in clip.start.items():
            self.register_buffer(f"start_{modality}", start)
            self.register_buffer(f"bias_{modality}", clip.biases[modality])
            self.register_parameter(f"added_{modality}", nn.Parameter(torch.zeros_like(start)))
        self.log_scale = nn.Parameter(torch.tensor(clip.log_scale))

    def image_vectors(self, images: torch.Tensor) -> torch.Tensor:
        """(n, width of the image tower) -> (n, dim)."""
        return self._project(Modality.IMAGE, images)

    def text_vectors(self, texts: torch.Tensor) -> torch.Tensor:
        """(n, width of the text tower) -> (n, dim)."""
        return self._project(Modality.TEXT, texts)

    def loss(self, images: torch.Tensor, texts: torch.Tensor) -> torch.Tensor:
        """CLIP's: which text of the batch belongs to a picture, and which picture to a text."""
        logits = self.log_scale.clamp(max=_LARGEST_LOG_SCALE).exp() * images @ texts.T
        own = torch.arange(len(logits), device=logits.device)
        return (nn.functional.cross_entropy(logits, own) + nn.functional.cross_entropy(logits.T, own)) / 2

    def weights(self) -> Weights:
        """Both projections, (width, dim), by modality, and the logarithm of the scale."""
        found = {modality.value: self._weight(modality) for modality in (Modality.IMAGE, Modality.TEXT)}
        found["log_scale"] = self.log_scale.clamp(max=_LARGEST_LOG_SCALE)
        return {name: value.detach().cpu().numpy() for name, value in found.items()}

    def _project(self, modality: Modality, states: torch.Tensor) -> torch.Tensor:
        made = states @ self._weight(modality) + self.get_buffer(f"bias_{modality}")
        return nn.functional.normalize(made, dim=-1)

    def _weight(self, modality: Modality) -> torch.Tensor:
        return self.get_buffer(f"start_{modality}") + self.get_parameter(f"added_{modality}")


def fit_clip_tuned(
    settings: Settings,
    catalog: Catalog,
    validation: Collection[str] | None = None,
    config: ContrastConfig | None = None,
    on_progress: Progress = lambda stage, done, total: None,
) -> FittedVersion:
    """Fit on every content with a readable picture and a text, stop early on those in `validation`, publish.

    Where nothing does better on validation, the projections stay what they were. Without `validation` a tenth is held
    out by the digest of the picture. Stages told: `encode`, `epoch`. Raises ConfigurationError where the model has no
    projections, WeightsError, InputError where pairs are few.
    """
    config = config or replace(USUAL, seed=settings.seed)
    spec, device = resolve_spec("clip_image", settings), pick_device(settings)
    clip = PooledClip(spec, settings)
    with scratch(settings, CLIP_TUNED) as folder:
        pairs, held = _encode_all(clip, settings, catalog, validation, folder, on_progress)
        train, check = np.flatnonzero(~held), np.flatnonzero(held)
        check_split(train, check)
        model = Projections(clip).to(device)
        before = evaluate(model, pairs, check, device)
        fit = train_pairs(model, pairs, train, check, config, device, on_progress)
        facts = {
            "of": spec.weights,
            "model": spec.options["model"],
            "config": asdict(config),
            "training": len(train),
            "validation": len(check),
            "epoch": fit.epoch,
            "recalls": evaluate(model, pairs, check, device),
            "recalls_before": before,
            "chance": chance_recalls(np.arange(min(len(check), GALLERY))),
            "torch": torch.__version__,
        }
        del pairs
    return publish(settings, CLIP_TUNED, model.weights(), facts)


def _encode_all(
    clip: PooledClip,
    settings: Settings,
    catalog: Catalog,
    validation: Collection[str] | None,
    folder: Path,
    on_progress: Progress,
) -> tuple[Pairs, npt.NDArray[np.bool_]]:
    """Pooled states of every readable pair, in files of `folder`, and which of them are held out."""
    total = catalog.count_contents()
    files = {m: open_matrix(folder / f"{m}.npy", total, len(start)) for m, start in clip.start.items()}
    keys, held = np.empty(total, np.uint64), np.zeros(total, bool)
    count = 0
    for done, window in _windows(clip, settings, catalog, total):
        end = count + len(window)
        if window:
            for modality, states in clip.pool([decoded for _, decoded in window]).items():
                files[modality][count:end] = states
        keys[count:end] = [split_key(item) for item, _ in window]
        held[count:end] = [validation is not None and item.content.content_id in validation for item, _ in window]
        count = end
        on_progress("encode", done, total)
    pairs = Pairs(files[Modality.IMAGE][:count], files[Modality.TEXT][:count], np.arange(count))
    return pairs, held[:count] if validation is not None else held_out(keys[:count])


def _windows(
    clip: PooledClip, settings: Settings, catalog: Catalog, total: int
) -> Iterator[tuple[int, list[tuple[CatalogItem, dict[Modality, Decoded]]]]]:
    """How many contents were looked at, and those of the last of them that can be read, decoded."""

    def read(item: CatalogItem) -> dict[Modality, Decoded] | None:
        try:
            return clip.read(item)
        except MediaError:
            return None

    done = 0
    with ThreadPoolExecutor(settings.workers) as pool:
        for items in grouped(islice(catalog.items(), total), clip.window):
            done += len(items)
            pairs = zip(items, pool.map(read, items), strict=True)
            yield done, [(item, decoded) for item, decoded in pairs if decoded is not None]
