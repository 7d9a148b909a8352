"""Explanations of `engagement_fusion`.

The path begins at a content that is the mean of the training rows in all that this one has. What a content lacks lies
at the mean all along, so it contributes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import cast

import numpy as np
import torch

from feature_repo.columns import Columns
from predictors.explanation.explain import SCORE, Explanation, Feature
from predictors.explanation.integral import METHOD, Maps, Tensors, as_grid, integrate, slopes_of
from predictors.explanation.names import creator, modality_of, part, reduced, statistic, word
from predictors.fusion.inputs import Encoder, Inputs
from predictors.fusion.net import CrossAttention, FusionNet
from predictors.fusion.predictor import Fusion
from predictors.labels import Floats
from predictors.popularity import creators
from predictors.torch_fit import cpu_threads


def explain_fusion(predictor: Fusion, columns: Columns) -> Explanation:
    """Of the score. The attention is how much the texts' tokens look at each token of a picture, grouped as it lies."""
    encoder, ensemble = predictor.encoder, predictor.ensemble
    nets = [cast(FusionNet, deepcopy(net).double().eval()) for net in ensemble.nets]
    given = encoder(columns)
    ends = {"facts": given.facts.double()}
    ends |= {f"vectors:{name}": vectors.double() for name, vectors in given.vectors.items()}
    ends |= {f"tokens:{name}": tokens.double() for name, tokens in given.tokens.items()}

    def forward(tensors: Tensors, fixed: Tensors) -> torch.Tensor:
        inputs = _inputs_of(tensors, fixed["known"])
        scores = torch.stack([net(inputs)[0] for net in nets]).mean(dim=0)
        return scores * ensemble.deviation + ensemble.mean

    known = {"known": given.known}
    found = integrate(forward, ends, {name: torch.zeros_like(end) for name, end in ends.items()}, known)
    features, contributions = _fusion_features(encoder, found.added)
    slopes = slopes_of(lambda tensors: forward(tensors, known), ends)
    directions = {name: _through(encoder, name, slopes) for name in encoder.reductions if modality_of(name) == "image"}
    said = predictor.score(columns)
    gates = dict(zip(predictor.modalities, said.details["gates"].T, strict=True))
    with torch.no_grad(), cpu_threads(1):
        attention = _token_attention(nets, _inputs_of(ends, given.known))
    return Explanation(METHOD, SCORE, features, contributions, found.base, said.score, gates, directions, attention)


def _inputs_of(tensors: Tensors, known: torch.Tensor) -> Inputs:
    kinds: dict[str, dict[str, torch.Tensor]] = {"vectors": {}, "tokens": {}}
    for key, tensor in tensors.items():
        kind, _, name = key.partition(":")
        if name:
            kinds[kind][name] = tensor
    return Inputs(tensors["facts"], kinds["vectors"], kinds["tokens"], known)


def _fusion_features(encoder: Encoder, added: Mapping[str, Floats]) -> tuple[tuple[Feature, ...], Floats]:
    """What each bin, flag, component and token added, summed by what they are of."""
    words = [word(name, value) for name, vocabulary in encoder.vocabularies.items() for value in vocabulary]
    makers = [creator(name) for name in creators.NAMES] if encoder.creators else []
    features = [*(statistic(name) for name in encoder.numbers), *words, *makers]
    facts = np.zeros((len(added["facts"]), len(features)))
    owners = np.concatenate([encoder.bins.column, np.arange(len(features))])  # the bins, then whether it is unknown
    np.add.at(facts.T, owners, added["facts"].T)
    blocks = [facts]
    for name, reduction in encoder.reductions.items():
        features += [*reduced(name, reduction.width), part(name, "tokens")]
        blocks += [added[f"vectors:{name}"], added[f"tokens:{name}"].sum(axis=(1, 2))[:, None]]
    return tuple(features), np.hstack(blocks)


def _through(encoder: Encoder, name: str, slopes: Tensors) -> Maps:
    """The gradient (n, dim) with respect to a vector, of which the encoder makes components and, at times, a token."""
    direction = (slopes[f"vectors:{name}"].numpy() * encoder.vectors[name].scale) @ encoder.reductions[name].weights
    if encoder.token_columns[name] == name:  # it keeps no tokens, so that its vector stands in for one
        direction = direction + slopes[f"tokens:{name}"].numpy()[:, 0] @ encoder.tokens[name].axes.T
    return np.asarray(direction, np.float32)


def _token_attention(nets: Sequence[FusionNet], inputs: Inputs) -> dict[str, Maps]:
    """By embedding of pictures with several tokens: how much those of the texts look at each, as a grid."""
    pictures = {n: t.shape[1] for n, t in inputs.tokens.items() if modality_of(n) == "image" and t.shape[1] > 1}
    looks: dict[str, list[Maps]] = {name: [] for name in pictures}
    for net in nets:
        for asking in inputs.tokens:
            if modality_of(asking) == "image" or not pictures:
                continue
            weights = _weights_of(net, asking, inputs)
            first = 1  # after "nothing"
            for other in (name for name in inputs.tokens if name != asking):
                count = inputs.tokens[other].shape[1]
                if other in pictures:
                    looks[other].append(as_grid(weights[:, first : first + count]))
                first += count
    return {name: np.mean(maps, axis=0) for name, maps in looks.items() if maps}


def _weights_of(net: FusionNet, asking: str, inputs: Inputs) -> torch.Tensor:
    """How much the tokens of one embedding look at nothing and at each token of the others, (n, 1 + L)."""
    caught: list[torch.Tensor] = []
    layer = cast(CrossAttention, net.cross[asking])
    hook = layer.register_forward_pre_hook(lambda module, given: caught.append(layer.weights(*given).mean(1)))
    try:
        net(inputs)
    finally:
        hook.remove()
    return caught[0]
