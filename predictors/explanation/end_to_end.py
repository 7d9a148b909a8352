"""Explanations of `engagement_end_to_end`: its head's, over what the tuned towers say."""

from __future__ import annotations

from copy import deepcopy

import numpy as np
import torch
from torch import nn

from feature_repo.columns import Columns
from predictors.end_to_end.net import MODALITIES, CrossAttention, Fusion, Head, Seen, probabilities
from predictors.end_to_end.predictor import EndToEnd
from predictors.explanation.explain import SCORE, Explanation
from predictors.explanation.integral import METHOD, Maps, Tensors, as_grid, integrate, slopes_of
from predictors.explanation.names import part
from predictors.torch_fit import cpu_threads

Inputs = dict[str, torch.Tensor]


def explain_end_to_end(predictor: EndToEnd, columns: Columns) -> Explanation:
    """Integrated gradients of the score, from the towers' mean vectors and from tokens that say nothing. The attention
    is how much the words look at each field of the picture.
    """
    head, scale, seen = deepcopy(predictor.head).double().eval(), predictor.scale, predictor.seen(columns)
    means = torch.tensor(scale.class_means, dtype=torch.float64)
    ends, bases = _path(head, seen)

    def forward(tensors: Tensors, fixed: Tensors) -> torch.Tensor:
        vectors = {m: tensors[f"{m}:vector"] for m in MODALITIES}
        said = head({m: Seen(vectors[m], tensors.get(f"{m}:tokens", vectors[m]), fixed[m]) for m in MODALITIES})
        regression = said.score * scale.deviation + scale.mean
        score: torch.Tensor = (1 - scale.share) * regression + scale.share * (probabilities(said.logits) @ means)
        return score

    present = {m: one.present for m, one in seen.items()}
    found = integrate(forward, ends, bases, present)
    names = dict(zip(MODALITIES, predictor.embeddings, strict=True))
    features = tuple(part(names[modality], kind) for modality, kind in (key.split(":") for key in ends))
    contributions = np.column_stack([found.added[key].reshape(columns.rows, -1).sum(axis=1) for key in ends])
    slopes = slopes_of(lambda tensors: forward(tensors, present), ends)
    said = predictor.score(columns)
    gates = dict(zip(MODALITIES, said.details["gates"].T, strict=True))
    directions = {names["image"]: slopes["image:vector"].numpy().astype(np.float32)}
    attention = _attention(head.fusion, ends, names["image"])
    return Explanation(METHOD, SCORE, features, contributions, found.base, said.score, gates, directions, attention)


def _path(head: Head, seen: dict[str, Seen]) -> tuple[Inputs, Inputs]:
    """Where the path ends and where it begins. What a content lacks is at the beginning all along.

    Tokens are normalised as they enter, which would make a jump of the way from none to a small one: the path begins
    behind that, so `head` is made to take what comes out of there.
    """
    ends: Inputs = {}
    bases: Inputs = {}
    for modality, one in seen.items():
        mean, there = head.get_buffer(f"mean_{modality}"), one.present[:, None]
        ends[f"{modality}:vector"] = torch.where(there, one.vectors.double(), mean)
        bases[f"{modality}:vector"] = mean.expand_as(one.vectors)
        if isinstance(head.fusion, CrossAttention):
            absent = head.fusion.absent[modality].detach()
            entered = head.fusion.into[modality](one.tokens.double()).detach()
            ends[f"{modality}:tokens"] = torch.where(there[:, None], entered, absent)
            bases[f"{modality}:tokens"] = absent.expand_as(entered)
            head.fusion.into[modality] = nn.Identity()
    return ends, bases


def _attention(fusion: Fusion, states: Tensors, name: str) -> dict[str, Maps]:
    """How much the words' tokens look at each of the picture's; nothing where a fusion reads none."""
    if not isinstance(fusion, CrossAttention):
        return {}
    image = states["image:tokens"]
    with torch.no_grad(), cpu_threads(1):
        _, weights = fusion.attend["text"](states["text:tokens"], image, image, need_weights=True)
    return {name: as_grid(weights.mean(1))}
