import numpy as np
import pytest
import torch

from predictors.fusion.inputs import Inputs, Shape
from predictors.fusion.net import FusionNet, NetOptions
from predictors.torch_fit import reproducible

SHAPE = Shape(5, {"image": 3, "text": 4}, {"image": 6, "text": 7})


def make_net(modality_dropout: float = 0.0) -> FusionNet:
    with reproducible(0):
        net = FusionNet(SHAPE, NetOptions(8, 16, 2, 0.0, modality_dropout))
        for parameter in net.parameters():  # away from where training begins: every path counts
            torch.nn.init.normal_(parameter, std=0.3)
    return net.eval()


def make_inputs(rows: int = 6) -> Inputs:
    with reproducible(1):
        vectors = {name: torch.randn(rows, size) for name, size in SHAPE.vectors.items()}
        tokens = {name: torch.randn(rows, 4, size) for name, size in SHAPE.tokens.items()}
        return Inputs(torch.randn(rows, SHAPE.facts), vectors, tokens, torch.ones(rows, 3, dtype=torch.bool))


def change_text_tokens(inputs: Inputs) -> Inputs:
    return Inputs(inputs.facts, inputs.vectors, {**inputs.tokens, "text": inputs.tokens["text"] + 1}, inputs.known)


@torch.no_grad()
def test_the_image_asks_the_text_and_the_text_the_image() -> None:
    net, inputs = make_net(), make_inputs()
    for asks, asked in (("image", "text"), ("text", "image")):
        changed = {**inputs.tokens, asked: inputs.tokens[asked] + 1}
        other = Inputs(inputs.facts, inputs.vectors, changed, inputs.known)
        before, after = (net._heard(i, i.known)[asks] for i in (inputs, other))
        assert (before - after).abs().max() > 1e-4, f"{asks} does not hear {asked}"


@torch.no_grad()
def test_nobody_hears_what_is_not_known() -> None:
    net, inputs = make_net(), make_inputs()
    inputs.known[:, 2] = False
    for before, after in zip(net(inputs), net(change_text_tokens(inputs)), strict=True):
        torch.testing.assert_close(before, after, rtol=0, atol=0)
    assert net(inputs)[1][:, 2].tolist() == [0.0] * 6


@torch.no_grad()
def test_it_starts_at_a_linear_model() -> None:
    with reproducible(0):
        net = FusionNet(SHAPE, NetOptions(8, 16, 2, 0.5, 0.5)).eval()
        facts, vectors = torch.randn(5), {name: torch.randn(size) for name, size in SHAPE.vectors.items()}
        hidden = torch.randn(16)
    net.start_at(facts, vectors, hidden, 0.7)
    inputs = make_inputs()
    drawn = net.drawn(torch.cat([inputs.facts, *inputs.vectors.values()], dim=1)) @ hidden
    expected = inputs.facts @ facts + sum(inputs.vectors[name] @ vectors[name] for name in vectors) + drawn + 0.7
    score, gates = net(inputs)
    torch.testing.assert_close(score, expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(gates, torch.full((6, 3), 1 / 3))


def test_every_weight_is_learnt() -> None:
    net = make_net().train()
    score, _ = net(make_inputs())
    score.square().sum().backward()
    silent = [name for name, p in net.named_parameters() if p.grad is None or not p.grad.abs().sum()]
    assert not [name for name in silent if "key_value.bias" not in name]


@pytest.mark.parametrize("modality_dropout", [0.3, 0.9])
def test_training_goes_without_some_modalities_but_never_without_all(modality_dropout: float) -> None:
    net = make_net(modality_dropout).train()
    known = torch.from_numpy(np.random.default_rng(0).random((4000, 3)) < 0.7)
    known[:, 0] = True
    with reproducible(0):
        kept = net._without_some(known)
    assert kept.any(dim=1).all()
    assert not (kept & ~known).any()
    everything = known.all(dim=1)
    whole = kept[everything].all(dim=1).float().mean()
    all_dropped = modality_dropout**3
    assert abs(float(whole) - ((1 - modality_dropout) ** 3 + all_dropped)) < 0.05
