"""How every torch predictor is trained: epochs, early stopping, checkpoints that a killed fit goes on from."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from feature_repo.errors import StateError
from feature_repo.files import replacing
from predictors.tracking import Run

logger = logging.getLogger(__name__)

Metrics = Mapping[str, float]
Tensors = dict[str, torch.Tensor]

SAVE_AFTER_S = 10.0  # between two checkpoints at least; a fit that goes on is the same wherever it was cut


@contextmanager
def reproducible(seed: int, device: str | torch.device = "cpu", threads: int = 1) -> Iterator[None]:
    """Within the block torch draws from `seed` and adds in one order; after it all is as it was before.

    `threads` work on the CPU: sums are rounded by their number, so a fixed one is part of what makes equal bytes.
    """
    gpus = [torch.device(device)] if torch.device(device).type == "cuda" else []
    strict, warn_only = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )
    with torch.random.fork_rng(devices=gpus), cpu_threads(threads):
        torch.manual_seed(seed)
        torch.use_deterministic_algorithms(True, warn_only=True)
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(strict, warn_only=warn_only)


@contextmanager
def cpu_threads(threads: int = 1) -> Iterator[None]:
    """Let torch use so many threads within the block. One suits a request: waking others costs more than it gives."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def batches(rows: npt.NDArray[np.intp], size: int) -> Iterator[npt.NDArray[np.intp]]:
    """The rows in another order at every call, `size` at a time; drawn from torch's generator."""
    order = rows[torch.randperm(len(rows)).numpy()]
    for start in range(0, len(order), size):
        yield order[start : start + size]


@dataclass(frozen=True, slots=True)
class Fit:
    """One training. `train_epoch` changes `net` through `optimiser` (and steps `schedule`, where there is one),
    `validate` says how good it is by then; both give metrics by name. The epoch with the highest `by` is kept.

    Both draw from torch's generators alone, so that a fit can go on as if it had never stopped.
    """

    net: nn.Module
    optimiser: torch.optim.Optimizer
    train_epoch: Callable[[], Metrics]
    validate: Callable[[], Metrics]
    by: str
    schedule: torch.optim.lr_scheduler.LRScheduler | None = None


@dataclass(frozen=True, slots=True)
class Best:
    """The epoch that was kept, from 0, what validation said of it, and how many there were."""

    epoch: int
    value: float
    epochs: int


@dataclass(slots=True)
class _Progress:
    """Metrics of each split by epoch, and the weights of the best epoch."""

    curves: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    weights: Tensors = field(default_factory=dict)

    def add(self, split: str, metrics: Metrics) -> None:
        for name, value in metrics.items():
            self.curves.setdefault(name, {}).setdefault(split, []).append(float(value))


def fit_best(fit: Fit, epochs: int, patience: int, run: Run, label: str, save_after_s: float = SAVE_AFTER_S) -> Best:
    """Train until `patience` epochs have not improved on the best, or for `epochs`; leaves the best one in `fit.net`.

    The curves go to the run as `<label>.<metric>`, an epoch as the stage `<label>`. Call within `reproducible`. What
    lies in the run's folder under the same label is gone on from; a fit that was done there is not done again.
    """
    path = run.folder / f"{label}.safetensors"
    progress = _resume(path, fit)
    for name, splits in progress.curves.items():
        for split, values in splits.items():
            for value in values:
                run.metric(f"{label}.{name}", split, value)
    saved = time.monotonic()
    while (best := _best(progress, fit.by)).epochs < epochs and best.epochs - best.epoch <= patience:
        for split, judge in (("train", fit.train_epoch), ("valid", fit.validate)):
            metrics = judge()
            progress.add(split, metrics)
            for name, value in metrics.items():
                run.metric(f"{label}.{name}", split, value)
        best = _best(progress, fit.by)
        if best.epoch == best.epochs - 1:
            progress.weights = _weights(fit.net)
        run.stage(label, best.epochs, epochs)
        if time.monotonic() - saved >= save_after_s:
            _save(path, fit, progress)
            saved = time.monotonic()
    _save(path, fit, progress)
    fit.net.load_state_dict(progress.weights)
    return best


def save_net(path: Path, net: nn.Module) -> None:
    """Write the net's weights; equal weights are equal bytes."""
    save_file(_weights(net), path)


def load_net(path: Path, net: nn.Module) -> None:
    """Read what `save_net` wrote into a net of the same shape. Raises StateError where that cannot be done."""
    try:
        net.load_state_dict(load_file(path))
    except (OSError, SafetensorError, RuntimeError) as error:
        raise StateError(f"{path}: the weights cannot be read ({error}); train again") from error


def _best(progress: _Progress, by: str) -> Best:
    """The first epoch of the highest value. A NaN is never the best, and before the first epoch there is none."""
    values = progress.curves.get(by, {}).get("valid", [])
    if not values:
        return Best(0, float("-inf"), 0)
    epoch = int(np.argmax(np.nan_to_num(values, nan=-np.inf)))
    return Best(epoch, values[epoch], len(values))


def _weights(net: nn.Module) -> Tensors:
    """A copy on the CPU: training goes on in the net's own."""
    return {name: value.detach().cpu().clone().contiguous() for name, value in net.state_dict().items()}


def _save(path: Path, fit: Fit, progress: _Progress) -> None:
    """Everything that the next epoch depends on, whole or not at all."""
    state = fit.optimiser.state_dict()
    tensors = {f"net.{name}": value for name, value in _weights(fit.net).items()}
    tensors |= {f"best.{name}": value for name, value in progress.weights.items()}
    tensors |= {
        f"optimiser.{number}.{name}": torch.as_tensor(value).detach().cpu().clone()
        for number, values in state["state"].items()
        for name, value in values.items()
    }
    tensors["generator.cpu"] = torch.get_rng_state()
    if torch.cuda.is_available() and (device := _device(fit.net)).type == "cuda":
        tensors["generator.cuda"] = torch.cuda.get_rng_state(device)
    said = {
        "curves": progress.curves,
        "groups": state["param_groups"],
        "schedule": fit.schedule and fit.schedule.state_dict(),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path, durable=False) as beside:
        save_file(tensors, beside, {"said": json.dumps(said)})


def _resume(path: Path, fit: Fit) -> _Progress:
    """What a checkpoint holds, put into the fit; nothing where there is none that can be read."""
    try:
        with safe_open(path, "pt") as file:
            said = json.loads(file.metadata()["said"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no mapping
    except FileNotFoundError:
        return _Progress()
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
        logger.warning("%s cannot be read (%s): this fit starts anew", path, error)
        return _Progress()
    parts = _parts(tensors)
    fit.net.load_state_dict(parts["net"])
    fit.optimiser.load_state_dict({"state": _numbered(parts.get("optimiser", {})), "param_groups": said["groups"]})
    if fit.schedule is not None:
        fit.schedule.load_state_dict(said["schedule"])
    torch.set_rng_state(parts["generator"]["cpu"])
    if "cuda" in parts["generator"]:
        torch.cuda.set_rng_state(parts["generator"]["cuda"], _device(fit.net))
    return _Progress(said["curves"], parts.get("best", {}))


def _parts(tensors: Tensors) -> dict[str, Tensors]:
    """By what stands before the first dot of their names."""
    parts: dict[str, Tensors] = {}
    for name, value in tensors.items():
        part, _, rest = name.partition(".")
        parts.setdefault(part, {})[rest] = value
    return parts


def _numbered(tensors: Tensors) -> dict[int, dict[str, Any]]:
    """The optimiser's state of each parameter, by the parameter's number."""
    return {int(number): dict(state) for number, state in _parts(tensors).items()}


def _device(net: nn.Module) -> torch.device:
    return next(net.parameters()).device
