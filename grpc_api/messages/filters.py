"""Conditions on facts of contents, which Recommend and Similar take."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class AnyOf:
    """One of these texts."""

    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NoneOf:
    """None of these texts."""

    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class NumberRange:
    """Numbers from `at_least` to under `below`; None is open."""

    at_least: float | None = None
    below: float | None = None


@dataclass(frozen=True, slots=True)
class Filter:
    """A condition on a fact; a content that lacks the fact does not meet it. None: the caller gave no condition."""

    field: str
    condition: AnyOf | NoneOf | NumberRange | None
