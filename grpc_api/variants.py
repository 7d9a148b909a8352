"""Which release answers a request while an experiment runs."""

from __future__ import annotations

from typing import NamedTuple

from grpc_api.calls import Call
from grpc_api.messages.describe import VariantInfo
from predictors.loaded import LoadedRelease


class Chosen(NamedTuple):
    """The release that answers, and the experiment and its arm that it answers for; empty where none runs."""

    release: LoadedRelease
    experiment: str = ""
    variant: str = ""


def chosen(release: LoadedRelease, user_id: str | None, call: Call) -> Chosen:
    """Always the same arm for a user; for no one in particular, for a request id."""
    experiment = release.experiment
    if experiment is None:
        return Chosen(release)
    number = experiment.design.arm_of(user_id or call.request_id)
    return Chosen(experiment.releases[number], experiment.design.name, experiment.design.arms[number].name)


def variants(release: LoadedRelease) -> tuple[VariantInfo, ...]:
    """The arms of the experiment that runs."""
    arms = release.experiment.design.arms if release.experiment else ()
    return tuple(VariantInfo(arm.name, arm.release, arm.share) for arm in arms)
