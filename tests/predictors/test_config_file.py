from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feature_repo.errors import ConfigurationError
from predictors.config import TrainConfig
from predictors.config_file import configure, differing, read_assignments, read_config, to_toml
from predictors.recipes import RECIPES

POPULARITY = RECIPES["popularity"]


def test_a_file_gives_fields(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text('depth = 4\nlearning_rate = 1\nsplit = "time"\n[weights]\nviews = 1\nlikes = 0.5\n')
    expected = TrainConfig(depth=4, learning_rate=1.0, split="time", weights={"views": 1.0, "likes": 0.5})
    assert configure(POPULARITY, read_config(path)) == expected


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"detph": 4}, r"unknown configuration field 'detph'; did you mean depth\?"),
        ({"zzz": 4}, "unknown configuration field 'zzz'; there are: weights, split, seed"),
        ({"depth": "4"}, "depth: input should be a valid integer, got '4'"),
        ({"depth": 4.5}, "depth: input should be a valid integer"),
        ({"depth": True}, "depth: input should be a valid integer"),
        ({"split": 3}, "split: input should be a valid string"),
        ({"weights": {"views": "many"}}, "weights: input should be a valid number"),
        ({"depth": 0}, "depth must be at least 1"),
    ],
)
def test_what_a_configuration_cannot_be_is_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        configure(POPULARITY, given)


def test_assignments_are_read_as_toml_has_values() -> None:
    said = read_assignments(["depth=4", "learning_rate = 0.1", "split=time", 'name="4"', "weights={views=2}", "a=b=c"])
    numbers = {"depth": 4, "learning_rate": 0.1, "weights": {"views": 2}}
    assert said == {**numbers, "split": "time", "name": "4", "a": "b=c"}


@pytest.mark.parametrize("text", ["depth", "=4", " =4"])
def test_an_assignment_without_key_and_value_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="write KEY=VALUE"):
        read_assignments([text])


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"none\.toml: No such file"):
        read_config(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("depth: 4")
    with pytest.raises(ConfigurationError, match=r"bad\.toml is not TOML"):
        read_config(tmp_path / "bad.toml")


def test_what_differs_from_the_defaults_gives_the_configuration_back(tmp_path: Path) -> None:
    config = TrainConfig(depth=4, split="time", weights={"a b": 1.5, 'quo"te': 2})
    assert set(differing(POPULARITY, config)) == {"depth", "split", "weights"}
    (tmp_path / "a.toml").write_text(to_toml(differing(POPULARITY, config)))
    assert configure(POPULARITY, read_config(tmp_path / "a.toml")) == config


PLAIN = st.one_of(
    st.integers(-(2**63), 2**63 - 1),
    st.booleans(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(exclude_categories=["Cs"])),
)


@given(st.dictionaries(st.from_regex(r"[a-z_]+", fullmatch=True), st.one_of(PLAIN, st.lists(PLAIN)), max_size=4))
def test_toml_is_read_back_as_it_was(values: dict[str, Any]) -> None:
    import tomllib

    assert tomllib.loads(to_toml(values)) == values
