"""More candidates than a request may name: how they are cut, joined, and kept of one release."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_repo.errors import InputError, UnavailableError
from grpc_api.client import Scorer, batches
from grpc_api.client.batches import cut
from grpc_api.messages.describe import Limits
from grpc_api.messages.predict import RawContent
from protos.larder.v1 import scoring_pb2 as pb
from tests.grpc_api.client.scripted import Ask, Scripted

IDS = [f"c{n}" for n in range(8)]


def test_candidates_come_back_in_order(ask: Ask, script: Scripted) -> None:
    found = ask("predict_columns", IDS)
    assert found.content_ids == IDS
    [scores] = found.results
    assert scores.scores.tolist() == list(range(8))
    assert scores.probabilities.shape == (8, 2)
    # The last row of each part lacks a feature of its own
    assert {name: rows.tolist() for name, rows in scores.missing.items()} == {"2": [2], "5": [5], "7": [7]}
    whole, *parts = script.calls["Predict"]
    assert len(whole.request.content_ids) == 8
    assert sorted(len(part.request.content_ids) for part in parts) == [2, 3, 3]
    assert len({part.metadata["x-request-id"] for part in parts}) == 1


def test_raw_contents_come_last(ask: Ask, script: Scripted) -> None:
    raw = [RawContent(f"n{n}", title="new") for n in range(3)]
    found = ask("predict_columns", IDS[:4], raw_contents=raw)
    assert found.content_ids == [*IDS[:4], "n0", "n1", "n2"]
    assert found.results[0].scores.tolist() == [0, 1, 2, 3, 0, 1, 2]


def test_the_limit_is_learnt_once_and_anew_when_it_shrinks(script: Scripted) -> None:
    with Scorer(f"127.0.0.1:{script.port}") as scorer:
        scorer.predict(IDS)
        before = len(script.calls["Predict"])
        scorer.predict(IDS)
        assert len(script.calls["Predict"]) - before == 3
        script.limits.candidates = 2
        assert [one.score for one in scorer.predict(IDS)] == list(range(8))


def test_a_request_that_cutting_does_not_help(ask: Ask, script: Scripted) -> None:
    script.script = [InputError("user_id: is empty")]
    with pytest.raises(InputError, match="user_id: is empty"):
        ask("predict", IDS[:2])
    assert len(script.calls["Predict"]) == 1


def test_parts_of_another_release_are_asked_again(ask: Ask, script: Scripted) -> None:
    # The whole is refused; a swap goes on while the parts are answered
    script.script = ["r0", "r0", "r1", "r0"]
    found = ask("predict_columns", IDS)
    assert found.release == "r1"
    assert found.results[0].scores.tolist() == list(range(8))
    assert len(script.calls["Predict"]) > 4


def test_releases_are_never_mixed(ask: Ask, script: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "FIRST_PAUSE_S", 0.001)
    script.script = [f"r{n}" for n in range(100)]
    with pytest.raises(UnavailableError, match="several releases"):
        ask("predict_columns", IDS)


candidates = st.text("ab", min_size=1, max_size=9)


@given(
    ids=st.lists(candidates, max_size=20),
    raws=st.lists(st.builds(pb.RawContent, content_id=candidates, image=st.binary(max_size=40)), max_size=10),
    limits=st.builds(
        Limits,
        candidates=st.integers(1, 8),
        raw_contents=st.integers(1, 4),
        payload_bytes=st.integers(1, 200),
    ),
    user=st.none() | st.text(max_size=4),
)
def test_every_part_is_within_the_limits(
    ids: list[str], raws: list[pb.RawContent], limits: Limits, user: str | None
) -> None:
    request = pb.PredictRequest(predictors=["p"], content_ids=ids, raw_contents=raws, user_id=user)
    parts = list(cut(request, limits))
    assert [one for part in parts for one in part.content_ids] == ids
    assert [one for part in parts for one in part.raw_contents] == raws
    for part in parts:
        assert part.predictors == ["p"]
        assert (part.HasField("user_id"), part.user_id) == (request.HasField("user_id"), request.user_id)
        count = len(part.content_ids) + len(part.raw_contents)
        assert count <= limits.candidates
        assert len(part.raw_contents) <= limits.raw_contents
        assert count <= 1 or part.ByteSize() <= limits.payload_bytes
    assert len(parts) == 1 or all(part.content_ids or part.raw_contents for part in parts)


def test_as_few_parts_as_there_can_be() -> None:
    request = pb.PredictRequest(content_ids=[f"c{n}" for n in range(1000)])
    sizes = [len(part.content_ids) for part in cut(request, Limits(candidates=300))]
    assert sizes == [300, 300, 300, 100]
