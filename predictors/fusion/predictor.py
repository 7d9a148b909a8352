"""Predictor `engagement_fusion`: facts, vectors and tokens joined by attention and gates, several nets averaged."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from feature_repo.columns import Columns
from feature_repo.errors import StateError
from feature_repo.files import write_json
from predictors.base import Scores
from predictors.fusion.inputs import Encoder, Inputs, Shape
from predictors.fusion.net import FusionNet, NetOptions
from predictors.labels import CLASSES, Floats
from predictors.ordinal import OrdinalLink
from predictors.torch_fit import cpu_threads, load_net, save_net

_STATE, _NET = "fusion.json", "net{}.safetensors"


@dataclass(frozen=True, slots=True)
class Ensemble:
    """Nets of the same inputs. Their mean is a standardised score; `mean` and `deviation` are the training scores'."""

    nets: Sequence[nn.Module]
    mean: float
    deviation: float

    def __call__(self, inputs: Inputs) -> tuple[Floats, Floats]:
        """Scores (n,) and gates (n, modalities), both means over the nets."""
        with torch.inference_mode(), cpu_threads(1):
            said = [net.eval()(inputs) for net in self.nets]
            score, gates = (torch.stack(parts).double().mean(dim=0).numpy() for parts in zip(*said, strict=True))
        return score * self.deviation + self.mean, gates / gates.sum(axis=1, keepdims=True)


def scores_of(inputs: Inputs, ensemble: Ensemble, link: OrdinalLink) -> Scores:
    """Scores with their classes and gates."""
    score, gates = ensemble(inputs)
    probabilities = link(score)
    return Scores(score, probabilities, probabilities.argmax(axis=1), {"gates": gates})


class Fusion:
    """Engagement score and quintile class of contents; `details["gates"]` (n, modalities) says which modality spoke,
    in the order of `modalities`.
    """

    name = "engagement_fusion"
    service = "fusion"

    def __init__(
        self, encoder: Encoder, ensemble: Ensemble, link: OrdinalLink, embeddings: Mapping[str, str], version: str
    ) -> None:
        self.encoder = encoder
        self.ensemble = ensemble
        self._link = link
        self._embeddings = {name: embeddings[name] for name in encoder.reductions}
        self._version = version

    @property
    def version(self) -> str:
        """Names what it was trained from."""
        return self._version

    @property
    def features(self) -> tuple[str, ...]:
        """Columns that `score` reads."""
        return self.encoder.columns

    @property
    def embeddings(self) -> Mapping[str, str]:
        """Embedding name -> digest of its spec."""
        return self._embeddings

    @property
    def modalities(self) -> tuple[str, ...]:
        """What each gate is of."""
        return self.encoder.modalities

    def score(self, columns: Columns) -> Scores:
        """Score every row; see `Predictor.score`. A modality that a row lacks has a gate of 0."""
        if columns.rows == 0:
            gates = np.empty((0, len(self.modalities)))
            return Scores(np.empty(0), np.empty((0, CLASSES)), np.empty(0, np.int64), {"gates": gates})
        return scores_of(self.encoder(columns), self.ensemble, self._link)

    def save(self, folder: Path) -> None:
        """Write the model's files into `folder`; the same model gives the same bytes."""
        self.encoder.save(folder)
        for number, net in enumerate(self.ensemble.nets):
            save_net(folder / _NET.format(number), net)
        said = {
            "nets": [asdict(net.options) for net in self.ensemble.nets if isinstance(net, FusionNet)],
            "shape": asdict(self.encoder.shape),
            "mean": self.ensemble.mean,
            "deviation": self.ensemble.deviation,
            "link": asdict(self._link),
            "embeddings": self._embeddings,
        }
        write_json(folder / _STATE, said)

    @classmethod
    def load(cls, folder: Path) -> Fusion:
        """Read what `save` wrote. Raises StateError where it cannot be read."""
        encoder = Encoder.load(folder)
        try:
            said = json.loads((folder / _STATE).read_text())
            with torch.random.fork_rng(devices=[]):  # a net is drawn before it is read
                nets = [FusionNet(Shape(**said["shape"]), NetOptions(**options)) for options in said["nets"]]
            link = OrdinalLink(**{**said["link"], "edges": tuple(said["link"]["edges"])})
            ensemble = Ensemble(nets, said["mean"], said["deviation"])
            embeddings = said["embeddings"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StateError(f"{folder}: the model cannot be read ({error}); train again") from error
        for number, net in enumerate(nets):
            load_net(folder / _NET.format(number), net)
        return cls(encoder, ensemble, link, embeddings, folder.name)
