"""The largest errors of a model, both ways, with what a reader needs to judge them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from feature_repo.catalog import Catalog
from feature_repo.contracts import Modality
from predictors.evaluation.engagement import FILE
from predictors.evaluation.interest import EVENTS
from predictors.labels import Floats
from predictors.report.drawing import thumbnail
from predictors.report.evidence import Model, Task

SHOWN = 6  # of each way


@dataclass(frozen=True, slots=True)
class Miss:
    """One held-out row; `picture` is a data URL, "" where there is none."""

    content_id: str
    said: str
    true: str
    title: str = ""
    picture: str = ""
    user: str = ""


@dataclass(frozen=True, slots=True)
class Misses:
    """What a model thought too much of, and too little of, the worst first."""

    model: str
    over: Sequence[Miss]
    under: Sequence[Miss]


def worst(task: Task, model: Model, catalog: Catalog) -> Misses | None:
    """The `SHOWN` largest misses each way; None where the model's predictions are not there."""
    if task.truth is None or not ({FILE, EVENTS} & set(model.said)):
        return None
    events = EVENTS in model.said
    table = model.said[EVENTS if events else FILE]
    said = table["p" if events else "pred"].to_numpy()
    true = task.truth["engaged" if events else "score"].to_numpy()
    ids = table["item_id" if events else "id"].to_list()
    users = table["user_id"].to_list() if events else [""] * len(ids)
    over, under = (_largest(sign * (said - true)) for sign in (1, -1))
    items = catalog.get(sorted({ids[row] for row in (*over, *under)}))

    def miss(row: int) -> Miss:
        item = items.get(ids[row])
        medium = item.media.get(Modality.IMAGE) if item else None
        picture = thumbnail(medium.path) if medium and medium.digest else ""
        came = ("did not engage", "engaged")[int(true[row])] if events else f"was {true[row]:.2f}"
        return Miss(ids[row], f"{said[row]:.2f}", came, item.content.title if item else ids[row], picture, users[row])

    return Misses(model.name, [miss(row) for row in over], [miss(row) for row in under])


def _largest(gaps: Floats) -> list[int]:
    """Rows of the largest gaps above 0, the largest first."""
    order = np.argsort(-gaps, kind="stable")[:SHOWN]
    return [int(row) for row in order if gaps[row] > 0]
