"""CLIP with its projections fitted on: the last matrix of each tower, which maps pooled states to the common space.

Everything before the projections stays as it was published, so a fit needs one pass over the contents and no more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from embedders.aligned_specs import CLIP_TUNED, tuned_weights
from embedders.base import Decoded, Matrix, read_file, read_text
from embedders.fitted import current, load_weights
from embedders.hub import family_of, resolve_hub
from embedders.joint import JointEmbedder
from feature_repo.catalog_rows import CatalogItem
from feature_repo.contracts import EmbeddingSpec, Modality
from feature_repo.errors import ConfigurationError, StateError
from feature_repo.settings import Settings

# Where open_clip's towers keep theirs: its own transformers, timm's, its text towers inside and outside of the model,
# those of transformers. A ResNet's is part of its attention pooling.
_PLACES = {
    Modality.IMAGE: ("visual.proj", "visual.head.proj"),
    Modality.TEXT: ("text_projection", "text.text_projection", "text.proj"),
}


@dataclass(frozen=True, slots=True)
class Projection:
    """The last matrix of a tower, (width, dim), where it lies: a parameter, or a linear layer, bias and all."""

    owner: Any
    name: str

    @property
    def weight(self) -> torch.Tensor:
        """(width, dim) float32, a copy."""
        return self._matrix().detach().float().clone()

    @property
    def bias(self) -> torch.Tensor:
        """(dim,) float32, a copy; zeros where there is none."""
        layer = getattr(self.owner, self.name)
        bias = layer.bias if isinstance(layer, nn.Linear) else None
        return self.weight.new_zeros(self.weight.shape[1]) if bias is None else bias.detach().float().clone()

    @torch.no_grad()
    def put(self, weight: torch.Tensor) -> None:
        """Take (width, dim) weights. Raises RuntimeError where they are another model's."""
        self._matrix().copy_(weight)

    def take_out(self) -> None:
        """From now on the tower gives what went into its projection."""
        # open_clip asks whether a `text_projection` is None, and calls a layer that is named `proj`.
        called = self.name == "proj" and isinstance(getattr(self.owner, self.name), nn.Linear)
        setattr(self.owner, self.name, nn.Identity() if called else None)

    def _matrix(self) -> torch.Tensor:
        found = getattr(self.owner, self.name)
        matrix: torch.Tensor = found.weight.T if isinstance(found, nn.Linear) else found
        return matrix


def projections(model: nn.Module, spec: EmbeddingSpec) -> dict[Modality, Projection]:
    """Both projections of an open_clip model. Raises ConfigurationError where a tower has none of its own."""
    found = {}
    for modality, places in _PLACES.items():
        for place in places:
            path, _, name = place.rpartition(".")
            owner: Any = model
            for part in filter(None, path.split(".")):
                owner = getattr(owner, part, None)
            if isinstance(getattr(owner, name, None), (nn.Parameter, nn.Linear)):
                found[modality] = Projection(owner, name)
                break
        else:
            raise ConfigurationError(
                f"{spec.options['model']} has no projection of {modality}s to fit: choose a CLIP with transformers, "
                f"LARDER_MODELS={family_of(spec)}=ViT-B-32@laion2b_s34b_b79k or a folder"
            )
    return found


class TunedEmbedder(JointEmbedder):
    """Both towers of the model that the settings choose, with the projections that were fitted."""

    def __init__(self, spec: EmbeddingSpec, settings: Settings) -> None:
        fitted = current(settings, CLIP_TUNED)
        if fitted is None or tuned_weights(resolve_hub(spec, settings), fitted) != spec.weights:
            raise StateError(f"{CLIP_TUNED} was fitted again meanwhile: run the command again")
        super().__init__(spec, settings)
        weights = load_weights(fitted)
        for modality, projection in projections(self._model, spec).items():
            projection.put(torch.from_numpy(np.array(weights[modality.value])))


class PooledClip(JointEmbedder):
    """The towers without their projections, which `start` and `biases` hold, with the logarithm of CLIP's scale."""

    def __init__(self, spec: EmbeddingSpec, settings: Settings) -> None:
        super().__init__(spec, settings)
        found = projections(self._model, spec)
        self.start = {modality: one.weight.cpu() for modality, one in found.items()}
        self.biases = {modality: one.bias.cpu() for modality, one in found.items()}
        self.log_scale = float(self._model.logit_scale.detach().max())
        for one in found.values():
            one.take_out()

    def read(self, item: CatalogItem) -> dict[Modality, Decoded]:
        """Pixels and token ids. Raises MediaError where a content lacks either."""
        text = self._tokens(read_text(item))
        return {Modality.IMAGE: self._pixels(read_file(item, Modality.IMAGE)), Modality.TEXT: text}

    @torch.inference_mode()
    def pool(self, contents: Sequence[dict[Modality, Decoded]]) -> dict[Modality, Matrix]:
        """(n, width of the tower) float32 for both towers, as the projections take it in."""
        pixels = self._norm([content[Modality.IMAGE] for content in contents])
        ids = torch.from_numpy(np.stack([content[Modality.TEXT] for content in contents])).to(self._device)
        states = {Modality.IMAGE: self._model.encode_image(pixels), Modality.TEXT: self._model.encode_text(ids)}
        return {modality: np.asarray(found.float().cpu(), np.float32) for modality, found in states.items()}
