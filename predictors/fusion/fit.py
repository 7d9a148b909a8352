"""Fits `engagement_fusion`, and beside it a ridge and a plain concatenation of the same inputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import cos, pi

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from feature_repo.errors import StateError
from predictors.engagement import Examples
from predictors.evaluation.engagement_metrics import r2
from predictors.fusion.config import FusionConfig
from predictors.fusion.inputs import Encoder, Inputs, Shape
from predictors.fusion.net import Concatenation, FusionNet, NetOptions, perceptron
from predictors.fusion.predictor import Ensemble, Fusion
from predictors.labels import Floats, Quintiles
from predictors.ordinal import OrdinalLink
from predictors.recipes import Fitted
from predictors.splits import Rows, Splits
from predictors.torch_fit import Fit, Metrics, batches, fit_best, reproducible
from predictors.tracking import LocalRun, Run

LEAST_TRAINING = 30  # labelled contents in the training split
LINEAR = 0.3  # of the numbers beside the hidden layer's, where a net begins
_RIVAL_EPOCHS, _RIVAL_PATIENCE, _RIVAL_RATE = 60, 10, 1e-3  # of a plain net, which begins knowing nothing
PENALTIES = tuple(10.0 ** (k / 4) for k in range(-12, 13))  # of the ridge, per training row


def fit_fusion(examples: Examples, config: FusionConfig, run: Run) -> Fitted:
    """Train on the training rows, keep each net's best epoch on the validation rows; the test rows are not looked at.

    Raises StateError where there is too little to learn from.
    """
    _require_learnable(examples.splits)
    encoder, inputs = Encoder.fit(examples, config)
    training = Training.of(examples, inputs, config)

    def predictor(ensemble: Ensemble) -> Fusion:
        return Fusion(encoder, ensemble, training.link(ensemble), examples.digests, run.version)

    fused = predictor(training.ensemble(training.nets(_fusion_net(encoder.shape, training), run, "net")))
    rivals = {name: predictor(ensemble) for name, ensemble in training.rivals(run).items()}
    gates = fused.score(examples.columns.take(examples.splits.valid)).details["gates"].mean(axis=0)
    shares = dict(zip(fused.modalities, gates.tolist(), strict=True))
    return Fitted(fused, {"modalities": list(fused.modalities), "gates": shares}, rivals)


def _rate(epoch: int, epochs: int) -> float:
    """A rate's factor: 0 in the first epoch, after which validation judges the start itself, then half a cosine."""
    return (1 + cos(pi * (epoch - 1) / max(1, epochs - 1))) / 2 if epoch else 0.0


def _require_learnable(splits: Splits) -> None:
    if len(splits.train) < LEAST_TRAINING or not len(splits.valid):
        raise StateError(
            f"{len(splits.train)} labelled contents to train on and {len(splits.valid)} to validate on; "
            f"at least {LEAST_TRAINING} and 1 are needed: ingest more contents that have counters"
        )


def _fusion_net(shape: Shape, training: Training) -> Callable[[], nn.Module]:
    """Makes nets that begin at a ridge of the facts, the vectors, and what the hidden layer, as it was drawn, makes of
    both: near a kernel ridge, with a linear part.
    """
    inputs, config = training.inputs, training.config
    options = NetOptions(config.width, config.hidden, config.heads, config.dropout, config.modality_dropout)
    numbers = torch.cat([inputs.facts, *inputs.vectors.values()], dim=1)
    level = numbers.shape[1] ** 0.5  # of the drawn units: they then vary as much as the numbers
    sizes = [shape.facts, *shape.vectors.values(), config.hidden]

    def make() -> nn.Module:
        net = FusionNet(shape, options)
        start = training.ridge(torch.cat([LINEAR * numbers, level * net.drawn(numbers).detach()], dim=1))
        weights = start.weight[0].detach()
        facts, *vectors, hidden = torch.split(weights, sizes)
        linear = {name: LINEAR * part for name, part in zip(shape.vectors, vectors, strict=True)}
        net.start_at(LINEAR * facts, linear, level * hidden, float(start.bias.detach()))
        return net

    return make


@dataclass(frozen=True, slots=True)
class Training:
    """All rows' inputs, scores (n,) and `targets` (n,), the scores standardised; and which rows are for what."""

    inputs: Inputs
    scores: Floats
    targets: Floats
    splits: Splits
    config: FusionConfig

    @classmethod
    def of(cls, examples: Examples, inputs: Inputs, config: FusionConfig) -> Training:
        """On the examples' scores and splits; `inputs` are of all their rows."""
        learnt = examples.scores[examples.splits.train]
        targets = (examples.scores - learnt.mean()) / learnt.std()
        return cls(inputs, examples.scores, targets, examples.splits, config)

    def ensemble(self, nets: Sequence[nn.Module]) -> Ensemble:
        """The nets' mean, in units of the scores."""
        learnt = self.scores[self.splits.train]
        return Ensemble(nets, float(learnt.mean()), float(learnt.std()))

    def link(self, ensemble: Ensemble) -> OrdinalLink:
        """From scores to classes, fitted on the validation rows."""
        valid = self.splits.valid
        said, quintiles = ensemble(self.inputs.take(valid))[0], Quintiles.fit(self.scores[self.splits.train])
        return OrdinalLink.fit(said, self.scores[valid], quintiles)

    def rivals(self, run: Run) -> dict[str, Ensemble]:
        """A ridge over all inputs side by side, and a net of one hidden layer over them."""
        flat, config = self.inputs.flat(), self.config
        rival = replace(config, epochs=_RIVAL_EPOCHS, patience=_RIVAL_PATIENCE, learning_rate=_RIVAL_RATE)
        patient = replace(self, config=rival)
        size, hidden = flat.shape[1], 2 * config.width
        plain = patient.nets(
            lambda: Concatenation(perceptron(size, hidden, config.dropout)),
            LocalRun(run.version, run.folder),
            "concatenation",
        )
        return {"ridge": self.ensemble([Concatenation(self.ridge(flat))]), "concatenation": self.ensemble(plain)}

    def nets(self, make: Callable[[], nn.Module], run: Run, label: str) -> list[nn.Module]:
        """As many as the ensemble has, each from a seed of its own."""
        return [self._net(make, number, run, f"{label}{number}") for number in range(self.config.members)]

    def _net(self, make: Callable[[], nn.Module], number: int, run: Run, label: str) -> nn.Module:
        config = self.config
        with reproducible(config.seed * 1000 + number):
            net = make()
            optimiser = torch.optim.AdamW(
                net.parameters(), config.learning_rate, weight_decay=config.weight_decay, fused=True
            )
            schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, partial(_rate, epochs=config.epochs))

            def train_epoch() -> Metrics:
                net.train()
                total = 0.0
                for rows in batches(self.splits.train, config.batch):
                    loss = self._loss(net(self.inputs.take(rows))[0], rows)
                    optimiser.zero_grad()
                    loss.backward()  # type: ignore[no-untyped-call]
                    nn.utils.clip_grad_norm_(net.parameters(), 1.0)
                    optimiser.step()
                    total += float(loss.detach()) * len(rows)
                schedule.step()
                return {"loss": total / len(self.splits.train)}

            def validate() -> Metrics:
                rows = self.splits.valid
                with torch.inference_mode():
                    said = net.eval()(self.inputs.take(rows))[0]
                    loss = float(self._loss(said, rows))
                return {"loss": loss, "r2": r2(self.targets[rows], said.double().numpy())}

            fit = Fit(net, optimiser, train_epoch, validate, "r2", schedule)
            fit_best(fit, config.epochs, config.patience, run, label)
        return net

    def _loss(self, said: torch.Tensor, rows: Rows) -> torch.Tensor:
        """Squared error, which finds the mean, with a share of Huber's (1964), which outliers pull less."""
        aims, share = torch.from_numpy(self.targets[rows].astype(np.float32)), self.config.huber_share
        return (1 - share) * F.mse_loss(said, aims) + share * F.huber_loss(said, aims)

    def ridge(self, inputs: torch.Tensor) -> nn.Linear:
        """The linear model of (n, columns) inputs (Hoerl and Kennard 1970), its penalty the best on validation."""
        columns, splits = inputs.double().numpy(), self.splits
        train, aims = columns[splits.train], self.targets[splits.train]
        centre, level = train.mean(axis=0), aims.mean()
        values, basis = np.linalg.eigh((train - centre).T @ (train - centre))
        moment = basis.T @ ((train - centre).T @ (aims - level))
        weights = basis @ (moment[:, None] / (np.maximum(values, 0)[:, None] + len(train) * np.array(PENALTIES)))
        said = (columns[splits.valid] - centre) @ weights + level
        best = max(range(len(PENALTIES)), key=lambda place: r2(self.targets[splits.valid], said[:, place]))
        with torch.random.fork_rng(devices=[]), torch.no_grad():  # a layer is drawn before it is filled
            linear = nn.Linear(len(centre), 1)
            linear.weight.copy_(torch.from_numpy(weights[:, best])[None])
            linear.bias.fill_(float(level - centre @ weights[:, best]))
        return linear
