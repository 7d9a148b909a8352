"""Fits the towers and the head of `engagement_end_to_end` together, from states below the fitted layers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import cos, pi
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sklearn.linear_model import Ridge
from torch import nn

from embedders.precision import multiplies_bfloat16
from embedders.tuned import Tower
from feature_repo.contracts import Modality
from predictors.end_to_end.config import EndToEndConfig
from predictors.end_to_end.data import MediaExamples
from predictors.end_to_end.net import MODALITIES, Head, Said, Seen, class_loss
from predictors.end_to_end.states import StateFile
from predictors.evaluation.engagement_metrics import r2
from predictors.labels import CLASSES, Quintiles
from predictors.torch_fit import Best, Fit, batches, fit_best
from predictors.tracking import Run

ALPHAS = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0)  # of the ridge that the head starts from

Rows = npt.NDArray[np.intp]
See = Callable[[Rows], Mapping[str, Seen]]

_WARM = 0.1  # share of the steps in which the rates rise
_READ = 64  # contents a pass where nothing is fitted


@dataclass(frozen=True, slots=True)
class Targets:
    """Standardised scores and classes of all examples, (n,), what a class weighs in the loss, (5,), and the mean and
    the deviation that scores are standardised by. Mean, deviation, edges and weights come of the training rows alone.
    """

    scores: torch.Tensor
    classes: torch.Tensor
    weights: torch.Tensor
    mean: float
    deviation: float

    @classmethod
    def of(cls, examples: MediaExamples, balanced: bool) -> Targets:
        """Fitted on the training rows."""
        learnt = examples.scores[examples.splits.train]
        quintiles = Quintiles.fit(learnt)
        counts = np.bincount(quintiles.classes(learnt), minlength=CLASSES)
        weights = np.where(counts, len(learnt) / np.maximum(counts, 1), 0.0) if balanced else np.ones(CLASSES)
        mean, deviation = float(learnt.mean()), float(learnt.std())
        return cls(
            torch.tensor((examples.scores - mean) / deviation, dtype=torch.float32),
            torch.tensor(quintiles.classes(examples.scores)),
            torch.tensor(weights, dtype=torch.float32),
            mean,
            deviation,
        )

    def to(self, device: torch.device) -> Targets:
        """The same in the memory of a device."""
        scores, classes, weights = (part.to(device) for part in (self.scores, self.classes, self.weights))
        return Targets(scores, classes, weights, self.mean, self.deviation)


class Towers:
    """Both towers over the states of the examples' media."""

    def __init__(
        self, towers: Mapping[Modality, Tower], files: Mapping[Modality, StateFile], config: EndToEndConfig
    ) -> None:
        self._towers, self._files = towers, files
        self._tokens = config.kept_tokens
        self._low = config.mixed_precision

    def see(self, rows: Rows, vary: bool = False) -> dict[str, Seen]:
        """What both towers say of the contents; with `vary` each picture in one of its views, drawn from torch."""
        return {modality.value: self._see(modality, rows, vary) for modality in self._towers}

    def see_all(self, count: int) -> dict[str, Seen]:
        """What both say of the first view of all contents, on the CPU; nothing is learnt from it."""
        parts = []
        with torch.inference_mode():
            for first in range(0, count, _READ):
                seen = self.see(np.arange(first, min(first + _READ, count)))
                parts.append({m: Seen(*(tensor.cpu() for tensor in one)) for m, one in seen.items()})
        return {m: Seen(*map(torch.cat, zip(*(part[m] for part in parts), strict=True))) for m in MODALITIES}

    def train(self, mode: bool) -> None:
        """Let dropout work or not."""
        for tower in self._towers.values():
            tower.train(mode)

    def _see(self, modality: Modality, rows: Rows, vary: bool) -> Seen:
        tower, file = self._towers[modality], self._files[modality]
        spec, there = tower.embedder.spec, np.flatnonzero(file.present[rows])
        device = next(iter(tower.parameters.values())).device
        vectors = torch.zeros(len(rows), spec.dim, device=device)
        tokens = torch.zeros(len(rows), self._tokens, spec.token_dim, device=device)
        present = torch.from_numpy(file.present[rows]).to(device)
        if not len(there):
            return Seen(vectors, tokens, present)
        views = torch.randint(file.views, (len(there),)).tolist() if vary else [0] * len(there)
        states = [file.states(row, view) for row, view in zip(rows[there], views, strict=True)]
        low = self._low and multiplies_bfloat16(device.type)
        with torch.autocast(device.type, torch.bfloat16, enabled=low):
            pooled, places = tower.above(states, [file.words_of(row) for row in rows[there]], max(self._tokens, 1))
        place = torch.from_numpy(there).to(device)
        unit = nn.functional.normalize(pooled.float(), dim=-1)
        kept = tokens.index_copy(0, place, places.float()) if self._tokens else tokens
        return Seen(vectors.index_copy(0, place, unit), kept, present)


@dataclass(frozen=True, slots=True)
class Fitting:
    """What every fit of one training shares."""

    examples: MediaExamples
    targets: Targets
    config: EndToEndConfig
    run: Run

    def together(self, towers: Mapping[Modality, Tower], sight: Towers, head: Head) -> Best:
        """Fit what is above the states, and the head; the best epoch by R2 on validation stays in both."""
        config = self.config
        groups: list[dict[str, Any]] = [{"params": list(head.parameters()), "lr": config.rate}]
        for tower in towers.values():
            for depth in sorted(set(tower.depths.values())):
                members = [value for name, value in tower.parameters.items() if tower.depths[name] == depth]
                groups.append({"params": members, "lr": config.tower_rate * config.layer_decay**depth})

        def see(rows: Rows) -> Mapping[str, Seen]:
            sight.train(torch.is_grad_enabled())
            return sight.see(rows, vary=torch.is_grad_enabled())

        best = self._train(_Fitted(head, towers), head, groups, see, "towers")
        sight.train(False)
        return best

    def head(self, head: Head, seen: Mapping[str, Seen], label: str) -> Best:
        """Fit a head alone, over vectors that do not change; the best epoch by R2 on validation stays in it."""
        groups = [{"params": list(head.parameters()), "lr": self.config.rate}]
        return self._train(head, head, groups, lambda rows: {m: one.take(rows) for m, one in seen.items()}, label)

    def start_at_ridge(self, head: Head, seen: Mapping[str, Seen]) -> float:
        """Put a ridge regression of the standardised scores into the head's linear part, and into its steps what that
        score says of the classes; the ridge's penalty, the best of `ALPHAS` on validation.
        """
        train, valid = self.examples.splits.train, self.examples.splits.valid
        vectors = torch.cat(list(head.standardised(seen).values()), dim=1).double().numpy()
        scores = self.targets.scores.double().numpy()

        def fitted(alpha: float) -> Any:
            return Ridge(alpha=alpha).fit(vectors[train], scores[train])

        best = max(ALPHAS, key=lambda alpha: r2(scores[valid], fitted(alpha).predict(vectors[valid])))
        ridge = fitted(best)
        with torch.no_grad():
            head.linear.weight.copy_(torch.from_numpy(ridge.coef_)[None])
            head.linear.bias.fill_(float(ridge.intercept_))
        said = torch.from_numpy(ridge.predict(vectors[train])).float()[:, None]
        classes, weights = self._picked(self.targets.classes, train), self.targets.weights
        optimiser = torch.optim.LBFGS(head.steps.parameters(), max_iter=50, line_search_fn="strong_wolfe")

        def loss() -> torch.Tensor:
            optimiser.zero_grad()
            loss = class_loss(head.steps(said), classes, weights)
            loss.backward()  # type: ignore[no-untyped-call]
            return loss

        optimiser.step(loss)  # type: ignore[no-untyped-call]
        return best

    def _train(self, net: nn.Module, head: Head, groups: Sequence[dict[str, Any]], see: See, label: str) -> Best:
        config, splits = self.config, self.examples.splits
        optimiser = torch.optim.AdamW(list(groups), weight_decay=config.weight_decay)
        steps = -(-len(splits.train) // config.batch) * config.epochs
        schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, _rising_and_falling(steps))

        def train_epoch() -> Mapping[str, float]:
            head.train()
            losses = []
            for rows in batches(splits.train, config.batch):
                loss = self._loss(head(_hide(see(rows), config.modality_dropout)), rows)
                optimiser.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                nn.utils.clip_grad_norm_(net.parameters(), 1.0)
                optimiser.step()
                schedule.step()
                losses.append(float(loss.detach()))
            return {"loss": float(np.mean(losses))}

        @torch.no_grad()
        def validate() -> Mapping[str, float]:
            head.eval()
            parts = [splits.valid[first : first + _READ] for first in range(0, len(splits.valid), _READ)]
            said = Said(*map(torch.cat, zip(*(head(see(rows)) for rows in parts), strict=True)))
            truth = self._picked(self.targets.scores, splits.valid)
            explained = r2(truth.double().cpu().numpy(), said.score.double().cpu().numpy())
            return {"loss": float(self._loss(said, splits.valid)), "r2": explained}

        fit = Fit(net, optimiser, train_epoch, validate, "r2", schedule)
        best = fit_best(fit, config.epochs, config.patience, self.run, label, save_after_s=0.0)
        head.eval()
        return best

    def _loss(self, said: Said, rows: Rows) -> torch.Tensor:
        share, targets = self.config.class_share, self.targets
        squares = nn.functional.mse_loss(said.score, self._picked(targets.scores, rows))
        classes = class_loss(said.logits, self._picked(targets.classes, rows), targets.weights)
        return (1 - share) * squares + share * classes

    def _picked(self, values: torch.Tensor, rows: Rows) -> torch.Tensor:
        return values[torch.from_numpy(rows).to(values.device)]


class _Fitted(nn.Module):
    """All that is fitted, as one module: its weights are what a checkpoint holds."""

    def __init__(self, head: Head, towers: Mapping[Modality, Tower]) -> None:
        super().__init__()
        self.head = head
        for modality, tower in towers.items():
            self.register_module(modality.value, nn.ParameterList(tower.parameters.values()))


def _hide(seen: Mapping[str, Seen], chance: float) -> dict[str, Seen]:
    """Some contents without one of their media; never without both, where they have both."""
    image, text = (seen[modality] for modality in MODALITIES)
    device = image.present.device
    hidden = (torch.rand(len(image.present)) < chance).to(device) & image.present & text.present
    picture = (torch.rand(len(image.present)) < 0.5).to(device)
    return {
        "image": image._replace(present=image.present & ~(hidden & picture)),
        "text": text._replace(present=text.present & ~(hidden & ~picture)),
    }


def _rising_and_falling(steps: int) -> Callable[[int], float]:
    """A rate's factor by step: linear to 1, then half a cosine to 0."""
    warm = max(1, round(_WARM * steps))
    return lambda step: (step + 1) / warm if step < warm else (1 + cos(pi * (step - warm) / max(1, steps - warm))) / 2
