"""The user model's net: what a state may depend on, and what its loss makes of how items are sampled."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from embedders.user_histories import Histories
from embedders.user_sequence import (
    SequenceConfig,
    UserSequence,
    build,
    chunk_starts,
    encode_states,
    sampled_loss,
)

SHAPE = SequenceConfig(features=9, buckets=16, width=16, hidden=16, length=8)


@pytest.fixture(scope="module")
def net() -> UserSequence:
    """A net with random weights that are large enough to see."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = UserSequence(SHAPE)
        for parameter in made.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
    return made.eval()


def histories(lengths: list[int], seed: int = 0) -> Histories:
    rng = np.random.default_rng(seed)
    count = sum(lengths)
    return Histories(
        np.cumsum([0, *lengths]),
        rng.integers(0, 20, count),
        rng.integers(0, 6, count),
        np.concatenate([np.cumsum(rng.integers(1, 10**10, n)) for n in lengths]),
    )


@pytest.fixture(scope="module")
def items() -> torch.Tensor:
    """Vectors of 20 items."""
    return torch.from_numpy(np.random.default_rng(1).normal(size=(20, SHAPE.width)).astype(np.float32))


def test_a_state_sees_the_past_and_nothing_after(net: UserSequence) -> None:
    items = torch.randn(2, 8, SHAPE.width, generator=torch.Generator().manual_seed(0))
    kinds, gaps = torch.ones(2, 8, dtype=torch.int64), torch.ones(2, 8, dtype=torch.int64)
    before = net(items, kinds, gaps)
    for position in range(8):
        for change in (0, 1, 2):
            inputs = [items.clone(), kinds.clone(), gaps.clone()]
            inputs[change][0, position] *= 2
            moved = (net(*inputs) - before).detach().abs().amax(2) > 1e-4
            assert moved[0].tolist() == [at >= position for at in range(8)]
            assert not moved[1].any()


def test_later_events_change_no_state(net: UserSequence, items: torch.Tensor) -> None:
    whole = histories([30, 5, 17])
    states = encode_states(net, items, whole, np.arange(52))
    for kept in (1, 4, 8, 9, 13, 29):
        short = Histories(np.array([0, kept]), whole.items[:kept], whole.kinds[:kept], whole.times[:kept])
        np.testing.assert_allclose(encode_states(net, items, short, np.arange(kept)), states[:kept], atol=1e-5)


def test_a_batch_equals_its_users_one_by_one(net: UserSequence, items: torch.Tensor) -> None:
    lengths = [1, 8, 40, 3, 9, 200, 25] * 30
    many = histories(lengths)
    wanted = np.flatnonzero(np.random.default_rng(0).random(sum(lengths)) < 0.2)
    together = encode_states(net, items, many, wanted)
    assert together.dtype == np.float32
    owners = many.owners()[wanted]
    for user in (0, 2, 5, 201):
        part = slice(many.starts[user], many.starts[user + 1])
        alone = Histories(np.array([0, lengths[user]]), many.items[part], many.kinds[part], many.times[part])
        mine = wanted[owners == user] - many.starts[user]
        np.testing.assert_allclose(encode_states(net, items, alone, mine), together[owners == user], atol=1e-5)
    assert encode_states(net, items, many, np.empty(0, np.int64)).shape == (0, SHAPE.width)


def test_stretches_look_back_on_half_their_length_at_least() -> None:
    events = np.arange(100)
    back = events - chunk_starts(events, 8)
    assert back[:8].tolist() == list(range(8))
    assert set(back[8:].tolist()) == {4, 5, 6, 7}


def test_an_id_that_is_left_out_leaves_the_content(net: UserSequence) -> None:
    features = torch.randn(3, SHAPE.features, generator=torch.Generator().manual_seed(0))
    unseen = net.items(features, torch.zeros(3, dtype=torch.int64))
    with torch.no_grad():
        net.items.ids.weight[0] = 0
    assert torch.equal(net.items(features, torch.zeros(3, dtype=torch.int64)), net.items.adapter(features))
    assert unseen.shape == (3, SHAPE.width)
    assert not torch.equal(net.items(features, torch.tensor([1, 2, 3])), net.items.adapter(features))


def test_weights_come_back(net: UserSequence, items: torch.Tensor) -> None:
    weights = {name: value.numpy() for name, value in net.state_dict().items()}
    wanted = np.arange(5)
    again = build(SHAPE, weights)
    assert not again.training
    assert np.array_equal(
        encode_states(again, items, histories([5]), wanted), encode_states(net, items, histories([5]), wanted)
    )
    with pytest.raises(RuntimeError, match="size mismatch"):
        build(SequenceConfig(features=9, buckets=8, width=16, hidden=16, length=8), weights)


def learnt(log_odds: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """What a sampled softmax over 30 items learns where nothing but popularity is to be known, and that popularity.

    One state of one number, 1, so that an item's one number is its score; others are sampled by popularity.
    """
    chance = torch.arange(1, 31, dtype=torch.float64) ** -1.0
    chance = (chance / chance.sum()).float()
    scores = torch.zeros(30, 1, requires_grad=True)
    optimiser = torch.optim.Adam([scores], 0.05)
    generator = torch.Generator().manual_seed(0)
    for _ in range(600):
        right = torch.multinomial(chance, 256, replacement=True, generator=generator)
        others = torch.multinomial(chance, 32, replacement=True, generator=generator)
        odds = chance.log()[torch.cat([right, others])] if log_odds else torch.zeros(288)
        hits = right[:, None] == others[None]
        loss = sampled_loss(torch.ones(256, 1), scores[right], scores[others], odds, hits)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    return scores.detach()[:, 0], chance


def test_the_popularity_correction_gives_what_all_items_would() -> None:
    scores, chance = learnt(log_odds=True)
    assert np.corrcoef(scores, chance.log())[0, 1] > 0.97
    assert F.kl_div(scores.log_softmax(0), chance, reduction="sum") < 0.05
    scores, chance = learnt(log_odds=False)
    assert F.kl_div(scores.log_softmax(0), chance, reduction="sum") > 0.3
    assert np.corrcoef(scores, chance.log())[0, 1] < 0.5


def test_the_right_item_is_not_its_own_rival() -> None:
    states = torch.ones(1, 1)
    loss = sampled_loss(states, torch.ones(1, 1), torch.ones(3, 1), torch.zeros(4), torch.tensor([[True, True, False]]))
    assert loss.item() == pytest.approx(np.log(2))
