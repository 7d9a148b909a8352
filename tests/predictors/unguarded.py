"""Guards of interest taken away, so that a test can see what they keep out."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from feature_repo.events import EventLog
from feature_repo.settings import Settings
from predictors.interest import data
from predictors.interest.held_out import Apart, held_out


def hold_nothing_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """What knows the training events alone is told the whole log first."""

    @contextmanager
    def of_everything(settings: Settings, grain: str) -> Iterator[Apart]:
        with held_out(settings, grain) as apart:
            apart.tell(EventLog(settings.interactions_dir).scan().collect())
            yield apart

    monkeypatch.setattr(data, "held_out", of_everything)
