"""Predictor `engagement_end_to_end`: image and text encoders fine-tuned on engagement, and a head over both.

Training fine-tunes the towers' upper layers together with the head. Serving needs no pixels: the tuned towers become
the embedders `tuned_image` and `tuned_text`, the store holds their vectors, and `score` is the head alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from embedders.fitted import Weights, packed
from embedders.tuned_specs import ENCODER
from feature_repo.columns import Columns
from feature_repo.errors import StateError
from feature_repo.files import write_json
from feature_repo.vectors import tokens_column
from predictors.base import Scores
from predictors.end_to_end.config import EndToEndConfig
from predictors.end_to_end.net import MODALITIES, Head, Seen, Shape, probabilities
from predictors.labels import CLASSES, Floats
from predictors.torch_fit import cpu_threads, load_net, save_net

TOWERS, FACTS = "towers.safetensors", "towers.json"
_HEAD, _MODEL = "head.safetensors", "model.json"


@dataclass(frozen=True, slots=True)
class Scale:
    """How what the head says becomes a score: `mean` and `deviation` undo the standardisation of the regression,
    `class_means` are the training rows' mean scores by class; `share` of the score is the classes' expected value.
    """

    mean: float
    deviation: float
    class_means: tuple[float, ...]
    share: float = 0.0

    def score(self, regression: Floats, probability: Floats) -> Floats:
        """Scores (n,) of standardised regressions (n,) and class probabilities (n, 5)."""
        expected = probability @ np.array(self.class_means)
        made: Floats = (1 - self.share) * (regression * self.deviation + self.mean) + self.share * expected
        return made


@dataclass(frozen=True, slots=True)
class TowerFit:
    """What was fitted of the towers, `tuned.weights_of`, and the facts that their embedders are published with."""

    weights: Weights
    facts: Mapping[str, Any]

    def save(self, folder: Path) -> None:
        """Write both beside the model."""
        (folder / TOWERS).write_bytes(packed(self.weights)[0])
        write_json(folder / FACTS, dict(self.facts))


class EndToEnd:
    """Engagement score and quintile class from the vectors of the tuned towers."""

    name = ENCODER
    service = "end_to_end"

    def __init__(
        self,
        head: Head,
        shapes: Mapping[str, Shape],
        config: EndToEndConfig,
        scale: Scale,
        embeddings: Mapping[str, str],
        version: str,
        towers: TowerFit | None = None,
    ) -> None:
        self.head = head.eval()
        self._shapes, self._config, self.scale = shapes, config, scale
        self._embeddings, self._version, self._towers = dict(embeddings), version, towers

    @property
    def version(self) -> str:
        """Names what it was trained from."""
        return self._version

    @property
    def features(self) -> tuple[str, ...]:
        """Columns that `score` reads: both vectors and, with cross attention, both rows of tokens."""
        tokens = map(tokens_column, self._embeddings) if self._config.kept_tokens else ()
        return (*self._embeddings, *tokens)

    @property
    def embeddings(self) -> Mapping[str, str]:
        """Embedding name -> digest of its spec."""
        return self._embeddings

    def score(self, columns: Columns) -> Scores:
        """Score every row; see `Predictor.score`. `details["gates"]` is how much image and text counted, (n, 2)."""
        if columns.rows == 0:
            return Scores(np.empty(0), np.empty((0, CLASSES)), np.empty(0, np.int64), {"gates": np.empty((0, 2))})
        with torch.inference_mode(), cpu_threads(1):
            said = self.head(self.seen(columns))
            probability = probabilities(said.logits.double()).numpy()
        score = self.scale.score(said.score.double().numpy(), probability)
        return Scores(score, probability, probability.argmax(axis=1), {"gates": said.gates.double().numpy()})

    def save(self, folder: Path) -> None:
        """Write the head and, of a model that was just fitted, the towers; the same model gives the same bytes."""
        save_net(folder / _HEAD, self.head)
        said = {
            "config": self._config.to_json(),
            "shapes": {modality: asdict(shape) for modality, shape in self._shapes.items()},
            "scale": asdict(self.scale),
            "embeddings": self._embeddings,
        }
        write_json(folder / _MODEL, said)
        if self._towers is not None:
            self._towers.save(folder)

    @classmethod
    def load(cls, folder: Path) -> EndToEnd:
        """Read the head that `save` wrote. Raises StateError where it cannot be read."""
        try:
            said = json.loads((folder / _MODEL).read_text())
            config = EndToEndConfig(**said["config"])
            shapes = {modality: Shape(**shape) for modality, shape in said["shapes"].items()}
            scale = Scale(**{**said["scale"], "class_means": tuple(said["scale"]["class_means"])})
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StateError(f"{folder}: the model cannot be read ({error}); train again") from error
        head = Head(shapes, config)
        load_net(folder / _HEAD, head)
        return cls(head, shapes, config, scale, said["embeddings"], folder.name)

    def seen(self, columns: Columns) -> dict[str, Seen]:
        """What the towers say of every row, by modality."""
        names, count = zip(MODALITIES, self._embeddings, strict=True), self._config.kept_tokens
        return {modality: seen_of(columns, name, self._shapes[modality], count) for modality, name in names}


def seen_of(columns: Columns, name: str, shape: Shape, count: int) -> Seen:
    """An embedding's columns, its vectors and `count` tokens, as a tower gives them. Raises StateError."""
    vectors = _rows(columns, name, shape.dim)
    tokens = _rows(columns, tokens_column(name), count * shape.token_dim) if count else vectors[:, :0]
    present = torch.from_numpy(columns.present[name])
    return Seen(vectors, tokens.reshape(columns.rows, count, shape.token_dim), present)


def _rows(columns: Columns, name: str, size: int) -> torch.Tensor:
    """A vector column, 0 where absent. Raises StateError where its vectors have another length."""
    values = columns.vectors(name)
    if not columns.present[name].any():
        return torch.zeros(columns.rows, size)
    if values.shape[1] != size:
        raise StateError(f"{name} has {values.shape[1]} numbers a row, the model was trained on {size}")
    return torch.from_numpy(np.nan_to_num(values))
