"""Fitting the user model: what it may see, that it learns, and that it comes out the same."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
import torch

from embedders.fitted import current, encoder_dir, load_weights
from embedders.next_item import measure, nearest_content, popularity, to_foretell
from embedders.train_user_sequence import fit_net, fit_user_sequence, read_log
from embedders.user_histories import Histories
from embedders.user_items import ItemInputs, id_hashes, read_sources
from embedders.user_specs import USER_SPECS, resolve_user_spec
from feature_repo.catalog import Catalog
from feature_repo.contracts import EventType
from feature_repo.errors import ConfigurationError, InputError, StateError
from feature_repo.settings import Settings
from tests.embedders.user_world import ITEMS, START, TINY, add_events, add_items, event, fit, walks


def weights_of(settings: Settings) -> dict[str, Any]:
    version = current(settings, "user_sequence")
    assert version is not None
    return dict(load_weights(version))


def test_it_learns_what_comes_next(settings: Settings, catalog: Catalog) -> None:
    """Users go round the items in one order: a net that reads it foretells what popularity cannot."""
    add_items(settings, catalog)
    add_events(settings, walks(users=30, events=20))
    told: list[tuple[str, int, int]] = []
    config = replace(TINY, epochs=15, patience=15, rate=1e-2, dropout=0.0)
    version = fit_user_sequence(settings, catalog, config, ["toy"], on_progress=lambda *done: told.append(done))
    facts = version.facts
    assert facts["validation"]["hit_rate"] > 0.9
    assert facts["validation"]["ndcg"] > 2 * facts["baselines"]["popularity"]["ndcg"]
    assert facts["validation"]["ndcg"] > 1.5 * facts["baselines"]["nearest content"]["ndcg"]
    assert {"events": 600, "users": 30, "items": ITEMS, "dim": 16}.items() <= facts.items()
    assert told[0][:2] == ("read", 600)
    assert [done for stage, done, _ in told if stage == "epoch"] == list(range(1, 16))


def test_the_same_log_and_seed_give_the_same_weights(settings: Settings, catalog: Catalog) -> None:
    add_items(settings, catalog)
    add_events(settings, walks())
    fit(settings, catalog)
    first, weights = current(settings, "user_sequence"), weights_of(settings)
    fit(settings, catalog)
    assert current(settings, "user_sequence") == first
    fit_user_sequence(settings, catalog, replace(TINY, seed=1), ["toy"])
    other = weights_of(settings)
    assert weights.keys() == other.keys()
    assert not np.array_equal(weights["kinds.weight"], other["kinds.weight"])


def test_nothing_after_the_cut_reaches_the_weights(settings: Settings, catalog: Catalog) -> None:
    """Other events after the cut, as many at the same times, leave the net as it was after an epoch."""
    add_items(settings, catalog)
    past = walks()
    times = sorted(one.timestamp for one in past)
    cut = times[int(len(times) * (1 - TINY.validation))]
    config = replace(TINY, epochs=1)
    sources = read_sources(settings, catalog, {"toy": None})
    nets = []
    for shift in (0, 5):
        home = settings.model_copy(update={"home": settings.home / str(shift)})
        later = [replace(one, content_id=f"c{(int(one.content_id[1:]) + shift) % ITEMS:02d}") for one in past]
        add_events(home, [new if old.timestamp >= cut else old for old, new in zip(past, later, strict=True)])
        log = read_log(home, sources, config)
        nets.append(fit_net(log, sources, config, torch.device("cpu")).net.state_dict())
    assert all(torch.equal(value, nets[1][name]) for name, value in nets[0].items())


def test_until_leaves_the_later_events_out(settings: Settings, catalog: Catalog) -> None:
    add_items(settings, catalog)
    until = START + timedelta(days=5)
    early = [one for one in walks() if one.timestamp < until]
    add_events(settings, early)
    fit(settings, catalog)
    weights = weights_of(settings)
    add_events(settings, [one for one in walks() if one.timestamp >= until])
    version = fit_user_sequence(settings, catalog, TINY, ["toy"], until)
    assert version.facts["events"] == len(early)
    again = weights_of(settings)
    assert all(np.array_equal(value, again[name]) for name, value in weights.items())


def test_impressions_are_no_events(settings: Settings, catalog: Catalog) -> None:
    add_items(settings, catalog)
    add_events(settings, [*walks(), *(event("u00", n, START, EventType.IMPRESSION) for n in range(5))])
    sources = read_sources(settings, catalog, {"toy": None})
    assert len(read_log(settings, sources, TINY).histories.items) == 240


def test_the_usual_embeddings_are_those_that_are_there(settings: Settings, catalog: Catalog) -> None:
    add_items(settings, catalog)
    add_events(settings, walks())
    with pytest.raises(StateError, match="no item vectors to read: run `larder embed minilm`"):
        fit_user_sequence(settings, catalog, TINY)
    with pytest.raises(StateError, match="nothing is embedded with 'minilm'"):
        fit_user_sequence(settings, catalog, TINY, ["minilm"])


def test_too_few_events_are_refused_and_change_nothing(settings: Settings, catalog: Catalog) -> None:
    add_items(settings, catalog)
    with pytest.raises(InputError, match="0 events to fit a user model on"):
        fit(settings, catalog)
    add_events(settings, [event(f"u{n}", n, START + timedelta(hours=n)) for n in range(10)])
    with pytest.raises(InputError, match="there is no next item to learn from"):
        fit(settings, catalog)
    assert not encoder_dir(settings, "user_sequence").exists()


def test_item_inputs_are_standardised_on_training_items_alone(settings: Settings, catalog: Catalog) -> None:
    add_items(settings, catalog, without=4)
    sources = read_sources(settings, catalog, {"toy": None})
    seen = [f"c{n:02d}" for n in range(10)]
    inputs = ItemInputs.fit(sources, seen, 16)
    found = inputs.features([*seen, "c15", "c23", "nowhere"])
    assert found.shape == (13, 9)
    np.testing.assert_allclose(found[:10, :8].mean(0), 0, atol=1e-6)
    np.testing.assert_allclose(found[:10, :8].std(0), 1, atol=1e-5)
    assert found[:, 8].tolist() == [0.0] * 11 + [1.0] * 2  # the flag of what has no vector
    assert not found[11:, :8].any()
    expected = (sources[0].matrix[15] - sources[0].matrix[:10].mean(0)) / sources[0].matrix[:10].std(0)
    np.testing.assert_allclose(found[10, :8], expected, rtol=1e-4)
    rows = inputs.rows(["c03", "c15", "c03", "nowhere"])
    assert rows[0] == rows[2] > 0
    assert rows[1] == rows[3] == 0  # training has not met them
    assert rows.max() <= 16
    again = ItemInputs.load(sources, inputs.weights(), 16)
    assert np.array_equal(again.features(seen), inputs.features(seen))
    with pytest.raises(StateError, match="no content that users met has a toy vector"):
        ItemInputs.fit(sources, ["c22"], 16)


def test_id_hashes_stay() -> None:
    """A model fitted elsewhere finds the same ids."""
    assert id_hashes(["c00", "Ünïcode"]).tolist() == [8345000934976625171, 2928034821719740069]


def test_other_item_vectors_are_refused(settings: Settings, catalog: Catalog) -> None:
    add_items(settings, catalog)
    with pytest.raises(StateError, match="fit it again with `larder train user_sequence`"):
        read_sources(settings, catalog, {"toy": "0123456789abcdef"})


def test_the_spec_says_what_was_fitted(settings: Settings, catalog: Catalog) -> None:
    with pytest.raises(StateError, match="not fitted yet: run `larder train user_sequence`"):
        resolve_user_spec("user_sequence", settings)
    with pytest.raises(ConfigurationError, match="valid: user_sequence"):
        resolve_user_spec("sequence", settings)
    add_items(settings, catalog)
    add_events(settings, walks())
    fit(settings, catalog)
    spec = resolve_user_spec("user_sequence", settings)
    assert (spec.dim, spec.rows, list(spec.embeddings)) == (16, "day", ["toy"])
    assert (
        resolve_user_spec("user_sequence", settings, "05").digest
        == resolve_user_spec("user_sequence", settings, "5").digest
    )
    assert (
        len({spec.digest, resolve_user_spec("user_sequence", settings, "5").digest, USER_SPECS["user_sequence"].digest})
        == 3
    )


def test_ranks_leave_out_what_was_met_and_ties_count_against() -> None:
    # One user meets 0, 1, 2 a second apart, then 2 again; four items.
    histories = Histories(np.array([0, 4]), np.array([0, 1, 2, 2]), np.zeros(4, int), np.arange(4) * 1_000_000)
    assert to_foretell(histories, 0, 10).tolist() == [1, 2]
    assert to_foretell(histories, 2_000_000, 10).tolist() == [2]
    assert to_foretell(histories, 0, 1).tolist() == [1]
    scores = {1: [9.0, 1.0, 2.0, 0.0], 2: [9.0, 9.0, 1.0, 1.0]}
    found = measure(
        histories, np.array([1, 2]), lambda events: np.array([scores[e] for e in events.tolist()], np.float32)
    )
    assert found.events == 2
    assert found.hit_rate == 1.0
    assert found.ndcg == pytest.approx(1 / np.log2(3))  # both second: behind item 2, and level with item 3
    assert measure(histories, np.array([], int), lambda events: np.zeros((0, 4), np.float32)).events == 0


def test_the_baselines() -> None:
    histories = Histories(np.array([0, 3]), np.array([0, 1, 1]), np.zeros(3, int), np.arange(3) * 1_000_000)
    assert popularity(histories, 2_000_000, 3)(np.array([2])).tolist() == [[1.0, 1.0, 0.0]]
    vectors = np.array([[1, 0], [0, 2], [1, 1], [0, 0]], np.float32)
    near = nearest_content(histories, vectors)(np.array([1, 2]))
    np.testing.assert_allclose(near, [[1, 0, 0.7071, 0], [0, 1, 0.7071, 0]], atol=1e-4)
