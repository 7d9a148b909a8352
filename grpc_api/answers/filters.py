"""Which contents of a release meet the filters of a request."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from feature_repo.columns import Mask
from feature_repo.facts import Facts
from grpc_api.messages.filters import AnyOf, Filter, NoneOf, NumberRange


def meeting(facts: Facts, filters: Sequence[Filter]) -> Mask:
    """The contents that meet every one of the filters, which have been checked: (len(facts),) bool."""
    mask = np.ones(len(facts), np.bool_)
    for one in filters:
        mask &= _met(facts, one)
    return mask


def along(facts: Facts, mask: Mask, index: str) -> Mask:
    """The same of the contents in the order of an index; one without facts meets nothing."""
    return np.append(mask, False)[facts.rows[index]]


def _met(facts: Facts, one: Filter) -> Mask:
    match one.condition:
        case AnyOf(texts):
            return facts.any_of(one.field, texts)
        case NoneOf(texts):
            return facts.none_of(one.field, texts)
        case NumberRange(at_least, below):
            return facts.within(one.field, at_least, below)
    raise ValueError("a filter without a condition was not refused")
