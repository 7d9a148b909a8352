"""Fits the user sequence model on the catalog's own events: from what a user has done, tell the next item.

Training sees the events before a moment, and each position only its past; those after it say when to stop. The net is
published only when it is done: a killed fit has changed nothing and starts over, to the same weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt
import polars as pl
import torch

from embedders.device import pick_device
from embedders.fitted import FittedVersion, publish
from embedders.next_item import NextItem, Scores, measure, nearest_content, popularity, to_foretell
from embedders.user_histories import Histories, Rows, read_histories
from embedders.user_items import ItemInputs, read_sources
from embedders.user_sequence import SequenceConfig, UserSequence, net_scores, sampled_loss
from feature_repo.catalog import Catalog
from feature_repo.contracts import EventType
from feature_repo.errors import InputError, StateError
from feature_repo.events import EventLog
from feature_repo.settings import Settings
from feature_repo.vectors import Vectors

ENCODER = "user_sequence"
USUAL = ("minilm", "efficientnet_lite0")  # item vectors, of which those are taken that are there

_ITEMS = 8192  # encoded at once where no gradient is needed

Progress = Callable[[str, int, int], None]  # stage ("read" or "epoch"), done, total


@dataclass(frozen=True, slots=True)
class FitConfig:
    """How the net is fitted: AdamW at a cosine rate, until NDCG@10 has not improved for `patience` epochs.

    `validation` is the share of the events, the latest, that say when to stop. `max_events` bounds memory: of a larger
    log, users are taken by a hash until there are as many. `popular` is the share of negatives that are drawn as often
    as users meet them; the others are drawn evenly.
    """

    epochs: int = 20
    patience: int = 5
    batch: int = 16  # stretches of events
    rate: float = 3e-3
    weight_decay: float = 0.05
    negatives: int = 512
    popular: float = 0.5
    validation: float = 0.1
    validation_events: int = 5_000
    max_events: int = 5_000_000
    length: int = 100
    width: int = 64
    dropout: float = 0.2
    id_dropout: float = 0.3
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Log:
    """The events to fit on, and the content ids that their items number: those of every vector and every event."""

    histories: Histories
    content_ids: list[str]


@dataclass(frozen=True, slots=True)
class UserFit:
    """A fitted net, its item inputs, what it foretold of the validation events after each epoch, and the baselines."""

    net: UserSequence
    inputs: ItemInputs
    epochs: list[NextItem]
    best: int
    baselines: dict[str, NextItem]


def fit_user_sequence(
    settings: Settings,
    catalog: Catalog,
    config: FitConfig | None = None,
    embeddings: Sequence[str] = (),
    until: datetime | None = None,
    on_progress: Progress = lambda stage, done, total: None,
) -> FittedVersion:
    """Fit on the event log, those of its events before `until`, and publish.

    `embeddings` name the item vectors to read; by default those of `USUAL` that the catalog has. The same log,
    vectors and seed give the same weights on the same machine. Raises StateError where nothing was embedded,
    InputError where there are too few events.
    """
    config = config or FitConfig(seed=settings.seed)
    names = list(embeddings) or [name for name in USUAL if name in catalog.embeddings()]
    if not names:
        raise StateError(f"no item vectors to read: run `larder embed {USUAL[0]}`, or name other embeddings")
    sources = read_sources(settings, catalog, dict.fromkeys(names))
    log = read_log(settings, sources, config, until, on_progress)
    fit = fit_net(log, sources, config, pick_device(settings), on_progress)
    best = fit.epochs[fit.best]
    facts = {
        "dim": config.width,
        "net": asdict(fit.net.config),
        "config": asdict(config),
        "embeddings": {source.embedding: source.spec_digest for source in sources},
        "events": len(log.histories.items),
        "users": len(log.histories.starts) - 1,
        "items": len(log.content_ids),
        "until": None if until is None else until.isoformat(),
        "epoch": fit.best + 1,
        "validation": asdict(best),
        "baselines": {name: asdict(found) for name, found in fit.baselines.items()},
        "torch": torch.__version__,
    }
    return publish(settings, ENCODER, _weights(fit.net) | fit.inputs.weights(), facts)


def read_log(
    settings: Settings,
    sources: Sequence[Vectors],
    config: FitConfig,
    until: datetime | None = None,
    on_progress: Progress = lambda stage, done, total: None,
) -> Log:
    """The event log without impressions, which are the platform's doing and not the user's."""
    numbers: dict[str, int] = {}
    for content_id in sorted({content_id for source in sources for content_id in source.content_ids}):
        numbers[content_id] = len(numbers)
    parts: list[Histories] = []
    read = 0
    for frame in EventLog(settings.interactions_dir).by_user():
        events = frame.filter(pl.col("event") != EventType.IMPRESSION.value)
        if until is not None:
            events = events.filter(pl.col("timestamp") < until)
        for content_id in events["content_id"].unique(maintain_order=True):
            numbers.setdefault(content_id, len(numbers))
        parts.append(read_histories(events, numbers))
        read += events.height
        on_progress("read", read, config.max_events)
        if read >= config.max_events:
            break
    return Log(Histories.joined(parts), list(numbers))


def fit_net(
    log: Log,
    sources: Sequence[Vectors],
    config: FitConfig,
    device: torch.device,
    on_progress: Progress = lambda stage, done, total: None,
) -> UserFit:
    """Fit on the earlier events, keep the epoch that foretells the later ones best. Raises InputError, StateError."""
    times = np.sort(log.histories.times)
    if len(times) < 2:
        raise InputError(f"{len(times)} events to fit a user model on: run `larder ingest` on a dataset that has some")
    cut = int(times[int(len(times) * (1 - config.validation))])
    check = to_foretell(log.histories, cut, config.validation_events)
    met = np.unique(log.histories.items[log.histories.times < cut])
    inputs = ItemInputs.fit(sources, [log.content_ids[n] for n in met], _buckets(len(met)))
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(config.seed)
        training = _Training(log, inputs, cut, config, device)
        if not training.targets.any() or not len(check):
            raise InputError(
                "no user has done anything before and after "
                f"{datetime.fromtimestamp(cut / 1e6, UTC):%Y-%m-%d %H:%M}: there is no next item to learn from"
            )
        epochs, best = training.run(check, on_progress)
    baselines = {
        "popularity": measure(log.histories, check, popularity(log.histories, cut, len(log.content_ids))),
        "nearest content": measure(log.histories, check, nearest_content(log.histories, training.features)),
    }
    return UserFit(training.net.eval(), inputs, epochs, best, baselines)


class _Training:
    def __init__(self, log: Log, inputs: ItemInputs, cut: int, config: FitConfig, device: torch.device) -> None:
        self._log, self._config, self._device = log, config, device
        histories = log.histories
        self._owners, self._gaps, self._pasts = histories.owners(), histories.gaps(), histories.pasts()
        early = histories.times < cut
        self.targets = early & histories.first_meetings() & (self._pasts >= 0)
        self._ends = histories.starts[:-1] + np.bincount(self._owners[early], minlength=len(histories.starts) - 1)
        counts = np.bincount(histories.items[early], minlength=len(log.content_ids)).astype(np.float64)
        even = (counts > 0) / max((counts > 0).sum(), 1)
        self._chances = config.popular * counts / max(counts.sum(), 1) + (1 - config.popular) * even
        self._sums = np.cumsum(self._chances)
        with np.errstate(divide="ignore"):
            self._log_chances = torch.from_numpy(np.log(self._chances).astype(np.float32)).to(device)
        self.features = inputs.features(log.content_ids)
        self._id_rows = torch.from_numpy(inputs.rows(log.content_ids)).to(device)
        self._rng = np.random.default_rng(config.seed)
        shape = SequenceConfig(
            inputs.width,
            inputs.buckets,
            config.width,
            length=config.length,
            dropout=config.dropout,
            id_dropout=config.id_dropout,
        )
        self.net = UserSequence(shape).to(device)

    def run(self, check: Rows, on_progress: Progress) -> tuple[list[NextItem], int]:
        """Train, leave the best epoch's weights in the net; what each epoch foretold, and which was best."""
        config = self._config
        optimiser = torch.optim.AdamW(self.net.parameters(), config.rate, weight_decay=config.weight_decay)
        rate = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, config.epochs)
        epochs: list[NextItem] = []
        best, weights = 0, _weights(self.net)
        for epoch in range(config.epochs):
            self._train_epoch(optimiser)
            rate.step()
            epochs.append(measure(self._log.histories, check, self._scores(check)))
            if epochs[-1].ndcg > epochs[best].ndcg or epoch == 0:
                best, weights = epoch, _weights(self.net)
            on_progress("epoch", epoch + 1, config.epochs)
            if epoch - best >= config.patience:
                break
        self.net.load_state_dict({name: torch.from_numpy(value) for name, value in weights.items()})
        return epochs, best

    def _train_epoch(self, optimiser: torch.optim.Optimizer) -> None:
        self.net.train()
        for begins, ends in self._stretches():
            loss = self._loss(begins, ends)
            if loss is None:
                continue
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)
            optimiser.step()

    def _stretches(self) -> Iterator[tuple[Rows, Rows]]:
        """Batches of stretches of training events, their first and past their last; cut elsewhere in each epoch."""
        length, starts = self._config.length, self._log.histories.starts[:-1]
        phases = np.where(self._ends - starts > length, self._rng.integers(0, length, len(starts)), 0)
        counts = -(-(self._ends - starts + phases) // length)
        users = np.repeat(np.arange(len(starts)), counts)
        number = np.arange(len(users)) - np.repeat(np.cumsum(counts) - counts, counts)
        begins = starts[users] - phases[users] + number * length
        ends = np.minimum(begins + length, self._ends[users])
        begins = np.maximum(begins, starts[users])
        order = self._rng.permutation(len(begins))
        for at in range(0, len(order), self._config.batch):
            chosen = order[at : at + self._config.batch]
            yield begins[chosen], ends[chosen]

    def _loss(self, begins: Rows, ends: Rows) -> torch.Tensor | None:
        """Each target against shared negatives, from the state before it; None where these stretches have no target."""
        histories = self._log.histories
        index = begins[:, None] + np.arange((ends - begins).max())  # (stretches, events)
        inside = index < ends[:, None]
        index = np.where(inside, index, begins[:, None])
        row, column = np.nonzero(inside & self.targets[index] & (self._pasts[index] >= begins[:, None]))
        if not len(row):
            return None
        right = histories.items[index[row, column]]
        others = np.searchsorted(self._sums, self._rng.random(self._config.negatives) * self._sums[-1])
        kinds = self._tensor(histories.kinds[index])
        items, vectors = self._encode(np.concatenate([histories.items[index].ravel(), right, others]))
        seen, mine, theirs = torch.split(items, [index.size, len(right), len(others)])
        states = self.net(vectors[seen].view(*index.shape, -1), kinds, self._tensor(self._gaps[index]))
        chosen = states[self._tensor(row), self._tensor(self._pasts[index[row, column]] - begins[row])]
        odds = self._log_chances[self._tensor(np.concatenate([right, others]))]
        hits = self._tensor(right)[:, None] == self._tensor(others)[None]
        return sampled_loss(chosen, vectors[mine], vectors[theirs], odds, hits)

    def _encode(self, numbers: Rows) -> tuple[torch.Tensor, torch.Tensor]:
        """Vectors of the different items among `numbers`, and of each number its row in them."""
        different, row = np.unique(numbers, return_inverse=True)
        features = torch.from_numpy(self.features[different]).to(self._device)
        return self._tensor(row), self.net.items(features, self._id_rows[self._tensor(different)])

    @torch.inference_mode()
    def _scores(self, events: Rows) -> Scores:
        self.net.eval()
        parts = np.array_split(np.arange(len(self.features)), 1 + len(self.features) // _ITEMS)
        items = torch.cat([self._encode(part)[1] for part in parts])
        return net_scores(self.net, items, self._log.histories, events)

    def _tensor(self, values: npt.NDArray[np.int64]) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(values)).to(self._device)


def _weights(net: UserSequence) -> dict[str, npt.NDArray[np.float32]]:
    return {name: value.cpu().clone().numpy() for name, value in net.state_dict().items()}


def _buckets(items: int) -> int:
    """Rows of the id table: twice the items, so that few share one, up to 131,072."""
    return int(min(2 ** int(np.ceil(np.log2(2 * max(items, 1)))), 2**17))
