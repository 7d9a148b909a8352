"""How `engagement_end_to_end` comes to be: the towers are cut, fitted with the head, measured beside simpler readings
of the same nets, and published as embedders.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import torch
from safetensors.numpy import load_file

from embedders.base import Decoded
from embedders.device import pick_device
from embedders.fitted import packed, publish
from embedders.tuned import Tower, Tunable, open_towers, weights_of
from embedders.tuned_specs import ENCODER, tuned_spec
from feature_repo.columns import Columns
from feature_repo.contracts import EmbeddingSpec, Modality
from feature_repo.errors import MediaError, StateError
from feature_repo.settings import Settings
from feature_repo.vectors import tokens_column
from predictors.base import Predictor, Scores
from predictors.end_to_end.config import EndToEndConfig
from predictors.end_to_end.data import MediaExamples
from predictors.end_to_end.fit import Fitting, Targets, Towers
from predictors.end_to_end.net import MODALITIES, Head, Seen, Shape, probabilities
from predictors.end_to_end.predictor import FACTS, TOWERS, EndToEnd, Scale, TowerFit, seen_of
from predictors.end_to_end.states import StateFile, take_states
from predictors.evaluation.engagement_metrics import r2
from predictors.golden import ROWS, Golden
from predictors.labels import CLASSES, Quintiles
from predictors.recipes import Fitted
from predictors.torch_fit import reproducible
from predictors.tracking import LocalRun, Run

LEAST_TRAINING = 30  # labelled contents in the training split
_RIVAL_EPOCHS, _RIVAL_PATIENCE, _RIVAL_RATE = 60, 10, 1e-3  # of the head over vectors as published
SHARES = (0.0, 0.5, 1.0)  # of the classes' expected value in the score; validation chooses


class FrozenRidge:
    """The rival that a fine-tuned net has to beat: a ridge regression over the same nets' vectors as published."""

    name = "ridge"
    service = "end_to_end"
    version = "rival"
    embeddings: Mapping[str, str] = {}

    def __init__(self, head: Head, shapes: Mapping[str, Shape], scale: Scale, quintiles: Quintiles) -> None:
        self._head, self._shapes, self._scale, self._quintiles = head, shapes, scale, quintiles

    @property
    def features(self) -> tuple[str, ...]:
        """Columns that `score` reads."""
        return tuple(f"frozen_{modality}" for modality in MODALITIES)

    def score(self, columns: Columns) -> Scores:
        """Score every row; the class is the quintile that the score falls into."""
        seen = {m: seen_of(columns, f"frozen_{m}", self._shapes[m], 0) for m in MODALITIES}
        with torch.inference_mode():
            said = self._head.linear(torch.cat(list(self._head.standardised(seen).values()), dim=1))[:, 0]
        score = said.double().numpy() * self._scale.deviation + self._scale.mean
        classes = self._quintiles.classes(score)
        return Scores(score, np.eye(CLASSES)[classes], classes)


def fit_end_to_end(examples: MediaExamples, config: EndToEndConfig, run: Run) -> Fitted:
    """Fit on the training rows, choose the epoch and the score's make-up on the validation rows.

    Raises StateError where there is too little to learn from, ConfigurationError and WeightsError where the settings'
    nets cannot be fitted.
    """
    _require_learnable(examples)
    with reproducible(config.seed, pick_device(examples.settings), config.threads):
        return _fit(examples, config, run)


def install(settings: Settings, folder: Path) -> None:
    """Put the towers of a version in use as the embedders `tuned_image` and `tuned_text`. Raises StateError."""
    try:
        weights, facts = load_file(folder / TOWERS), json.loads((folder / FACTS).read_text())
    except (OSError, ValueError) as error:
        raise StateError(f"{folder}: the towers cannot be read ({error}); train again") from error
    publish(settings, ENCODER, weights, facts)


def _fit(examples: MediaExamples, config: EndToEndConfig, run: Run) -> Fitted:
    device, count = pick_device(examples.settings), len(examples.contents)
    towers, files = _cut(examples, config, run)
    sight = Towers(towers, files, config)
    shapes = {m.value: Shape(tower.embedder.spec.dim, tower.embedder.spec.token_dim) for m, tower in towers.items()}
    fitting = Fitting(examples, Targets.of(examples, config.balanced), config, run)
    frozen = sight.see_all(count)
    head = Head(shapes, config)
    head.standardise({m: seen.take(examples.splits.train) for m, seen in frozen.items()})
    penalty = fitting.start_at_ridge(head, frozen)
    rivals = _rivals(fitting, head, shapes, frozen)
    best = replace(fitting, targets=fitting.targets.to(device)).together(towers, sight, head.to(device))
    seen, head = sight.see_all(count), head.cpu()
    scale = _chosen(head, seen, fitting)
    towers_fit, specs = _towers_fit(towers, examples, config)
    digests = {spec.name: spec.digest for spec in specs.values()}
    made = _columns({spec.name: seen[m] for m, spec in specs.items()}, config.kept_tokens)
    facts = {
        "epoch": best.epoch + 1,
        "validation_r2": best.value,
        "ridge_penalty": penalty,
        "expected_share": scale.share,
    }
    return Fitted(
        EndToEnd(head, shapes, config, scale, digests, run.version, towers_fit),
        facts,
        rivals,
        columns=Columns.from_frame(made.hstack(_columns({f"frozen_{m}": one for m, one in frozen.items()}, 0))),
        golden=Golden(made[examples.splits.train[:ROWS]]),
    )


def _towers_fit(
    towers: Mapping[Modality, Tower], examples: MediaExamples, config: EndToEndConfig
) -> tuple[TowerFit, dict[str, EmbeddingSpec]]:
    """What was fitted of the towers, and the specs of the embedders that it makes, by modality."""
    weights, tokens = weights_of(towers), config.kept_tokens
    facts = {"of": dict(examples.digests), "tokens": tokens, "config": config.to_json(), "torch": torch.__version__}
    named = packed(weights)[1]
    specs = {m.value: tuned_spec(tower.embedder.spec, named, tokens, examples.model) for m, tower in towers.items()}
    return TowerFit(weights, facts), specs


def _cut(
    examples: MediaExamples, config: EndToEndConfig, run: Run
) -> tuple[dict[Modality, Tower], dict[Modality, StateFile]]:
    """Both towers, and the states of the examples' media below what is fitted of them."""
    blocks = {Modality.IMAGE: config.image_blocks, Modality.TEXT: config.text_blocks}
    towers, files = {}, {}
    for modality, embedder in open_towers(examples.settings).items():
        towers[modality] = Tower(embedder, blocks[modality], _sample(embedder, examples))
        towers[modality].train(False)
        workers = examples.settings.workers
        files[modality] = take_states(towers[modality], examples.items, config.mirror, run.folder, workers, run)
    return towers, files


def _sample(embedder: Tunable, examples: MediaExamples) -> Decoded:
    """The first medium that can be read. Raises StateError where there is none."""
    for item in examples.items:
        with suppress(MediaError):
            return embedder.decode(item)
    raise StateError(
        f"none of {len(examples.items)} labelled contents has a readable {embedder.spec.modality}: "
        "ingest some that have"
    )


def _rivals(
    fitting: Fitting, start: Head, shapes: Mapping[str, Shape], frozen: Mapping[str, Seen]
) -> dict[str, Predictor]:
    """Readings of the nets as published: the ridge that `start` begins as, and both vectors through one layer."""
    config = replace(fitting.config, fusion="concat", epochs=_RIVAL_EPOCHS, patience=_RIVAL_PATIENCE, rate=_RIVAL_RATE)
    head, scale = Head(shapes, config), _scale(fitting)
    head.standardise({m: seen.take(fitting.examples.splits.train) for m, seen in frozen.items()})
    run = LocalRun("concatenation", fitting.run.folder)
    replace(fitting, config=config, run=run).head(head, frozen, "concatenation")
    columns = {f"frozen_{modality}": "as published" for modality in MODALITIES}
    quintiles = Quintiles.fit(fitting.examples.scores[fitting.examples.splits.train])
    return {
        "ridge": FrozenRidge(deepcopy(start), shapes, scale, quintiles),
        "concatenation": EndToEnd(head, shapes, config, scale, columns, "rival"),
    }


def _scale(fitting: Fitting) -> Scale:
    """The training rows' mean score by class; a class without rows has the mean of all."""
    targets, rows = fitting.targets, fitting.examples.splits.train
    scores, classes = fitting.examples.scores[rows], targets.classes.numpy()[rows]
    means = [float(scores[classes == c].mean()) if (classes == c).any() else targets.mean for c in range(CLASSES)]
    return Scale(targets.mean, targets.deviation, tuple(means))


@torch.inference_mode()
def _chosen(head: Head, seen: Mapping[str, Seen], fitting: Fitting) -> Scale:
    """The scale with the share of `SHARES` that explains most of the validation rows."""
    valid = fitting.examples.splits.valid
    said = head({modality: one.take(valid) for modality, one in seen.items()})
    regression, probability = said.score.double().numpy(), probabilities(said.logits.double()).numpy()
    truth = fitting.examples.scores[valid]
    scales = [replace(_scale(fitting), share=share) for share in SHARES]
    return max(scales, key=lambda one: r2(truth, one.score(regression, probability)))


def _columns(seen: Mapping[str, Seen], tokens: int) -> pl.DataFrame:
    """Vectors, and tokens, by name of their embedding, as the store will have them; null where there are none."""
    columns = {}
    for name, one in seen.items():
        present = pl.Series(one.present.numpy())
        lists = {name: one.vectors} | ({tokens_column(name): one.tokens.flatten(1)} if tokens else {})
        for column, values in lists.items():
            series = pl.Series(column, values.numpy(), dtype=pl.Array(pl.Float32, values.shape[1]))
            columns[column] = pl.select(pl.when(present).then(series).alias(column))[column]
    return pl.DataFrame(columns)


def _require_learnable(examples: MediaExamples) -> None:
    train, valid = examples.scores[examples.splits.train], examples.splits.valid
    if len(train) < LEAST_TRAINING or not len(valid):
        raise StateError(
            f"{len(train)} labelled contents to train on and {len(valid)} to validate on; "
            f"at least {LEAST_TRAINING} and 1 are needed: ingest more contents that have counters"
        )
    if train.min() == train.max():
        raise StateError(
            f"every training content has the score {train[0]:g}, so there is nothing to learn: "
            "ingest contents whose counters differ, or weigh other counters"
        )
