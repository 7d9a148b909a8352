"""What is drawn, from what is given."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from feature_repo.errors import ConfigurationError, StateError
from grpc_api.load.plan import KINDS, Subjects, draw, parse_mix
from protos.larder.v1 import scoring_pb2 as pb

ABOUT = Subjects([f"c{n}" for n in range(500)], ["u1", "u2"], candidates=50, k=7)


def test_a_seed_draws_the_same() -> None:
    first, again, other = (draw(ABOUT, {"predict": 1, "similar": 2}, 100, 5, seed) for seed in (1, 1, 2))
    for name in ("due", "kind", "request"):
        assert np.array_equal(getattr(first, name), getattr(again, name))
    assert first.requests == again.requests != other.requests
    assert not np.array_equal(first.due[:10], other.due[:10])


def test_calls_are_a_poisson_process() -> None:
    plan = draw(ABOUT, {"predict": 0.8, "similar": 0.2}, rate=200, seconds=100, seed=0)
    assert len(plan.due) == pytest.approx(20_000, rel=0.03)
    gaps = np.diff(plan.due)
    assert (gaps >= 0).all()
    assert gaps.std() == pytest.approx(gaps.mean(), rel=0.05)  # as of exponential times
    counts = np.histogram(plan.due, 100, (0, 100))[0]
    assert counts.var() == pytest.approx(counts.mean(), rel=0.5)
    assert (plan.kind == 0).mean() == pytest.approx(0.8, abs=0.02)


def test_requests_are_what_was_asked_for() -> None:
    plan = draw(ABOUT, dict.fromkeys(KINDS, 1.0), 10, 1, 0)
    predict, similar, recommend, *_ = (requests[0] for requests in plan.requests)
    asked = pb.PredictRequest.FromString(predict)
    assert len(set(asked.content_ids)) == 50
    assert asked.user_id in ABOUT.users
    assert pb.SimilarRequest.FromString(similar).k == 7
    assert pb.RecommendRequest.FromString(recommend).pool == 50


def test_few_contents_are_asked_about_again_and_nobody_is_nobody() -> None:
    plan = draw(replace(ABOUT, content_ids=["c1"], users=[]), {"predict": 1}, 10, 1, 0)
    asked = pb.PredictRequest.FromString(plan.requests[0][0])
    assert (list(asked.content_ids), asked.HasField("user_id")) == (["c1"] * 50, False)


def test_without_contents_there_is_nothing_to_ask() -> None:
    with pytest.raises(StateError, match="no contents"):
        draw(replace(ABOUT, content_ids=[]), {"describe": 1}, 10, 1, 0)


def test_mixes() -> None:
    assert parse_mix("predict=0.8, similar=0.2") == {"predict": 0.8, "similar": 0.2}
    assert parse_mix("describe") == {"describe": 1}


@pytest.mark.parametrize(("said", "named"), [("guess=1", "describe"), ("predict=-1", "KIND"), ("predict=x", "KIND")])
def test_broken_mixes_are_told(said: str, named: str) -> None:
    with pytest.raises(ConfigurationError, match=named):
        parse_mix(said)
