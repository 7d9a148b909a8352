from __future__ import annotations

from collections import Counter
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_repo.errors import InputError, NotFoundError, StateError
from feature_repo.settings import Settings
from predictors import experiments
from predictors.experiments import arms_of

ARMS = arms_of(["control=aa:1", "new=bb:3"])


class TestArms:
    def test_weights_become_shares(self) -> None:
        assert [(arm.name, arm.release, arm.share) for arm in ARMS] == [("control", "aa", 0.25), ("new", "bb", 0.75)]

    @pytest.mark.parametrize("arm", ["new", "new=bb", "new=bb:", "new=bb:x", "=bb:1", "a b=bb:1", "new=:1", "new=bb:0"])
    def test_one_that_is_none_is_told(self, arm: str) -> None:
        with pytest.raises(InputError, match="arm "):
            arms_of(["control=aa:1", arm])

    @pytest.mark.parametrize("arms", [["a=x:1"], ["a=x:1", "a=y:1"], []])
    def test_there_are_two_with_names_of_their_own(self, arms: list[str]) -> None:
        with pytest.raises(InputError, match="two arms or more"):
            arms_of(arms)

    @pytest.mark.parametrize("weight", ["nan", "inf", "-1"])
    def test_weights_are_numbers_above_0(self, weight: str) -> None:
        with pytest.raises(InputError, match="a weight a number above 0"):
            arms_of(["control=aa:1", f"new=bb:{weight}"])


class TestArmOf:
    def test_users_are_dealt_out_by_the_shares(self, settings: Settings) -> None:
        experiment = experiments.start(settings, "one", ARMS)
        dealt = Counter(experiment.arm_of(f"u{n}") for n in range(20_000))
        assert dealt[1] / 20_000 == pytest.approx(0.75, abs=0.02)

    def test_users_of_two_experiments_are_mixed_anew(self, settings: Settings) -> None:
        arms = arms_of(["a=x:1", "b=y:1"])
        one = experiments.start(settings, "one", arms)
        experiments.stop(settings)
        two = experiments.start(settings, "two", arms)
        same = sum(one.arm_of(f"u{n}") == two.arm_of(f"u{n}") for n in range(10_000))
        assert same / 10_000 == pytest.approx(0.5, abs=0.03)

    @given(st.text(), st.integers(2, 5))
    def test_a_greater_share_takes_no_user_of_it_away(self, user: str, parts: int) -> None:
        few = experiments.Experiment("x", arms_of([f"a=v:{1 / parts}", f"b=w:{1 - 1 / parts}"]), datetime.min)
        more = experiments.Experiment("x", arms_of(["a=v:0.9", "b=w:0.1"]), datetime.min)
        assert few.arm_of(user) == few.arm_of(user)
        assert few.arm_of(user) == 1 or more.arm_of(user) == 0


class TestLife:
    def test_what_is_started_runs_until_it_is_stopped(self, settings: Settings) -> None:
        assert experiments.running(settings) is None
        started = experiments.start(settings, "one", ARMS)
        assert experiments.running(settings) == started
        stopped = experiments.stop(settings)
        assert stopped.stopped is not None
        assert stopped.stopped >= started.started
        assert experiments.running(settings) is None
        assert experiments.named(settings, "") == experiments.named(settings, "one") == stopped

    def test_one_runs_at_a_time(self, settings: Settings) -> None:
        experiments.start(settings, "one", ARMS)
        with pytest.raises(StateError, match="experiment one runs: stop it first"):
            experiments.start(settings, "two", ARMS)

    def test_a_name_is_used_once(self, settings: Settings) -> None:
        experiments.start(settings, "one", ARMS)
        experiments.stop(settings)
        with pytest.raises(InputError, match="was run before"):
            experiments.start(settings, "one", ARMS)

    @pytest.mark.parametrize("name", ["", "../up", "a b", ".hidden", "x" * 65])
    def test_a_name_is_a_plain_one(self, settings: Settings, name: str) -> None:
        with pytest.raises(InputError, match="a name is letters"):
            experiments.start(settings, name, ARMS)

    def test_nothing_to_stop_or_to_name(self, settings: Settings) -> None:
        with pytest.raises(StateError, match="no experiment runs"):
            experiments.stop(settings)
        with pytest.raises(NotFoundError, match="no experiment 'x'; there are: none yet"):
            experiments.named(settings, "x")

    @pytest.mark.parametrize(
        "text", ["{", "{}", "[]", '{"name": "one", "arms": [{}], "started": "x", "stopped": null}']
    )
    def test_a_broken_file_is_told_by_name(self, settings: Settings, text: str) -> None:
        experiments.start(settings, "one", ARMS)
        (settings.experiments_dir / "one.json").write_text(text)
        with pytest.raises(StateError, match="experiment one cannot be read"):
            experiments.running(settings)
