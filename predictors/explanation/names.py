"""What the columns that models read are called, and the modality of each."""

from __future__ import annotations

from collections.abc import Iterable

from embedders.specs import SPECS
from embedders.user_specs import USER_SPECS
from feature_repo.schema import CONTENT_META, CONTENT_STATS, CREATOR_STATS, USER_STATS
from predictors.explanation.explain import Feature

FACTS, CREATOR, CROWD, USER, HISTORY, MOMENT = "facts", "creator", "crowd", "user", "history", "moment"
TOGETHER = "facts and vectors together"

_SCHEMAS = ((CONTENT_META, FACTS), (CREATOR_STATS, CREATOR), (CONTENT_STATS, CROWD), (USER_STATS, USER))
_STATISTICS = {name: modality for schema, modality in _SCHEMAS for name in schema}
_WORDS = {"tags": "tag", "language": "language", "content_creator": "made by"}
_OF_STACK = {
    "facts": Feature("facts, kernel score", FACTS),
    "joint": Feature("facts and vectors, kernel score", TOGETHER),
}
_OF_CREATOR = {"mean": "mean score", "posts": "how many"}
# What the trees of interest make of the crowd, the content and the history
_MADE = {
    "expected": Feature("expected reaction", HISTORY),
    "crowd_bias": Feature("what others thought of it", CROWD),
    "crowd_count": Feature("how many met it", CROWD),
    "content_quality": Feature("reaction that its features promise", FACTS),
    "content_popularity": Feature("encounters that its features promise", FACTS),
    "leniency": Feature("how kind the user's reactions are", HISTORY),
    "liking": Feature("likeness to what the user liked", HISTORY),
    "company": Feature("met by those who met the user's contents", HISTORY),
    "history": Feature("length of the user's history", HISTORY),
    "history_reaction": Feature("mean reaction of the user", HISTORY),
    "last_reaction": Feature("last reaction of the user", HISTORY),
    "hours_since": Feature("time since the last event", MOMENT),
    "hour": Feature("hour of the day", MOMENT),
    "weekday": Feature("day of the week", MOMENT),
}


def modality_of(embedding: str) -> str:
    """The modality of an embedding; one that is in no table is its own."""
    if embedding in SPECS:
        return SPECS[embedding].modality.value
    return USER if embedding in USER_SPECS else embedding


def titled(embedding: str) -> str:
    """`minilm text`: an embedding with its modality, unless its name says that."""
    modality = modality_of(embedding)
    return embedding if modality in embedding else f"{embedding} {modality}"


def statistic(column: str) -> Feature:
    """A number of the store."""
    return Feature(column.replace("_", " "), _STATISTICS.get(column, FACTS))


def word(column: str, value: str) -> Feature:
    """Whether a content has a word."""
    return Feature(f"{_WORDS.get(column, column)} {value}", FACTS)


def part(embedding: str, said: str) -> Feature:
    """A part of what an embedding says."""
    return Feature(f"{titled(embedding)}, {said}", modality_of(embedding))


def creator(said: str) -> Feature:
    """What is known of a creator's earlier contents."""
    return Feature(f"creator's earlier contents, {_OF_CREATOR[said]}", CREATOR)


def reduced(embedding: str, width: int) -> list[Feature]:
    """The columns of a `Reduction` that is `width` wide."""
    return [part(embedding, "ridge score"), *(part(embedding, f"direction {k}") for k in range(1, width))]


def tree_features(columns: Iterable[str]) -> tuple[Feature, ...]:
    """Columns of a matrix that trees read."""
    return tuple(_of_tree(column) for column in columns)


def _of_tree(column: str) -> Feature:
    if column in _MADE:
        return _MADE[column]
    if "=" in column:
        return word(*column.split("=", 1))
    owner, colon, said = column.partition(":")
    if not colon:
        return statistic(column)
    if owner == "kernel":
        return _OF_STACK[said]
    if owner == "creator":
        return creator(said)
    if owner == "liking":
        return _liking(said)
    if said == "cosine":
        return Feature(f"likeness of picture and text by {owner}", TOGETHER)
    names = {"ridge": "ridge score", "neighbours": "mean score of its neighbours"}
    return part(owner, names.get(said, f"direction {said.removeprefix('pc')}"))


def _liking(block: str) -> Feature:
    """How a content lies in one block of the space of tastes. The crowd's factors are a block, and so are tags."""
    named = {"taste": ("by others' taste", CROWD), "tags": ("by tags", FACTS), "year": ("by year", FACTS)}
    how, modality = named.get(block, (f"by {titled(block)}", modality_of(block)))
    return Feature(f"likeness to what the user liked, {how}", modality)
