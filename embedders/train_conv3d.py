"""Fits the small 3D CNN on the catalog's clips and labels that someone hands in: classes or numbers.

The net is published only when it is done: a killed fit has changed nothing and starts over, to the same weights.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from embedders.conv3d import ClipPixels, SmallC3D, fit_of, sampling_of
from embedders.device import pick_device
from embedders.fitted import FittedVersion, Weights, encoder_dir, publish
from embedders.media.video import Frames, Sampling
from embedders.specs import SPECS
from embedders.video import ClipReader
from feature_repo.catalog import Catalog
from feature_repo.catalog_rows import CatalogItem
from feature_repo.errors import InputError, MediaError
from feature_repo.settings import Settings

ENCODER = "conv3d"
JITTER = 3  # frames decoded for each that the net sees; the middle one is that of inference

_SETTLED_ON = 256  # clips that the norms' statistics are taken from

Label = float | str
Progress = Callable[[str, int, int], None]  # stage ("decode" or "epoch"), done, total
Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class FitConfig:
    """How the net is fitted: AdamW at a cosine rate, until validation has not improved for `patience` epochs."""

    epochs: int = 40
    patience: int = 8
    batch: int = 8
    rate: float = 1e-3
    weight_decay: float = 0.05
    dropout: float = 0.3
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Fit3d:
    """Weights of the best epoch and the losses: mean cross-entropy, or squared error in units of the labels' variance.

    `constant` is the validation loss of what is best without looking at a clip: the training labels' mean or shares.
    """

    weights: Weights
    epoch: int
    losses: list[float]
    constant: float


def fit_conv3d(
    settings: Settings,
    catalog: Catalog,
    labels: Mapping[str, Label],
    validation: Collection[str],
    config: FitConfig | None = None,
    on_progress: Progress = lambda stage, done, total: None,
) -> FittedVersion:
    """Fit on the labelled contents that have a readable clip, stop early on those in `validation`, publish.

    Labels are all classes (str) or all numbers. Clips are decoded once, to a file in the workspace that goes with
    the fit (1.8 MB a clip). The same clips, labels and seed give the same weights on the same machine. Raises
    InputError where labels are mixed or too few are left; StateError.
    """
    config = config or FitConfig(seed=settings.seed)
    items = catalog.get(sorted(labels))
    parent = encoder_dir(settings, ENCODER)
    parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=parent, prefix=".fitting-", ignore_cleanup_errors=True) as folder:
        clips, read = _decode_all(settings, list(items.values()), Path(folder), on_progress)
        held = np.array([content_id in validation for content_id in read], bool)
        train, check = np.flatnonzero(~held), np.flatnonzero(held)
        targets = encode_labels([labels[content_id] for content_id in read], train)
        fit = train_conv3d(clips, targets, train, check, config, pick_device(settings), on_progress)
        del clips
    facts = {
        "dim": SmallC3D().dim,
        "config": asdict(config),
        "training": len(train),
        "validation": len(check),
        "unreadable": len(labels) - len(read),
        "labels": "classes" if targets.dtype == np.int64 else "numbers",
        "epoch": fit.epoch,
        "validation_losses": fit.losses,
        "validation_loss_of_a_constant": fit.constant,
        "torch": torch.__version__,
    }
    return publish(settings, ENCODER, fit.weights, facts)


def encode_labels(labels: Sequence[Label], train: Rows) -> npt.NDArray[np.int64] | npt.NDArray[np.float32]:
    """Classes as (n,) int64, or numbers as (n,) float32 with mean 0 and variance 1 over the training rows.

    Raises InputError where labels are mixed, are not finite, or the training rows have but one.
    """
    kinds = {isinstance(label, str) for label in labels}
    if len(kinds) > 1:
        raise InputError("labels are classes and numbers at once; give one kind")
    if len({labels[row] for row in train}) < 2:
        raise InputError("the clips to train on have one and the same label: there is nothing to learn")
    if kinds == {True}:
        classes = sorted({str(label) for label in labels})
        return np.array([classes.index(str(label)) for label in labels], np.int64)
    values = np.array(labels, np.float64)
    if not np.isfinite(values).all():
        raise InputError("a label is not a finite number")
    return np.asarray((values - values[train].mean()) / values[train].std(), np.float32)


def train_conv3d(
    clips: npt.NDArray[np.uint8],
    targets: npt.NDArray[np.int64] | npt.NDArray[np.float32],
    train: Rows,
    validation: Rows,
    config: FitConfig,
    device: torch.device,
    on_progress: Progress = lambda stage, done, total: None,
) -> Fit3d:
    """Fit on `train` rows of (n, JITTER x frames, side, side, 3) uint8 clips; the best epoch on `validation` rows.

    Targets are (n,) int64 classes or float32 numbers. Raises InputError where there are too few rows.
    """
    if len(train) < 2 or not len(validation):
        raise InputError(f"{len(train)} clips to train on and {len(validation)} to check with: 2 and 1 are the least")
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(config.seed)
        return _Training(clips, targets, config, device).run(train, validation, on_progress)


class _Training:
    def __init__(
        self,
        clips: npt.NDArray[np.uint8],
        targets: npt.NDArray[np.int64] | npt.NDArray[np.float32],
        config: FitConfig,
        device: torch.device,
    ) -> None:
        self._clips, self._config = clips, config
        self._targets = torch.from_numpy(targets).to(device)
        self._classes = int(targets.max()) + 1 if targets.dtype == np.int64 else 0
        self._rng = np.random.default_rng(config.seed)
        self._pixels = ClipPixels(device)
        self._net = SmallC3D()
        self._norms = [module for module in self._net.modules() if isinstance(module, nn.BatchNorm3d)]
        for norm in self._norms:
            norm.momentum = None  # statistics are plain means over all batches since they were reset
        head = nn.Linear(self._net.dim, self._classes or 1)
        self._model = nn.Sequential(self._net, nn.Dropout(config.dropout), head)
        self._model.to(device, memory_format=torch.channels_last_3d)  # type: ignore[call-overload]

    def run(self, train: Rows, validation: Rows, on_progress: Progress) -> Fit3d:
        config = self._config
        optimiser = torch.optim.AdamW(self._model.parameters(), config.rate, weight_decay=config.weight_decay)
        rate = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, config.epochs)
        losses: list[float] = []
        best, weights = 0, self._weights()
        for epoch in range(config.epochs):
            self._train_epoch(train, optimiser)
            rate.step()
            self._settle(train[:_SETTLED_ON])
            losses.append(self._validate(validation))
            if losses[-1] < losses[best] or epoch == 0:
                best, weights = epoch, self._weights()
            on_progress("epoch", epoch + 1, config.epochs)
            if epoch - best >= config.patience:
                break
        return Fit3d(weights, best + 1, losses, self._constant(train, validation))

    def _train_epoch(self, rows: Rows, optimiser: torch.optim.Optimizer) -> None:
        self._model.train()
        for batch in _batches(self._rng.permutation(rows), self._config.batch):
            loss = self._loss([_varied(self._clips[row], self._rng) for row in batch], batch).mean()
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()

    @torch.inference_mode()
    def _settle(self, rows: Rows) -> None:
        """Take the norms' statistics anew from these clips, for the weights as they are now.

        A running mean trails behind the weights: of a few dozen steps it says nothing (https://arxiv.org/abs/2105.07576).
        """
        self._net.train()
        for norm in self._norms:
            norm.reset_running_stats()
        for batch in _batches(rows, self._config.batch):
            self._net(self._pixels([self._clips[row][JITTER // 2 :: JITTER] for row in batch]))

    @torch.inference_mode()
    def _validate(self, rows: Rows) -> float:
        """Mean loss on the frames that inference sees."""
        self._model.eval()
        shown = [(batch, [self._clips[row][JITTER // 2 :: JITTER] for row in batch]) for batch in _batches(rows, 8)]
        return float(torch.cat([self._loss(clips, batch) for batch, clips in shown]).mean())

    def _loss(self, clips: Sequence[Frames], rows: Rows) -> torch.Tensor:
        said = self._model(self._pixels(clips))
        wanted = self._targets[torch.from_numpy(rows)]
        if self._classes:
            return nn.functional.cross_entropy(said, wanted, reduction="none")
        return nn.functional.mse_loss(said[:, 0], wanted, reduction="none")

    def _constant(self, train: Rows, validation: Rows) -> float:
        """Validation loss of the best guess that looks at no clip."""
        known, wanted = self._targets[torch.from_numpy(train)], self._targets[torch.from_numpy(validation)]
        if self._classes:
            shares = (torch.bincount(known, minlength=self._classes) + 1) / (len(train) + self._classes)
            return float(-shares.log()[wanted].mean())
        return float(((wanted - known.mean()) ** 2).mean())

    def _weights(self) -> Weights:
        return {name: value.cpu().clone().numpy() for name, value in self._net.state_dict().items()}


def _varied(clip: Frames, rng: np.random.Generator) -> Frames:
    """A clip as the net sees it in training: each frame a little early or late, the whole perhaps mirrored."""
    count = len(clip) // JITTER
    frames: Frames = clip[np.arange(count) * JITTER + rng.integers(0, JITTER, count)]
    return frames[:, :, ::-1] if rng.random() < 0.5 else frames


def _batches(rows: Rows, size: int) -> Iterator[Rows]:
    """Equal parts of at most `size` rows: a batch of one would leave batch norm without a deviation."""
    yield from np.array_split(rows, -(-len(rows) // size))


def _decode_all(
    settings: Settings, items: Sequence[CatalogItem], folder: Path, on_progress: Progress
) -> tuple[npt.NDArray[np.uint8], list[str]]:
    """Clips in a file of `folder`, (n, JITTER x frames, side, side, 3) uint8, and the content ids of its n rows."""
    spec = SPECS[ENCODER]
    usual, fit = sampling_of(spec), fit_of(spec)
    reader = ClipReader(Sampling(JITTER * usual.count, window=usual.window), fit, settings)
    shape = (len(items) or 1, JITTER * usual.count, fit.height, fit.width, 3)
    clips: npt.NDArray[np.uint8] = np.lib.format.open_memmap(folder / "clips.npy", "w+", np.uint8, shape)
    read: list[str] = []

    def frames_of(item: CatalogItem) -> Frames | None:
        try:
            return reader(item)
        except MediaError:
            return None

    with ThreadPoolExecutor(settings.workers) as pool:
        for done, (item, frames) in enumerate(zip(items, pool.map(frames_of, items), strict=True), 1):
            if frames is not None:
                clips[len(read)] = frames
                read.append(item.content.content_id)
            on_progress("decode", done, len(items))
    return clips, read
