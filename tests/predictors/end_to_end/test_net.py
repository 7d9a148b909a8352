from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from feature_repo.errors import ConfigurationError
from predictors.end_to_end.config import EndToEndConfig
from predictors.end_to_end.net import Head, Seen, Shape, class_loss, probabilities

EVEN = torch.ones(5)


@given(st.lists(st.lists(st.floats(-20, 20), min_size=4, max_size=4), min_size=1, max_size=6))
def test_corns_classes_are_a_distribution(logits: list[list[float]]) -> None:
    made = probabilities(torch.tensor(logits, dtype=torch.float64))
    assert made.shape == (len(logits), 5)
    assert (made >= 0).all()
    assert torch.allclose(made.sum(1), torch.ones(len(logits), dtype=torch.float64))


def test_corn_is_a_chain_of_conditional_chances() -> None:
    chance = torch.tensor([[0.8, 0.5, 0.25, 0.1]], dtype=torch.float64)
    made = probabilities(torch.logit(chance))[0].tolist()
    assert made == pytest.approx([0.2, 0.8 * 0.5, 0.8 * 0.5 * 0.75, 0.8 * 0.5 * 0.25 * 0.9, 0.8 * 0.5 * 0.25 * 0.1])


def test_corn_asks_only_the_questions_that_come_up() -> None:
    logits = torch.tensor([[0.3, -0.2, 5.0, -5.0], [1.0, 0.5, 0.0, -0.5]])
    asked = [(0.3, 0.0), (1.0, 1.0), (0.5, 1.0), (0.0, 0.0)]  # class 0: the first; class 2: the first three
    expected = nn.functional.binary_cross_entropy_with_logits(*torch.tensor(asked).T)
    assert class_loss(logits, torch.tensor([0, 2]), EVEN) == pytest.approx(float(expected))


@pytest.mark.parametrize("width", [4, 5])
def test_a_content_counts_as_its_class_weighs(width: int) -> None:
    logits = torch.randn(3, width, generator=torch.Generator().manual_seed(0))
    classes = torch.tensor([1, 1, 3])
    weights = torch.tensor([1.0, 0.0, 1.0, 2.0, 1.0])
    assert class_loss(logits, classes, weights) == pytest.approx(float(class_loss(logits[2:], classes[2:], EVEN)))


@pytest.mark.parametrize("head", ["corn", "softmax"])
@pytest.mark.parametrize("balanced", [True, False])
def test_a_rare_class_is_predicted_where_classes_are_balanced_and_else_not(head: str, balanced: bool) -> None:
    """Nine in ten are of class 2, and what tells them apart is weak."""
    drawn = torch.Generator().manual_seed(0)
    classes = torch.where(torch.rand(600, generator=drawn) < 0.9, 2, 4)
    inputs = torch.randn(600, 1, generator=drawn) + 0.4 * (classes == 4)[:, None]
    counts = torch.bincount(classes, minlength=5)
    weights = torch.where(counts > 0, 600 / counts.clamp_min(1), 0.0) if balanced else EVEN
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layer = nn.Linear(1, 4 if head == "corn" else 5)
    optimiser = torch.optim.Adam(layer.parameters(), 0.05)
    for _ in range(300):
        optimiser.zero_grad()
        class_loss(layer(inputs), classes, weights).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    said = probabilities(layer(inputs)).argmax(1)
    assert len(set(said.tolist())) == (2 if balanced else 1)


def seen(rows: int, dim: int = 8, tokens: int = 4) -> dict[str, Seen]:
    drawn = torch.Generator().manual_seed(1)
    return {
        modality: Seen(
            nn.functional.normalize(torch.randn(rows, dim, generator=drawn), dim=1),
            torch.randn(rows, tokens, dim, generator=drawn),
            torch.ones(rows, dtype=torch.bool),
        )
        for modality in ("image", "text")
    }


@pytest.mark.parametrize("fusion", ["concat", "gated", "cross_attention"])
def test_a_head_starts_as_its_linear_part_and_looks_past_what_is_absent(fusion: str) -> None:
    shown = seen(6)
    head = Head({"image": Shape(8, 8), "text": Shape(8, 8)}, EndToEndConfig(fusion=fusion, width=16)).eval()
    head.standardise(shown)
    vectors = torch.cat(list(head.standardised(shown).values()), dim=1)
    assert torch.allclose(vectors.mean(0), torch.zeros(16), atol=1e-6)
    assert torch.allclose(head(shown).score, head.linear(vectors)[:, 0])
    gone = shown["image"]._replace(present=torch.zeros(6, dtype=torch.bool))
    other = gone._replace(vectors=gone.vectors * 9, tokens=gone.tokens + 7)
    one, two = (head({**shown, "image": image}) for image in (gone, other))
    assert torch.equal(one.score, two.score)
    assert torch.equal(one.logits, two.logits)
    assert torch.equal(one.gates, torch.tensor([[0.0, 1.0]] * 6))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"fusion": "sum"}, "fusion"),
        ({"head": "corm"}, "valid: corn, softmax"),
        ({"epochs": 0}, "epochs must be at least 1"),
        ({"dropout": 1.0}, "dropout must be from 0 to below 1"),
        ({"class_share": 1.5}, "class_share must be from 0 to 1"),
        ({"tower_rate": 0.0}, "tower_rate must be above 0"),
        ({"width": 30, "fusion": "cross_attention"}, "width must be a multiple of 4"),
    ],
)
def test_a_configuration_that_cannot_be_is_refused(values: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        EndToEndConfig(**values)
