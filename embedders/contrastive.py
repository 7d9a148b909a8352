"""Two encoders fitted so that a picture and its texts come to lie together: the loop, and what it is judged by.

Pictures may have several texts. A batch has each picture once, with a random mixture of two of its texts, so a
row's only match is on the diagonal.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from embedders.pairs import Matrix, Pairs, Rows, check_split

Progress = Callable[[str, int, int], None]  # stage, done, total
Recalls = dict[str, float]

GALLERY = 2000  # pictures of validation that recalls are taken over, at most

_RANKS = (1, 5, 10)
_SETTLING = 300  # steps


class PairModel(nn.Module):
    """What the loop trains: both encoders, giving unit vectors, and their loss."""

    @abstractmethod
    def image_vectors(self, images: torch.Tensor) -> torch.Tensor:
        """(n, d) -> (n, dim)."""

    @abstractmethod
    def text_vectors(self, texts: torch.Tensor) -> torch.Tensor:
        """(n, e) -> (n, dim)."""

    @abstractmethod
    def loss(self, images: torch.Tensor, texts: torch.Tensor) -> torch.Tensor:
        """Loss of (n, dim) and (n, dim) vectors, of which those in one row belong together."""


@dataclass(frozen=True, slots=True)
class ContrastConfig:
    """How a pair model is fitted: AdamW, until validation has not improved for `patience` epochs.

    `scalar_rate` is the rate of temperature and bias.
    """

    epochs: int = 40
    patience: int = 10
    batch: int = 256
    rate: float = 2e-4
    scalar_rate: float = 1e-2
    weight_decay: float = 0.1
    seed: int = 0


@dataclass(frozen=True, slots=True)
class ContrastFit:
    """The best model, its epoch (0: as it was at the start), and the mean recall on validation after each epoch."""

    model: PairModel
    epoch: int
    scores: list[float]


def train_pairs(
    model: PairModel,
    pairs: Pairs,
    train: Rows,
    validation: Rows,
    config: ContrastConfig,
    device: torch.device,
    on_progress: Progress = lambda stage, done, total: None,
) -> ContrastFit:
    """Fit on the pictures in `train` and their texts, keep the epoch that does best on those in `validation`.

    The start counts as an epoch, so the result is no worse there. Raises InputError where there are too few.
    """
    check_split(train, validation)
    rng = np.random.default_rng(config.seed)
    model.to(device)
    scalars = [p for p in model.parameters() if p.ndim == 0]
    matrices = [p for p in model.parameters() if p.ndim > 0]
    optimiser = torch.optim.AdamW(
        [
            {"params": matrices, "lr": config.rate, "weight_decay": config.weight_decay},
            {"params": scalars, "lr": config.scalar_rate, "weight_decay": 0.0},
        ]
    )
    scores = [mean_recall(evaluate(model, pairs, validation, device))]
    best, kept = 0, deepcopy(model.state_dict())
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(config.seed)
        _settle(model, pairs, rng.permutation(train)[: config.batch], scalars, device)
        for epoch in range(1, config.epochs + 1):
            _train_epoch(model, pairs, rng.permutation(train), config.batch, optimiser, rng, device)
            scores.append(mean_recall(evaluate(model, pairs, validation, device)))
            on_progress("epoch", epoch, config.epochs)
            if scores[epoch] > scores[best]:
                best, kept = epoch, deepcopy(model.state_dict())
            elif epoch - best >= config.patience:
                break
    model.load_state_dict(kept)
    return ContrastFit(model.eval(), best, scores)


def _train_epoch(
    model: PairModel,
    pairs: Pairs,
    rows: Rows,
    batch: int,
    optimiser: torch.optim.Optimizer,
    rng: np.random.Generator,
    device: torch.device,
) -> None:
    model.train()
    for images in np.array_split(rows, -(-len(rows) // batch)):
        pictures = torch.from_numpy(pairs.images[images]).to(device)
        texts = torch.from_numpy(_mixed(pairs, images, rng)).to(device)
        loss = model.loss(model.image_vectors(pictures), model.text_vectors(texts))
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()


def _settle(model: PairModel, pairs: Pairs, images: Rows, scalars: list[nn.Parameter], device: torch.device) -> None:
    """Fit temperature and bias alone to the vectors as they are; off by much, they would drive these anywhere."""
    model.eval()
    texts = pairs.texts[np.searchsorted(pairs.image_of, images)]
    with torch.no_grad():
        seen = model.image_vectors(torch.from_numpy(pairs.images[images]).to(device))
        said = model.text_vectors(torch.from_numpy(texts).to(device))
    optimiser = torch.optim.Adam(scalars, lr=0.05)
    for _ in range(_SETTLING):
        optimiser.zero_grad()
        model.loss(seen, said).backward()  # type: ignore[no-untyped-call]
        optimiser.step()


def _mixed(pairs: Pairs, images: Rows, rng: np.random.Generator) -> Matrix:
    """For each picture a mixture of two of its texts, (n, e): with few pictures, captions between captions help."""
    starts = np.searchsorted(pairs.image_of, images)
    counts = np.searchsorted(pairs.image_of, images, "right") - starts
    one, other = (pairs.texts[starts + rng.integers(0, counts)] for _ in range(2))
    share = rng.random((len(images), 1), np.float32)
    return np.asarray(share * one + (1 - share) * other, np.float32)


def evaluate(model: PairModel, pairs: Pairs, images: Rows, device: torch.device) -> Recalls:
    """Recalls over the pictures in `images`, at most `GALLERY`, and their texts."""
    model.eval()
    rows = images[:GALLERY]
    texts = pairs.texts_of(rows)
    with torch.inference_mode():
        seen = torch.cat([model.image_vectors(block) for block in _blocks(pairs.images, rows, device)])
        said = torch.cat([model.text_vectors(block) for block in _blocks(pairs.texts, texts, device)])
        position = np.empty(len(pairs.images), np.int64)
        position[rows] = np.arange(len(rows))
        return recalls(seen, said, torch.from_numpy(position[pairs.image_of[texts]]).to(device))


def _blocks(matrix: Matrix, rows: Rows, device: torch.device) -> Iterator[torch.Tensor]:
    for start in range(0, len(rows), 1024):
        yield torch.from_numpy(matrix[rows[start : start + 1024]]).to(device)


def recalls(images: torch.Tensor, texts: torch.Tensor, image_of: torch.Tensor) -> Recalls:
    """Share of queries whose match is among the first 1, 5 and 10, both ways.

    A text has one match; for a picture the first of its texts counts. Ties are decided against the match.
    """
    scores = texts @ images.T  # (texts, images)
    own = torch.zeros_like(scores, dtype=torch.bool)
    own[torch.arange(len(texts), device=own.device), image_of] = True
    wrong = scores.masked_fill(own, -torch.inf)
    right = scores.masked_fill(~own, -torch.inf)
    ranks = {
        "text to image": (wrong >= right.amax(1, keepdim=True)).sum(1),
        "image to text": (wrong >= right.amax(0, keepdim=True)).sum(0),
    }
    return {f"{way} R@{k}": float((rank < k).double().mean()) for way, rank in ranks.items() for k in _RANKS}


def chance_recalls(image_of: Rows) -> Recalls:
    """What a random order gives, for the picture of each text."""
    per_image = np.bincount(image_of)
    found = {f"text to image R@{k}": min(1.0, k / len(per_image)) for k in _RANKS}
    for k in _RANKS:
        missed = np.ones(len(per_image))
        for drawn in range(min(k, len(image_of))):
            missed *= np.clip(1 - per_image / (len(image_of) - drawn), 0, 1)
        found[f"image to text R@{k}"] = float(1 - missed.mean())
    return found


def mean_recall(found: Recalls) -> float:
    """The mean of all, by which epochs are compared."""
    return sum(found.values()) / len(found)
