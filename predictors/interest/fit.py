"""Fits `interest` on what users did: each training row sees its user's past as the store knew it before the row."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from predictors.evaluation.ranking import auc, gauc, log_loss
from predictors.interest.blocks import ENGAGED, REACTION, Blocks, chances, outputs_of, require_learnable, targets_of
from predictors.interest.config import InterestConfig
from predictors.interest.content_inputs import ContentInputs, Ids
from predictors.interest.examples import EventExamples
from predictors.interest.inputs import STATISTICS, Context
from predictors.interest.net import InterestNet, NetConfig, Represented
from predictors.interest.platt import Platt
from predictors.interest.predictor import Inputs, Interest, as_past
from predictors.interest.rank import asked_of, rank_weight
from predictors.labels import Floats
from predictors.recipes import Fitted
from predictors.torch_fit import Fit, batches, fit_best, reproducible
from predictors.tracking import Run

_WARM_UP = 0.15  # of the steps


def fit_interest(examples: EventExamples, config: InterestConfig, run: Run) -> Fitted:
    """Fit on the training rows, stop and calibrate on the validation rows; the test rows are not looked at.

    Raises StateError where there is too little to learn from.
    """
    require_learnable(examples)
    with reproducible(config.seed, threads=config.threads):
        training = _Training(examples, config)
        fit = Fit(training.net, training.optimiser, training.train_epoch, training.validate, "auc", training.schedule)
        best = fit_best(fit, config.epochs, config.patience, run, "interest")
        predictor = training.predictor(run.version)
    return Fitted(predictor, {"epoch": best.epoch + 1, "epochs": best.epochs, "rank_weight": predictor.rank_weight})


class _Training:
    """The rows as tensors, the net and its optimiser."""

    def __init__(self, examples: EventExamples, config: InterestConfig) -> None:
        self._examples, self._config = examples, config
        self.inputs = _inputs(examples, config)
        self.outputs = outputs_of(examples)
        targets = targets_of(examples, self.outputs)
        self._targets = {name: torch.from_numpy(values) for name, values in targets.items()}
        contents = self.inputs.contents
        self._features = torch.from_numpy(contents(examples.contents))
        self._ids = torch.from_numpy(contents.ids.rows(examples.contents.objects("content_id")))
        self._context = torch.from_numpy(self.inputs.context(examples.columns))
        self._blocks = Blocks.of(examples, self.inputs.context, self.inputs.users, config.block)
        self._chances = torch.from_numpy(chances(examples.items[examples.splits.train], examples.contents.rows))
        self._odds = self._chances.clamp_min(1e-12).log()
        self.net = InterestNet(_shape(self.inputs, len(self.outputs), config))
        self.optimiser = _optimiser(self.net, config)
        self._steps = -(-len(self._blocks.users) // config.batch)
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimiser, config.rate, total_steps=config.epochs * self._steps, pct_start=_WARM_UP
        )

    def train_epoch(self) -> dict[str, float]:
        """One pass over all blocks in another order; mean losses."""
        self.net.train()
        sums: dict[str, float] = {}
        for chosen in batches(np.arange(len(self._blocks.users)), self._config.batch):
            losses = self._losses(self._blocks.take(chosen))
            self.optimiser.zero_grad()
            torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)
            self.optimiser.step()
            self.schedule.step()
            for name, loss in losses.items():
                sums[name] = sums.get(name, 0.0) + float(loss.detach()) / self._steps
        self.net.eval()
        return sums

    def validate(self) -> dict[str, float]:
        """How well the validation rows are told apart, once calibrated on themselves: two or three numbers."""
        valid = self._examples.splits.valid
        truth, users = self._examples.labels[ENGAGED][valid], self._examples.columns.objects("user_id")[valid]
        logits = self._valid_logits()
        p = Platt.fit(logits, truth)(logits)
        return {"auc": auc(truth, p), "gauc": gauc(users, truth, p), "log_loss": log_loss(truth, p)}

    def predictor(self, version: str) -> Interest:
        """The net with what the validation rows say of its logits."""
        truth = self._examples.labels[ENGAGED][self._examples.splits.valid]
        fitted = self._made(version, Platt.fit(self._valid_logits(), truth))
        with torch.inference_mode():
            weight = rank_weight(self._examples, asked_of(fitted, self._examples))
        return self._made(version, fitted.calibration, weight)

    def _made(self, version: str, calibration: Platt, weight: float = 1.0) -> Interest:
        return Interest(self.net, self.inputs, self.outputs, calibration, weight, self._examples.digests, version)

    def _valid_logits(self) -> Floats:
        """Those that are calibrated, of the validation rows."""
        known = [column for column, name in enumerate(self.outputs) if name in (ENGAGED, REACTION)]
        asked = self._made("validation", Platt([1.0] * len(known), 0.0))
        with torch.inference_mode():
            parts = [asked.logits(batch)[0] for batch in self._examples.batches(self._examples.splits.valid)]
        return np.concatenate(parts)[:, known]

    def _losses(self, blocks: Blocks) -> dict[str, torch.Tensor]:
        """Of each output over the rows that have its label, and of the meetings against sampled contents."""
        items, met = self._examples.items[blocks.rows], blocks.past.contents
        drawn = torch.multinomial(self._chances, self._config.negatives, replacement=True).numpy()
        different, inverse = np.unique(np.concatenate([met.ravel(), items.ravel(), drawn]), return_inverse=True)
        place = torch.from_numpy(inverse)
        contents = self.net.represent(self._features[different], self._ids[different])
        mine = place[met.size : met.size + items.size].view(items.shape)
        past = as_past(blocks.past, contents.vectors[place[: met.size].view(met.shape)])
        state = self.net.recall(past, torch.from_numpy(blocks.users))
        logits = self.net(state, contents.take(mine), self._context[blocks.rows])
        losses = self._label_losses(logits, blocks)
        if weight := self._config.meeting_weight:
            owners = torch.from_numpy(np.nonzero(blocks.filled)[0])
            right, others = mine[torch.from_numpy(blocks.filled)], place[met.size + items.size :]
            losses["meeting"] = weight * meeting_loss(
                state.query[owners], contents, self._odds[different], right, others
            )
        return losses

    def _label_losses(self, logits: torch.Tensor, blocks: Blocks) -> dict[str, torch.Tensor]:
        losses = {}
        real = torch.from_numpy(blocks.filled)
        for column, name in enumerate(self.outputs):
            target = self._targets[name][blocks.rows]
            known = real & target.isfinite()
            said, wanted = logits[..., column][known], target[known]
            if name == REACTION:
                losses[name] = self._config.reaction_weight * F.mse_loss(said, wanted, reduction="sum")
            else:
                losses[name] = F.binary_cross_entropy_with_logits(said, wanted, reduction="sum")
            losses[name] = losses[name] / known.sum().clamp_min(1)  # a batch may know none of a rare head
        return losses


def meeting_loss(
    query: torch.Tensor, contents: Represented, odds: torch.Tensor, right: torch.Tensor, others: torch.Tensor
) -> torch.Tensor:
    """Softmax over the right content and the drawn ones, each logit less the log of how often it is drawn, so that
    frequent contents are not pushed down for being drawn (logQ: Yi et al., RecSys 2019). A drawn one that happens to be
    the right one stays: only then is the optimum the true distribution.

    `query` is (n, width), `right` (n,) and `others` (k,) are places in `contents`, whose `odds` are (m,).
    """
    familiar = contents.familiar - odds
    own = (query * contents.keys[right]).sum(-1) + familiar[right]
    rest = query @ contents.keys[others].T + familiar[others]
    logits = torch.cat([own[:, None], rest], 1)
    return F.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.long))


def _inputs(examples: EventExamples, config: InterestConfig) -> Inputs:
    """Fitted on the training rows and the contents that they met."""
    train = examples.splits.train
    known, met = examples.columns.take(train), examples.contents.take(np.unique(examples.items[train]))
    codes = (config.codes, config.code_words)
    contents = ContentInputs.fit(met, examples.digests, config.components, config.top_words, codes)
    users = Ids.fit([user for user in known.objects("user_id") if user])
    return Inputs(contents, users, Context.fit(known))


def _shape(inputs: Inputs, outputs: int, config: InterestConfig) -> NetConfig:
    return NetConfig(
        features=inputs.contents.width,
        content_buckets=inputs.contents.ids.buckets,
        user_buckets=inputs.users.buckets,
        context=len(STATISTICS),
        outputs=outputs,
        width=config.width,
        hidden=config.hidden,
        heads=config.heads,
        cross_layers=config.cross_layers,
        cross_rank=config.cross_rank,
        dropout=config.dropout,
        id_dropout=config.id_dropout,
    )


def _optimiser(net: nn.Module, config: InterestConfig) -> torch.optim.Optimizer:
    """AdamW. What is learnt by heart, the tables of ids, decays faster: it has to be worth its keep."""
    named = list(net.named_parameters())
    tables = [value for name, value in named if name.endswith("table.weight")]
    others = [value for name, value in named if not name.endswith("table.weight")]
    groups = [
        {"params": others, "weight_decay": config.decay},
        {"params": tables, "weight_decay": config.id_decay},
    ]
    return torch.optim.AdamW(groups, config.rate)
