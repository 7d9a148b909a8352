"""Two releases whose predictors give scores that nobody can mistake, side by side in one server."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from feature_repo import exposures
from feature_repo.columns import Columns
from feature_repo.errors import StateError
from feature_repo.settings import Settings
from grpc_api import smoke
from grpc_api.answers import explain
from grpc_api.answers.explain import Explained
from grpc_api.calls import Call
from grpc_api.client import Scorer
from grpc_api.exposures import CONTENTS, WAITING, Exposure, ExposureLog
from grpc_api.messages.describe import Limits, VariantInfo
from grpc_api.messages.explain import ExplainQuery
from grpc_api.messages.predict import Predictions, PredictQuery
from grpc_api.messages.recommend import RecommendQuery
from grpc_api.service import ScoringService
from grpc_api.variants import Chosen, chosen
from predictors.base import Scores
from predictors.experiments import Experiment, arms_of
from predictors.loaded import LoadedExperiment, LoadedRelease, Model
from predictors.pins import PredictorPin, Smoke
from tests.grpc_api.parts import IDS, Linear
from tests.grpc_api.running import RunningServer, running

FAR = 10_000.0
USERS = [f"u{number}" for number in range(12)]


class Shifted(Linear):
    """Scores that the other release never gives."""

    version = "v2"

    def score(self, columns: Columns) -> Scores:
        found = super().score(columns)
        return replace(found, score=found.score + FAR)


def shifted(release: LoadedRelease) -> LoadedRelease:
    pins = {"popularity": PredictorPin("v2", "popularity")}
    manifest = replace(release.manifest, predictors=pins)
    return replace(release, manifest=manifest, models={"popularity": Model(Shifted(), {"r2": 0.6})})


def beside(release: LoadedRelease, name: str = "depth", weights: tuple[int, int] = (1, 1)) -> LoadedRelease:
    """The release with an experiment between it and the other one."""
    other = shifted(release)
    arms = arms_of([f"control={release.version}:{weights[0]}", f"new={other.version}:{weights[1]}"])
    design = Experiment(name, arms, datetime.now(UTC))
    return replace(release, experiment=LoadedExperiment(design, (release, other)))


def of_one_release(said: Predictions, release: LoadedRelease) -> bool:
    """Whether release, predictor and score agree."""
    [one] = said.results
    if said.release == release.version:
        return one.version == "v1" and bool((one.scores < FAR).all())
    return said.release == shifted(release).version and one.version == "v2" and bool((one.scores >= FAR).all())


@pytest.fixture
def server(settings: Settings, release: LoadedRelease) -> Iterator[RunningServer]:
    with running(settings, beside(release)) as started:
        yield started


class TestArms:
    def test_a_user_always_gets_the_same(self, scorer: Scorer, server: RunningServer, release: LoadedRelease) -> None:
        said = {user: [scorer.predict_columns(IDS[:3], user=user) for _ in range(3)] for user in USERS}
        assert all(len({one.variant for one in answers}) == 1 for answers in said.values())
        assert all(of_one_release(one, release) for answers in said.values() for one in answers)
        assert {one.variant for [one, *_] in said.values()} == {"control", "new"}
        experiment = server.service.release.experiment
        assert experiment is not None
        for user, [one, *_] in said.items():
            assert experiment.design.arms[experiment.design.arm_of(user)].name == one.variant

    def test_recommend_gives_the_user_the_same_arm(self, scorer: Scorer) -> None:
        for user in USERS:
            predicted, recommended = (
                scorer.predict_columns(IDS[:1], user=user),
                scorer.recommend(RecommendQuery(user, k=3)),
            )
            assert (recommended.release, recommended.variant) == (predicted.release, predicted.variant)
            assert {one.score >= FAR for one in recommended.recommendations} == {predicted.variant == "new"}

    def test_requests_for_no_one_in_particular_are_dealt_out_too(self, scorer: Scorer) -> None:
        found = Counter(scorer.predict_columns(IDS[:1]).variant for _ in range(60))
        assert set(found) == {"control", "new"}

    def test_describe_lists_them_and_similar_is_of_the_release_in_use(
        self, scorer: Scorer, release: LoadedRelease
    ) -> None:
        assert scorer.describe().variants == (
            VariantInfo("control", release.version, 0.5),
            VariantInfo("new", shifted(release).version, 0.5),
        )
        assert scorer.similar(content_id=IDS[0], k=1).release == release.version

    def test_health_knows_the_parts_of_both(self, scorer: Scorer, release: LoadedRelease) -> None:
        assert scorer.ready(f"{shifted(release).version}/predictor/popularity")
        assert scorer.ready("predictor/popularity")

    def test_a_swap_ends_it(self, scorer: Scorer, server: RunningServer, release: LoadedRelease) -> None:
        server.swap(release)
        assert {scorer.predict_columns(IDS[:1], user=f"u{n}").variant for n in range(10)} == {""}
        assert scorer.describe().variants == ()


@given(st.text(min_size=1), st.text(min_size=1))
@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_user_goes_before_the_request(release: LoadedRelease, user: str, request: str) -> None:
    both = beside(release)
    mine = chosen(both, user, Call("Predict", request))
    assert mine == chosen(both, user, Call("Predict", "another"))
    assert mine.variant == chosen(both, None, Call("Predict", user)).variant
    assert mine.release.version == (release if mine.variant == "control" else shifted(release)).version


def test_swaps_under_load_fail_nothing_and_mix_nothing(
    scorer: Scorer, server: RunningServer, release: LoadedRelease
) -> None:
    """Between both releases, with and without an experiment, and between experiments."""
    turns = [release, beside(release), shifted(release), beside(release, "other", (1, 9))]
    answers: list[Predictions] = []

    def ask(number: int) -> None:
        answers.extend(scorer.predict_columns(IDS, user=f"u{number}{n % 5}") for n in range(80))

    callers = [threading.Thread(target=ask, args=(number,)) for number in range(3)]
    for caller in callers:
        caller.start()
    swaps = 0
    while any(caller.is_alive() for caller in callers):
        server.swap(turns[swaps % len(turns)])
        swaps += 1
    assert len(answers) == 240
    assert swaps >= 8
    assert not [one for one in answers if not of_one_release(one, release)]


def test_requests_that_are_scored_together_are_so_by_arm(release: LoadedRelease) -> None:
    service = ScoringService(beside(release), Limits())
    queries = [PredictQuery(("popularity",), IDS[:3], user_id=user) for user in USERS]
    calls = [Call("Predict") for _ in USERS]
    together = service.predict_many(queries, calls)
    assert all(of_one_release(one, release) for one in together)
    alone = [service.predict(query, call) for query, call in zip(queries, calls, strict=True)]
    assert [(one.variant, one.release) for one in together] == [(one.variant, one.release) for one in alone]
    assert {one.variant for one in together} == {"control", "new"}


def test_explain_explains_the_score_that_the_user_was_given(
    release: LoadedRelease, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = ScoringService(beside(release), Limits())
    asked: list[LoadedRelease] = []

    def explained(by: LoadedRelease, *_: object) -> Explained:
        asked.append(by)
        return Explained("v", 1.0, "none", 0.0, (), {})

    monkeypatch.setattr(explain, "explain", explained)
    for user in USERS:
        said = service.explain(ExplainQuery("popularity", IDS[0], user), Call("Explain"))
        assert said.release == asked[-1].version == chosen(service.release, user, Call("x")).release.version
    assert len({one.version for one in asked}) == 2


class TestExposures:
    def test_what_was_answered_is_in_the_log_when_the_server_has_stopped(
        self, settings: Settings, release: LoadedRelease
    ) -> None:
        with running(settings, beside(release)) as server, Scorer(f"127.0.0.1:{server.port}") as scorer:
            predicted = scorer.predict_columns([IDS[1], "nobody", IDS[3]], user="u1")
            recommended = scorer.recommend(RecommendQuery("u2", k=3))
            scorer.similar(content_id=IDS[0])
        rows = exposures.scan(settings.exposures_dir).sort("time").collect().to_dicts()
        assert [row["method"] for row in rows] == ["Predict", "Recommend"]
        first, second = rows
        assert (first["request_id"], first["user_id"]) == (predicted.request_id, "u1")
        assert (first["experiment"], first["variant"]) == ("depth", predicted.variant)
        assert (first["release"], first["predictor"]) == (predicted.release, "popularity")
        assert first["content_ids"] == [IDS[3], IDS[1]], "the best first; what has no score was not shown"
        assert first["scores"] == predicted.results[0].scores[[2, 0]].tolist()
        assert second["content_ids"] == [one.content_id for one in recommended.recommendations]
        assert abs(first["time"] - datetime.now(UTC)).total_seconds() < 60

    def test_nothing_is_written_without_an_experiment(self, settings: Settings, release: LoadedRelease) -> None:
        with running(settings, release) as server, Scorer(f"127.0.0.1:{server.port}") as scorer:
            scorer.predict_columns(IDS, user="u1")
        assert exposures.scan(settings.exposures_dir).collect().is_empty()

    def test_too_many_are_dropped_and_counted_and_cost_no_wait(self, tmp_path: Path, release: LoadedRelease) -> None:
        log = ExposureLog(tmp_path)
        one = exposure(release, 3)
        for _ in range(WAITING + 7):
            log.tell(one)
        assert log.dropped == 7
        log.start()
        log.close()
        assert exposures.scan(tmp_path).collect().height == WAITING

    def test_a_disk_that_cannot_be_written_to_costs_the_exposures_alone(
        self, tmp_path: Path, release: LoadedRelease
    ) -> None:
        (tmp_path / "file").write_text("")
        log = ExposureLog(tmp_path / "file")
        log.start()
        log.tell(exposure(release, 3))
        log.close()
        assert log.dropped == 1

    def test_the_best_are_kept(self, release: LoadedRelease) -> None:
        *_, ids, scores = exposure(release, 3 * CONTENTS).row()
        assert ids == [f"c{n}" for n in reversed(range(2 * CONTENTS, 3 * CONTENTS))]
        assert scores == sorted(map(float, range(2 * CONTENTS, 3 * CONTENTS)), reverse=True)


def exposure(release: LoadedRelease, count: int) -> Exposure:
    ids = [f"c{n}" for n in range(count)]
    call = Call("/larder.v1.ScoringService/Predict", "r1")
    return Exposure(
        Chosen(release, "depth", "new"), call, "u1", "popularity", ids, np.arange(count, dtype=float), False
    )


class Nonsense(Linear):
    """Answers with what a test says."""

    def __init__(self, spoil: object) -> None:
        self._spoil = spoil

    def score(self, columns: Columns) -> Scores:
        found = super().score(columns)
        if self._spoil == "raise":
            raise ValueError("a broken tree")
        if self._spoil == "nan":
            return replace(found, score=found.score * np.nan)
        return replace(found, probabilities=found.probabilities * 2)


class TestSmoke:
    @pytest.fixture
    def asked(self, release: LoadedRelease) -> LoadedRelease:
        """The release, with what it was asked in it."""
        made = smoke.first(release, "u1")
        return replace(release, manifest=replace(release.manifest, smoke=made))

    def test_what_it_was_asked_and_said_is_kept(self, asked: LoadedRelease) -> None:
        made = asked.manifest.smoke
        assert made is not None
        assert made.content_ids == tuple(IDS[::-1][: smoke.CONTENTS]), "the most popular"
        assert made.scores == {"popularity": tuple(1000.0 + n for n in range(11, 11 - smoke.CONTENTS, -1))}
        assert asked.version == replace(asked.manifest, smoke=None).version

    def test_one_that_answers_passes_though_its_scores_moved(self, asked: LoadedRelease) -> None:
        smoke.check(asked)
        smoke.check(replace(shifted(asked), manifest=asked.manifest))

    @pytest.mark.parametrize(
        ("spoil", "told"), [("raise", "ValueError: a broken tree"), ("nan", "not finite"), ("double", "not sum to 1")]
    )
    def test_one_that_answers_nonsense_is_refused_by_name(self, asked: LoadedRelease, spoil: str, told: str) -> None:
        broken = replace(asked, models={"popularity": Model(Nonsense(spoil), {})})
        with pytest.raises(StateError, match=f"release {asked.version} fails its own request, Predict by .*{told}"):
            smoke.check(broken)

    def test_a_broken_arm_is_refused_by_name(self, asked: LoadedRelease) -> None:
        arm = replace(shifted(asked), models={"popularity": Model(Nonsense("nan"), {})})
        experiment = LoadedExperiment(Experiment("x", arms_of(["a=x:1", "b=y:1"]), datetime.now(UTC)), (asked, arm))
        with pytest.raises(StateError, match=f"release {arm.version} fails"):
            smoke.check(replace(asked, experiment=experiment))

    def test_a_store_that_has_none_of_its_contents_is_told(self, release: LoadedRelease) -> None:
        gone = replace(release, manifest=replace(release.manifest, smoke=Smoke(("x", "y"), None, {})))
        with pytest.raises(StateError, match="online store has none of its contents: run `larder materialize`"):
            smoke.check(gone)

    def test_one_made_before_there_was_any_is_served(self, release: LoadedRelease) -> None:
        smoke.check(release)
