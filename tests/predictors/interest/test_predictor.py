"""The net of `interest` on planted tastes: it learns them, and scores the same however it is asked."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from embedders.user_histories import GAPS
from feature_repo.columns import Columns
from feature_repo.contracts import EventType
from feature_repo.errors import ConfigurationError, StateError
from feature_repo.schema import RECENT
from predictors.evaluation.ranking import auc
from predictors.interest.blocks import MEETING, RANK, Blocks, chances
from predictors.interest.config import InterestConfig
from predictors.interest.content_inputs import Ids
from predictors.interest.examples import RELATED, EventExamples
from predictors.interest.fit import fit_interest, meeting_loss
from predictors.interest.folded import Events, Folded
from predictors.interest.inputs import Context, same_pasts
from predictors.interest.net import Past, Represented
from predictors.interest.predictor import Interest
from predictors.splits import Splits
from predictors.tracking import LocalRun
from tests.predictors.planted_tastes import SPEC, Tastes, plant_tastes

QUICK = InterestConfig(
    width=16,
    hidden=32,
    components=8,
    epochs=10,
    patience=8,
    batch=32,
    block=8,
    rate=1e-2,
    dropout=0.05,
    id_dropout=0.1,
    id_decay=0.1,
    negatives=32,
    threads=1,
)
SHORT = replace(QUICK, epochs=2)


@pytest.fixture(scope="module")
def tastes() -> Tastes:
    return plant_tastes(users=100, contents=60, events=100)


@pytest.fixture(scope="module")
def small() -> Tastes:
    return plant_tastes(users=20, contents=40, events=20)


@pytest.fixture(scope="module")
def fitted(tastes: Tastes, tmp_path_factory: pytest.TempPathFactory) -> Interest:
    return fit(tastes.examples, QUICK, tmp_path_factory.mktemp("run"))


def fit(examples: EventExamples, config: InterestConfig, folder: Path) -> Interest:
    predictor = fit_interest(examples, config, LocalRun("v1", folder)).predictor
    assert isinstance(predictor, Interest)
    return predictor


def with_values(columns: Columns, **values: np.ndarray) -> Columns:
    return Columns(columns.rows, {**columns.values, **values}, columns.present, columns.related)


def test_it_comes_near_the_one_who_knows_the_tastes(tastes: Tastes, fitted: Interest) -> None:
    test = tastes.examples.splits.test
    truth = tastes.examples.labels["engaged"][test]
    said = fitted.score(tastes.examples.batch(test))
    assert auc(truth, said.score) > auc(truth, tastes.chance[test]) - 0.03
    assert abs(said.score.mean() - truth.mean()) < 0.05
    np.testing.assert_allclose(said.probabilities.sum(axis=1), 1)
    np.testing.assert_array_equal(said.classes, said.score >= 0.5)
    assert said.details.keys() == {RANK, MEETING}


def test_a_row_scores_the_same_alone_among_others_and_among_other_users(tastes: Tastes, fitted: Interest) -> None:
    rows = tastes.examples.splits.test[:60]
    together = fitted.score(tastes.examples.batch(rows))
    for place in (0, 17, 59):
        alone = fitted.score(tastes.examples.batch(rows[[place]]))
        np.testing.assert_allclose(alone.score, together.score[[place]], atol=1e-5)
        np.testing.assert_allclose(alone.details[RANK], together.details[RANK][[place]], atol=1e-4)
    backwards = fitted.score(tastes.examples.batch(rows[::-1]))
    np.testing.assert_allclose(backwards.score[::-1], together.score, atol=1e-5)


def test_who_and_what_nobody_knows_is_scored_by_what_is_known_of_them(tastes: Tastes, fitted: Interest) -> None:
    rows = tastes.examples.splits.test[:50]
    known = tastes.examples.batch(rows)
    strange = np.array(["stranger"] * len(rows), object)
    for name in ("user_id", "content_id"):
        said = fitted.score(with_values(known, **{name: strange}))
        assert np.isfinite(said.score).all()
        assert np.ptp(said.score) > 0.1
    none = np.full(len(rows), None, object)
    lists = dict.fromkeys(("recent_contents", "recent_events", "recent_times", "recent_values"), none)
    vectors = np.full_like(known.vectors(SPEC.name), np.nan)
    for changed in (lists, {SPEC.name: vectors}, {SPEC.name: vectors[:, :0]}, {"user_id": none}):
        assert np.isfinite(fitted.score(with_values(known, **changed)).score).all()
    assert fitted.score(known.take([])).score.shape == (0,)


def test_a_vector_of_another_length_is_refused(tastes: Tastes, fitted: Interest) -> None:
    known = tastes.examples.batch(tastes.examples.splits.test[:3])
    with pytest.raises(StateError, match="vec vectors have 3 numbers"):
        fitted.score(with_values(known, vec=known.vectors("vec")[:, :3]))


def test_a_saved_net_is_the_same_net(tastes: Tastes, fitted: Interest, tmp_path: Path) -> None:
    fitted.save(tmp_path)
    again = Interest.load(tmp_path)
    rows = tastes.examples.batch(tastes.examples.splits.test[:40])
    np.testing.assert_array_equal(again.score(rows).score, fitted.score(rows).score)
    np.testing.assert_array_equal(again.score(rows).details[RANK], fitted.score(rows).details[RANK])
    assert (again.features, dict(again.embeddings)) == (fitted.features, {SPEC.name: SPEC.digest})
    (tmp_path / "interest.json").write_text("{}")
    with pytest.raises(StateError, match="train again"):
        Interest.load(tmp_path)


def test_the_same_rows_and_seed_give_the_same_bytes_and_another_seed_others(small: Tastes, tmp_path: Path) -> None:
    written = []
    for run, config in (("a", SHORT), ("b", SHORT), ("c", replace(SHORT, seed=1))):
        (tmp_path / run).mkdir()
        fit(small.examples, config, tmp_path / f"run-{run}").save(tmp_path / run)
        written.append({path.name: path.read_bytes() for path in (tmp_path / run).iterdir()})
    assert written[0] == written[1]
    assert written[0]["net.safetensors"] != written[2]["net.safetensors"]


def test_a_killed_fit_goes_on_to_the_same_net(small: Tastes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class KilledError(Exception):
        pass

    def stop(name: str, done: int, total: int) -> None:
        if done == 1:
            raise KilledError

    monkeypatch.setattr("predictors.torch_fit.SAVE_AFTER_S", 0.0)
    whole = fit(small.examples, SHORT, tmp_path / "whole")
    with pytest.raises(KilledError):
        fit_interest(small.examples, SHORT, LocalRun("v1", tmp_path / "cut", stop))
    resumed = fit(small.examples, SHORT, tmp_path / "cut")
    rows = small.examples.batch(small.examples.splits.test)
    np.testing.assert_array_equal(resumed.score(rows).score, whole.score(rows).score)


def test_labels_and_features_of_held_out_rows_reach_nothing(small: Tastes, tmp_path: Path) -> None:
    examples = small.examples
    plain = fit(examples, SHORT, tmp_path / "plain")
    test = examples.splits.test
    labels = {name: values.copy() for name, values in examples.labels.items()}
    for values in labels.values():
        values[test] = 1 - values[test]
    numbers = examples.columns.numbers("user_ratings").copy()
    numbers[test] = 1e6
    planted = replace(examples, labels=labels, columns=with_values(examples.columns, user_ratings=numbers))
    rows = examples.batch(test)
    np.testing.assert_array_equal(fit(planted, SHORT, tmp_path / "b").score(rows).score, plain.score(rows).score)
    trained = replace(planted, splits=Splits(np.r_[examples.splits.train, test], examples.splits.valid, test))
    assert (fit(trained, SHORT, tmp_path / "c").score(rows).score != plain.score(rows).score).any()


def test_a_block_of_rows_knows_nothing_later_than_its_first(small: Tastes) -> None:
    examples = small.examples
    context = Context.fit(examples.columns.take(examples.splits.train))
    blocks = Blocks.of(examples, context, Ids.fit(examples.columns.objects("user_id")), 4)
    names, times = examples.columns.objects("user_id"), examples.columns.numbers("event_timestamp")
    assert sorted(blocks.rows[blocks.filled]) == sorted(examples.splits.train)
    for rows, filled, known in zip(blocks.rows, blocks.filled, blocks.past.known, strict=True):
        own = rows[filled]
        assert len(set(names[own])) == 1
        assert (np.diff(times[own]) > 0).all()
        assert known.sum() == len(examples.columns.objects(RELATED)[own[0]] or ())


def test_histories_are_told_once_and_by_value(small: Tastes) -> None:
    columns = small.examples.columns.take(small.examples.splits.test)
    firsts, owners = same_pasts(columns)
    names = columns.objects("user_id")
    assert len(firsts) == len(set(names))  # the state after training is one for each user
    np.testing.assert_array_equal(names[firsts][owners], names)


def test_the_newest_events_stand_at_the_right_end(small: Tastes) -> None:
    columns = small.examples.columns
    row = int(small.examples.splits.train[5])
    places = {content_id: at for at, content_id in enumerate(small.examples.contents.objects("content_id"))}
    past = Context.fit(columns).histories(columns, [row], places)
    met = columns.objects(RELATED)[row]
    assert past.known.sum() == len(met) == 5
    assert past.contents[0, -5:].tolist() == [places[content_id] for content_id in met]
    assert past.gaps[0, -1] == 0
    assert (np.diff(past.gaps[0, -5:]) <= 0).all()
    del places[met[-1]]
    assert Context.fit(columns).histories(columns, [row], places).known.sum() == 4  # one that is not known is left out


def test_sampled_meetings_are_corrected_for_how_often_they_are_drawn() -> None:
    generator = torch.Generator().manual_seed(0)
    truth = torch.tensor([0.5, 0.3, 0.15, 0.05])
    odds = torch.tensor([0.7, 0.1, 0.1, 0.1]).log()  # drawn far from how they are met
    familiar = torch.zeros(4, requires_grad=True)
    optimiser = torch.optim.Adam([familiar], 0.05)
    none = torch.zeros(4, 1)
    for _ in range(400):
        right = torch.multinomial(truth, 256, replacement=True, generator=generator)
        others = torch.multinomial(odds.exp(), 64, replacement=True, generator=generator)
        contents = Represented(none, none, none, familiar)
        loss = meeting_loss(torch.zeros(256, 1), contents, odds, right, others)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    torch.testing.assert_close(torch.softmax(familiar.detach(), 0), truth, atol=0.04, rtol=0.2)


def test_negatives_are_drawn_from_what_was_met() -> None:
    drawn = chances(np.array([0, 0, 0, 2]), 4)
    np.testing.assert_allclose(drawn, [0.625, 0, 0.375, 0])


def test_heads_are_learnt_where_the_log_has_them(small: Tastes, tmp_path: Path) -> None:
    examples = small.examples
    engaged = examples.labels["engaged"]
    like = np.where(np.arange(len(engaged)) % 3 == 0, np.nan, engaged)
    labels = {"engaged": engaged, "like": like, "share": np.full(len(engaged), np.nan)}
    predictor = fit(replace(examples, labels=labels), SHORT, tmp_path)
    said = predictor.score(examples.batch(examples.splits.test))
    assert said.details.keys() == {RANK, MEETING, "like"}
    assert ((said.details["like"] > 0) & (said.details["like"] < 1)).all()


def test_codes_can_stand_for_vectors(small: Tastes, tmp_path: Path) -> None:
    predictor = fit(small.examples, replace(SHORT, codes=2, code_words=4), tmp_path / "run")
    rows = small.examples.batch(small.examples.splits.test)
    (tmp_path / "model").mkdir()
    predictor.save(tmp_path / "model")
    np.testing.assert_array_equal(Interest.load(tmp_path / "model").score(rows).score, predictor.score(rows).score)


def test_too_little_to_learn_from_is_refused(small: Tastes, tmp_path: Path) -> None:
    splits = small.examples.splits
    for few in (
        Splits(splits.train[:50], splits.valid, splits.test),
        Splits(splits.train, splits.valid[:3], splits.test),
    ):
        with pytest.raises(StateError, match="are needed: ingest more events"):
            fit(replace(small.examples, splits=few), SHORT, tmp_path)


@pytest.mark.parametrize("wrong", [{"width": 10, "heads": 4}, {"dropout": 1.0}, {"epochs": 0}, {"codes": -1}])
def test_a_config_that_cannot_be_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ConfigurationError):
        InterestConfig(**wrong)  # type: ignore[arg-type]


def test_a_state_is_the_same_as_part_of_more_users(tastes: Tastes, fitted: Interest) -> None:
    rows = tastes.examples.batch(tastes.examples.splits.test)
    firsts, _ = same_pasts(rows)
    with torch.inference_mode():
        every, one = fitted.recall(rows, firsts), fitted.recall(rows, firsts[3:4])
    torch.testing.assert_close(every.taste[3:4], one.taste, atol=1e-5, rtol=1e-5)


def test_prepared_contents_score_as_contents_of_the_store(fitted: Interest, tastes: Tastes) -> None:
    rows = tastes.examples.with_related().batch(tastes.examples.splits.test[:40])
    said = fitted.score_prepared(rows, fitted.prepare(rows), fitted.prepare(rows.related["recent_contents"]))
    np.testing.assert_allclose(said.probabilities, fitted.score(rows).probabilities, atol=1e-6)
    assert fitted.prepare(rows).shape == (rows.rows, fitted.width)
    assert {*fitted.prepared, *fitted.live.features, "content_id", "user_id"} == {*fitted.features}


@pytest.mark.parametrize(("events", "candidates"), [(0, 40), (1, 40), (3, 1), (50, 40), (50, 300)])
def test_a_request_gets_what_the_net_says(fitted: Interest, events: int, candidates: int) -> None:
    net = deepcopy(fitted.net)
    shape, generator = net.config, torch.Generator().manual_seed(events)
    with torch.inference_mode():
        for parameter in net.parameters():  # training leaves some near zero
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
        known = torch.arange(RECENT)[None] >= RECENT - events
        kinds, gaps = (torch.randint(top, (1, RECENT), generator=generator) for top in (len(EventType), GAPS))
        past = Past(
            torch.randn(1, RECENT, shape.width, generator=generator), kinds, known * torch.randn(1, RECENT), gaps, known
        )
        ids = torch.randint(shape.content_buckets, (candidates,), generator=generator)
        contents = net.represent(torch.randn(candidates, shape.features, generator=generator), ids)
        context = torch.randn(candidates, shape.context, generator=generator)
        every = Represented(
            *(part[None] for part in (contents.vectors, contents.levels, contents.keys, contents.familiar))
        )
        state = net.recall(past, torch.tensor([3]))
        folded = Folded(net)
        told = Events(*(part[0, known[0]].numpy() for part in (past.vectors, past.kinds, past.values, past.gaps)))
        packed = contents.packed().numpy()
        packed.flags.writeable = False  # as a mapped table is
        said = folded(folded.recall(told, 3), packed, context.numpy())
        logits, meetings = (torch.from_numpy(part) for part in said)
        torch.testing.assert_close(logits, net(state, every, context[None])[0], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(meetings, net.meetings(state, contents)[0], atol=1e-5, rtol=1e-5)


def test_the_only_user_scores_as_one_of_several(fitted: Interest, tastes: Tastes) -> None:
    rows = tastes.examples.with_related().batch(tastes.examples.splits.test)
    firsts, owners = same_pasts(rows)
    assert len(firsts) > 1
    whole = fitted.score(rows)
    for user in range(3):
        own = np.flatnonzero(owners == user)
        alone = fitted.score(rows.take(own))
        np.testing.assert_allclose(alone.score, whole.score[own], atol=1e-5)
        np.testing.assert_allclose(alone.details[RANK], whole.details[RANK][own], atol=1e-4)
