from __future__ import annotations

import numpy as np
import pytest
import torch

from embedders import contrastive as module
from embedders.aligned import Heads
from embedders.contrastive import (
    ContrastConfig,
    PairModel,
    chance_recalls,
    evaluate,
    mean_recall,
    recalls,
    train_pairs,
)
from embedders.pairs import Pairs
from feature_repo.errors import InputError
from tests.embedders.aligned import twin_vectors

CPU = torch.device("cpu")
ROWS = np.arange(80)
TRAIN, CHECK = ROWS[:60], ROWS[60:]
WIDTHS = (40, 24)


def heads() -> Heads:
    torch.manual_seed(0)
    return Heads(*WIDTHS, 16)


@pytest.fixture(scope="module")
def pairs() -> Pairs:
    return twin_vectors(len(ROWS), WIDTHS, captions=3)


def test_recalls_count_what_a_person_would() -> None:
    images = torch.eye(3)
    texts = torch.tensor([[0.9, 0.7, 0.0], [0.8, 0.6, 0.0], [0.2, 0.5, 0.3], [0.0, 0.0, 1.0]])
    found = recalls(images, texts, torch.tensor([0, 1, 1, 2]))
    assert found["text to image R@1"] == pytest.approx(3 / 4)  # the second text would rather have the first picture
    assert found["text to image R@5"] == 1
    assert found["image to text R@1"] == pytest.approx(2 / 3)  # the second picture would rather have the first text
    assert found["image to text R@5"] == 1


def test_a_model_that_says_one_thing_of_everything_finds_nothing() -> None:
    same = torch.ones(40, 4)
    assert set(recalls(same, same, torch.arange(40)).values()) == {0.0}


def test_chance_is_what_shuffling_gives() -> None:
    image_of = np.repeat(np.arange(12), [1, 2, 3] * 4)
    rng = np.random.default_rng(0)
    found = []
    for _ in range(400):
        images, texts = (torch.from_numpy(rng.normal(size=(n, 30))) for n in (12, len(image_of)))
        found.append(list(recalls(images, texts, torch.from_numpy(image_of)).values()))
    expected = chance_recalls(image_of)
    assert list(expected) == list(recalls(torch.eye(2), torch.eye(2), torch.arange(2)))
    assert np.allclose(np.mean(found, 0), list(expected.values()), atol=0.02)
    assert chance_recalls(np.arange(4))["text to image R@5"] == chance_recalls(np.arange(4))["image to text R@5"] == 1


def test_heads_learn_from_a_random_start(pairs: Pairs) -> None:
    fit = train_pairs(heads(), pairs, TRAIN, CHECK, ContrastConfig(epochs=30, batch=20, rate=3e-3), CPU)
    assert fit.scores[0] < 0.4
    assert fit.scores[fit.epoch] == max(fit.scores) > 0.75
    assert mean_recall(evaluate(fit.model, pairs, CHECK, CPU)) == pytest.approx(fit.scores[fit.epoch])


def test_the_same_seed_gives_the_same_weights_and_another_others(pairs: Pairs) -> None:
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    fits = []
    for seed in (0, 0, 1):
        model = Heads(*WIDTHS, 8, noise=0.1, dropout=0.1)
        model.load_state_dict(Heads(*WIDTHS, 8).state_dict() | _start())
        torch.random.set_rng_state(before)
        fits.append(
            train_pairs(model, pairs, TRAIN, CHECK, ContrastConfig(epochs=2, batch=20, rate=1e-2, seed=seed), CPU)
        )
        assert torch.equal(before, torch.random.get_rng_state())
    assert fits[0].scores == fits[1].scores != fits[2].scores
    first, again = (fit.model.state_dict() for fit in fits[:2])
    assert all(torch.equal(first[name], again[name]) for name in first)


def _start() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = {"image.projection.weight": (8, 40), "text.projection.weight": (8, 24)}
    zeros = {"image.projection.bias": torch.zeros(8), "text.projection.bias": torch.zeros(8)}
    return {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()} | zeros


def test_the_best_epoch_is_kept_and_the_fit_stops(pairs: Pairs, monkeypatch: pytest.MonkeyPatch) -> None:
    said = iter([0.1, 0.5, 0.3, 0.2, 0.9])
    states: list[torch.Tensor] = []

    def score(model: PairModel, *_: object) -> dict[str, float]:
        states.append(model.get_parameter("image.projection.weight").detach().clone())
        return {"R": next(said)}

    monkeypatch.setattr(module, "evaluate", score)
    told: list[tuple[str, int, int]] = []
    config = ContrastConfig(epochs=9, patience=2, batch=30)
    fit = train_pairs(heads(), pairs, TRAIN, CHECK, config, CPU, lambda *done: told.append(done))
    assert (fit.epoch, fit.scores) == (1, [0.1, 0.5, 0.3, 0.2])
    assert torch.equal(fit.model.get_parameter("image.projection.weight"), states[1])
    assert told == [("epoch", n, 9) for n in (1, 2, 3)]


def test_a_start_that_nothing_beats_is_kept(pairs: Pairs, monkeypatch: pytest.MonkeyPatch) -> None:
    said = iter([0.9, 0.5, 0.9])
    monkeypatch.setattr(module, "evaluate", lambda *_: {"R": next(said)})
    model = heads()
    before = model.image.projection.weight.detach().clone()
    fit = train_pairs(model, pairs, TRAIN, CHECK, ContrastConfig(epochs=2, batch=30), CPU)
    assert fit.epoch == 0
    assert torch.equal(fit.model.get_parameter("image.projection.weight"), before)


def test_training_never_sees_validation(pairs: Pairs, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = iter(range(99))
    monkeypatch.setattr(module, "evaluate", lambda *_: {"R": float(next(steps))})
    images, texts = pairs.images.copy(), pairs.texts.copy()
    images[CHECK] = texts[pairs.texts_of(CHECK)] = np.nan
    config = ContrastConfig(epochs=2, batch=20)
    fits = [train_pairs(heads(), p, TRAIN, CHECK, config, CPU) for p in (pairs, Pairs(images, texts, pairs.image_of))]
    first, second = (fit.model.state_dict() for fit in fits)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_too_few_pictures_are_refused(pairs: Pairs) -> None:
    for train, check in ((TRAIN[:7], CHECK), (TRAIN, CHECK[:1])):
        with pytest.raises(InputError, match="8 and 2 are the least"):
            train_pairs(heads(), pairs, train, check, ContrastConfig(), CPU)
    with pytest.raises(InputError, match="in training and in validation"):
        train_pairs(heads(), pairs, TRAIN, np.append(CHECK, TRAIN[0]), ContrastConfig(), CPU)
