"""Configurations as people write them: a TOML file of a recipe's own fields, and `key=value` on a command line."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any, cast, get_type_hints

from pydantic import TypeAdapter, ValidationError

from feature_repo.errors import ConfigurationError
from predictors.recipes import Config, Recipe, named


def read_config(path: Path) -> dict[str, Any]:
    """The fields that a TOML file gives. Raises ConfigurationError where it cannot be read."""
    try:
        return tomllib.loads(path.read_text())
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise ConfigurationError(f"{path} is not TOML: {error}") from error


def read_assignments(assignments: Iterable[str]) -> dict[str, Any]:
    """The fields of `key=value` texts, the value as TOML has it; what is no TOML value is a string.

    Raises ConfigurationError where a text has no `=`.
    """
    given: dict[str, Any] = {}
    for text in assignments:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise ConfigurationError(f"cannot read {text!r}: write KEY=VALUE, as depth=8")
        try:
            given[key.strip()] = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            given[key.strip()] = value.strip()
    return given


def configure(recipe: Recipe, given: Mapping[str, Any]) -> Config:
    """The recipe's configuration with these fields instead of the defaults.

    Raises ConfigurationError for a field that it does not have (naming the nearest), a value of another type, and
    what the configuration itself refuses.
    """
    kind: Any = named(recipe.config)
    hints = get_type_hints(kind)
    known = [field.name for field in fields(kind)]
    return recipe.configure({key: _typed(key, value, known, hints) for key, value in given.items()})


def differing(recipe: Recipe, config: Config) -> dict[str, Any]:
    """The fields of a configuration that are not the recipe's defaults."""
    usual = recipe.configure({})
    names = [field.name for field in fields(cast(Any, config))]
    return {name: getattr(config, name) for name in names if getattr(config, name) != getattr(usual, name)}


def to_toml(values: Mapping[str, Any]) -> str:
    """Numbers, texts, truths, and lists and tables of them, as a TOML file; one line each."""
    return "".join(f"{key} = {_literal(value)}\n" for key, value in values.items())


def _typed(key: str, value: Any, known: list[str], hints: Mapping[str, Any]) -> Any:
    if key not in known:
        near = get_close_matches(key, known, 1)
        hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(known)}"
        raise ConfigurationError(f"unknown configuration field {key!r}; {hint}")
    try:
        # JSON, because only from there does a strict check take a list for a tuple, and nothing else for anything
        return TypeAdapter(hints[key]).validate_json(json.dumps(value, default=str), strict=True)
    except ValidationError as error:
        raise ConfigurationError(f"{key}: {error.errors()[0]['msg'].lower()}, got {value!r}") from error


def _literal(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_literal(key)} = {_literal(held)}" for key, held in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_literal, value)) + "]"
    # TOML takes JSON's texts, but no halves of characters, and DEL only escaped
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
