"""Fits the heads of `aligned` on the catalog's pairs of pictures and texts, over the vectors that the store holds.

They start from the two bases' canonical correlations with ridges (Hardoon et al., Canonical Correlation Analysis,
Neural Computation 2004), a far better start than a random one where pairs are few, and go on with SigLIP's loss.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from embedders.aligned import Head, Heads
from embedders.aligned_specs import ALIGNED, bases_of, pair_name
from embedders.contrastive import (
    GALLERY,
    ContrastConfig,
    ContrastFit,
    Progress,
    chance_recalls,
    evaluate,
    mean_recall,
    train_pairs,
)
from embedders.derived import BaseVectors
from embedders.device import pick_device
from embedders.fitted import FittedVersion, publish
from embedders.pairs import Matrix, Pairs, Rows, check_split, held_out, open_matrix, scratch, split_key
from embedders.specs import resolve_spec
from feature_repo.catalog import Catalog
from feature_repo.catalog_rows import CatalogItem
from feature_repo.contracts import EmbeddingSpec, Modality
from feature_repo.errors import MediaError
from feature_repo.settings import Settings

# Added to the variances of image and text bases, whose mean is 1; the best on validation is taken.
RIDGES = ((0.1, 0.03), (0.3, 0.1), (1.0, 0.3), (3.0, 1.0), (10.0, 3.0), (30.0, 10.0))

_CHUNK = 4096

Moments = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class AlignConfig:
    """Width of the space, and how the heads are fitted; `noise` is in deviations."""

    dim: int = 256
    noise: float = 0.1
    dropout: float = 0.1
    contrast: ContrastConfig = field(default_factory=ContrastConfig)


@dataclass(frozen=True, slots=True)
class AlignFit:
    """The heads, the ridges that they started from, and how their training went."""

    heads: Heads
    ridges: tuple[float, float]
    training: ContrastFit


def fit_aligned(
    settings: Settings,
    catalog: Catalog,
    validation: Collection[str] | None = None,
    config: AlignConfig | None = None,
    on_progress: Progress = lambda stage, done, total: None,
) -> FittedVersion:
    """Fit on every content that has both base vectors, stop early on those in `validation`, publish.

    Without `validation` a tenth is held out by the digest of the picture, so that contents that share one stay on one
    side. The pairs lie in a file of the workspace during the fit. The same vectors and seed give the same weights on
    the same machine. Stages told: `read`, `epoch`. Raises ConfigurationError, InputError where pairs are few,
    StateError.
    """
    config = config or AlignConfig(contrast=ContrastConfig(seed=settings.seed))
    bases = bases_of(settings, lambda name: resolve_spec(name, settings))
    device = pick_device(settings)
    with scratch(settings, ALIGNED) as folder:
        pairs, held = _gather(settings, catalog, bases, validation, folder, on_progress)
        train, check = np.flatnonzero(~held), np.flatnonzero(held)
        fit = fit_heads(pairs, train, check, config, device, on_progress)
        found = evaluate(fit.heads, pairs, check, device)
        facts = {
            "dim": fit.heads.image.projection.out_features,
            "on": pair_name(bases),
            "bases": {modality.value: base.name for modality, base in bases.items()},
            "config": asdict(config),
            "training": len(train),
            "validation": len(check),
            "ridges": list(fit.ridges),
            "epoch": fit.training.epoch,
            "recalls": found,
            "chance": chance_recalls(np.arange(min(len(check), GALLERY))),
            "torch": torch.__version__,
        }
        del pairs
    return publish(settings, ALIGNED, {k: v.cpu().numpy() for k, v in fit.heads.state_dict().items()}, facts)


def fit_heads(
    pairs: Pairs,
    train: Rows,
    validation: Rows,
    config: AlignConfig,
    device: torch.device,
    on_progress: Progress = lambda stage, done, total: None,
) -> AlignFit:
    """Fit on the pictures in `train` with their texts; ridges and epoch are those best on `validation`."""
    check_split(train, validation)
    found = _Correlations(pairs, train)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.contrast.seed)
        starts = {ridges: found.heads(ridges, config) for ridges in RIDGES}
    scores = {r: mean_recall(evaluate(heads.to(device), pairs, validation, device)) for r, heads in starts.items()}
    ridges = max(RIDGES, key=lambda ridges: scores[ridges])
    heads = starts[ridges]
    return AlignFit(heads, ridges, train_pairs(heads, pairs, train, validation, config.contrast, device, on_progress))


class _Correlations:
    """Means and covariances of both bases over the training pairs, and the heads that follow from them."""

    def __init__(self, pairs: Pairs, train: Rows) -> None:
        self._means, within, across = _covariances(pairs, pairs.texts_of(train))
        self._scales = [float(np.sqrt(np.trace(one) / len(one))) or 1.0 for one in within]
        spectra = [np.linalg.eigh(one / scale**2) for one, scale in zip(within, self._scales, strict=True)]
        self._variances = [np.maximum(spectrum.eigenvalues, 0) for spectrum in spectra]
        self._axes = [spectrum.eigenvectors for spectrum in spectra]
        self._across = self._axes[0].T @ (across / np.prod(self._scales)) @ self._axes[1]

    def heads(self, ridges: tuple[float, float], config: AlignConfig) -> Heads:
        """Directions by falling correlation, each weighted by its root: what hardly correlates hardly counts."""
        shrink = [1 / np.sqrt(var + ridge) for var, ridge in zip(self._variances, ridges, strict=True)]
        left, strengths, right = np.linalg.svd(shrink[0][:, None] * self._across * shrink[1], full_matrices=False)
        dim = min(config.dim, len(strengths))
        heads = Heads(len(left), right.shape[1], dim, config.noise, config.dropout)
        for side, (head, directions) in enumerate(zip((heads.image, heads.text), (left, right.T), strict=True)):
            weights = self._axes[side] @ (shrink[side][:, None] * directions[:, :dim] * np.sqrt(strengths[:dim]))
            _put(head, self._means[side], self._scales[side], weights)
        return heads


def _put(head: Head, mean: Moments, scale: float, weights: Moments) -> None:
    with torch.no_grad():
        head.mean.copy_(torch.from_numpy(mean))
        head.scale.fill_(scale)
        head.projection.weight.copy_(torch.from_numpy(weights.T.copy()))
        head.projection.bias.zero_()


def _covariances(pairs: Pairs, texts: Rows) -> tuple[list[Moments], list[Moments], Moments]:
    """Means, covariances of pictures and of texts, and between them; a picture counts once for each text."""
    wide, narrow = pairs.images.shape[1], pairs.texts.shape[1]
    sums, moments = np.zeros(wide + narrow), np.zeros((wide + narrow, wide + narrow))
    for start in range(0, len(texts), _CHUNK):
        rows = texts[start : start + _CHUNK]
        both = np.concatenate([pairs.images[pairs.image_of[rows]], pairs.texts[rows]], 1).astype(np.float64)
        sums += both.sum(0)
        moments += both.T @ both
    mean = sums / len(texts)
    covariance = moments / len(texts) - np.outer(mean, mean)
    within = [covariance[:wide, :wide], covariance[wide:, wide:]]
    return [mean[:wide], mean[wide:]], within, covariance[:wide, wide:]


def _gather(
    settings: Settings,
    catalog: Catalog,
    bases: Mapping[Modality, EmbeddingSpec],
    validation: Collection[str] | None,
    folder: Path,
    on_progress: Progress,
) -> tuple[Pairs, npt.NDArray[np.bool_]]:
    """The pairs of base vectors, in files of `folder`, and which of them are held out."""
    total = catalog.count_contents()
    stores = {modality: BaseVectors(base, settings, catalog) for modality, base in bases.items()}
    files = {m: open_matrix(folder / f"{m}.npy", total, base.dim) for m, base in bases.items()}
    keys, held = np.empty(total, np.uint64), np.zeros(total, bool)
    count = 0
    for done, item in enumerate(islice(catalog.items(), total), 1):  # it may grow meanwhile
        if found := _both(stores, item):
            for modality, vector in found.items():
                files[modality][count] = vector
            keys[count] = split_key(item)
            held[count] = validation is not None and item.content.content_id in validation
            count += 1
        on_progress("read", done, total)
    pairs = Pairs(files[Modality.IMAGE][:count], files[Modality.TEXT][:count], np.arange(count))
    return pairs, held[:count] if validation is not None else held_out(keys[:count])


def _both(stores: Mapping[Modality, BaseVectors], item: CatalogItem) -> dict[Modality, Matrix] | None:
    try:
        return {modality: store.vector(item) for modality, store in stores.items()}
    except MediaError:
        return None
