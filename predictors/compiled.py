"""Loops that are compiled (numba) when their module is imported; the next process finds them beside the module."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

from numba import njit

Loop = TypeVar("Loop", bound=Callable[..., Any])


def compiled(signature: str) -> Callable[[Loop], Loop]:
    """A function of these types (`void(f4[:,::1])`). It lets other threads go on, checks no index and sums in order."""
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": {"contract", "nsz"}}

    def compile_(loop: Loop) -> Loop:
        try:
            return cast(Loop, njit(signature, cache=True, **options)(loop))
        except RuntimeError:  # neither the module's folder nor the user's can be written: compiled by every process
            return cast(Loop, njit(signature, **options)(loop))

    return compile_
