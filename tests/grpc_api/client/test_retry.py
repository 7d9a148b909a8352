"""What is tried again, after how long, and what is not."""

from __future__ import annotations

import random
from itertools import pairwise

import grpc
import pytest

from feature_repo.errors import (
    DeadlineError,
    InputError,
    LarderError,
    OverloadedError,
    UnauthenticatedError,
    UnavailableError,
)
from grpc_api.client import Scorer
from grpc_api.client.retry import MOST_TRIES, Budget
from tests.grpc_api.client.scripted import ROUNDING_S, Ask, Scripted


def test_unavailable_is_tried_again_on_other_connections(ask: Ask, script: Scripted) -> None:
    script.script = [UnavailableError("the store is out")] * (MOST_TRIES - 1)
    assert ask("describe").release == "r1"
    heard = script.calls["Describe"]
    assert len({call.peer for call in heard}) == len(heard) == MOST_TRIES


def test_it_gives_up_in_the_end(ask: Ask, script: Scripted) -> None:
    script.script = [UnavailableError("the store is out")] * 9
    with pytest.raises(UnavailableError, match="the store is out"):
        ask("describe")
    assert len(script.calls["Describe"]) == MOST_TRIES


def test_overload_waits_as_long_as_it_is_told(ask: Ask, script: Scripted) -> None:
    script.script = [OverloadedError("busy", 0.3), OverloadedError("busy", 0.2)]
    assert ask("describe").release == "r1"
    moments = [call.at for call in script.calls["Describe"]]
    first, second = (later - earlier for earlier, later in pairwise(moments))
    assert first >= 0.3
    assert second >= 0.2


def test_no_try_that_the_deadline_has_no_time_for(ask: Ask, script: Scripted) -> None:
    script.script = [OverloadedError("busy", 60)]
    with pytest.raises(OverloadedError) as caught:
        ask("describe", options={"timeout": 30})
    assert caught.value.retry_s == 60
    assert len(script.calls["Describe"]) == 1


def test_all_tries_share_one_deadline(ask: Ask, script: Scripted) -> None:
    script.script = [OverloadedError("busy", 0.3)]
    ask("describe", options={"timeout": 30})
    first, second = script.calls["Describe"]
    assert first.remaining_s > 29.7 >= second.remaining_s - ROUNDING_S


@pytest.mark.parametrize(
    ("step", "kind"),
    [
        (InputError("k: is too many"), InputError),
        (DeadlineError("late"), DeadlineError),
        (UnauthenticatedError("who?"), UnauthenticatedError),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, InputError),  # without a RetryInfo: the message is too large
        (grpc.StatusCode.CANCELLED, UnavailableError),
        (grpc.StatusCode.INTERNAL, LarderError),
    ],
)
def test_nothing_else_is_tried_again(
    ask: Ask, script: Scripted, step: LarderError | grpc.StatusCode, kind: type[LarderError]
) -> None:
    script.script = [step]
    with pytest.raises(kind) as caught:
        ask("describe")
    assert type(caught.value) is kind
    assert len(script.calls["Describe"]) == 1


def test_pauses_grow(script: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    longest: list[float] = []

    def uniform(low: float, high: float) -> float:
        longest.append(high)
        return low

    monkeypatch.setattr(random, "uniform", uniform)
    script.script = [UnavailableError("out")] * 3
    with Scorer(f"127.0.0.1:{script.port}") as scorer:
        scorer.describe()
    assert longest == [0.05, 0.1, 0.2]


def test_retries_stay_a_small_share_of_the_calls(script: Scripted) -> None:
    calls = 60
    script.script = [UnavailableError("out")] * calls * MOST_TRIES
    with Scorer(f"127.0.0.1:{script.port}") as scorer:
        for _ in range(calls):
            with pytest.raises(UnavailableError):
                scorer.describe()
        assert calls < len(script.calls["Describe"]) <= calls + Budget.MOST / 2
        script.script = ()
        for _ in range(int(Budget.MOST / Budget.GIVEN_BACK)):
            scorer.describe()
        script.script = [UnavailableError("out")]
        assert scorer.describe().release == "r1"


def test_nobody_there(ask_at: Ask) -> None:
    with pytest.raises(UnavailableError, match=r"127.0.0.1:1 cannot answer"):
        ask_at("127.0.0.1:1", "describe")
    assert not ask_at("127.0.0.1:1", "ready")
