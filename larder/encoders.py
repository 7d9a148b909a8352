"""The encoders that `larder train` fits on the catalog itself, and what each is handed to learn from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from feature_repo.contracts import ENGAGEMENT_WEIGHTS, Content, Modality
from feature_repo.errors import StateError

if TYPE_CHECKING:
    from embedders.fitted import FittedVersion
    from larder.steps import Workspace

Stage = Callable[[str, int, int], None]
"""Told the name of a stage, how much of it is done, and of how much."""


@dataclass(frozen=True, slots=True)
class FitOptions:
    """What a person chooses: how contents are held out, the seed of it all, and passes over the data at most."""

    split: str
    seed: int
    epochs: int | None = None

    def fields(self) -> dict[str, Any]:
        """Of a fit's own configuration, what is given."""
        return {"seed": self.seed} | ({} if self.epochs is None else {"epochs": self.epochs})


def _fit_conv3d(space: Workspace, options: FitOptions, stage: Stage) -> FittedVersion:
    from embedders.train_conv3d import FitConfig, fit_conv3d

    clips = [item.content for item in space.catalog.items() if Modality.VIDEO in item.content.media]
    labels, validation = engagement_classes(clips, options)
    return fit_conv3d(space.settings, space.catalog, labels, validation, FitConfig(**options.fields()), stage)


def _fit_user_sequence(space: Workspace, options: FitOptions, stage: Stage) -> FittedVersion:
    from embedders.train_user_sequence import FitConfig, fit_user_sequence

    return fit_user_sequence(space.settings, space.catalog, FitConfig(**options.fields()), on_progress=stage)


def _fit_aligned(space: Workspace, options: FitOptions, stage: Stage) -> FittedVersion:
    from embedders.contrastive import ContrastConfig
    from embedders.train_aligned import AlignConfig, fit_aligned

    config = AlignConfig(contrast=ContrastConfig(**options.fields()))
    return fit_aligned(space.settings, space.catalog, config=config, on_progress=stage)


def _fit_clip_tuned(space: Workspace, options: FitOptions, stage: Stage) -> FittedVersion:
    from embedders.train_clip_tuned import USUAL, fit_clip_tuned

    config = replace(USUAL, **options.fields())
    return fit_clip_tuned(space.settings, space.catalog, config=config, on_progress=stage)


@dataclass(frozen=True, slots=True)
class Encoder:
    """What fits an encoder, and the embeddings that a fit makes a new version of."""

    fit: Callable[[Workspace, FitOptions, Stage], FittedVersion]
    embeddings: tuple[str, ...]


ENCODERS: Mapping[str, Encoder] = {
    "conv3d": Encoder(_fit_conv3d, ("conv3d",)),
    "aligned": Encoder(_fit_aligned, ("aligned_image", "aligned_text")),
    "clip_tuned": Encoder(_fit_clip_tuned, ("clip_tuned_image", "clip_tuned_text")),
    "user_sequence": Encoder(_fit_user_sequence, ("user_sequence",)),
}


def engagement_classes(contents: list[Content], options: FitOptions) -> tuple[dict[str, str], set[str]]:
    """Engagement classes of contents by id, and the ids to check on; those of the test split are left out.

    Classes are cut on the training split alone, as a predictor's are. Raises StateError where nothing has a counter.
    """
    import numpy as np

    from predictors.labels import EngagementScore, Quintiles
    from predictors.splits import split

    scores = EngagementScore(ENGAGEMENT_WEIGHTS).of(contents)
    kept = np.flatnonzero(np.isfinite(scores))
    if not len(kept):
        raise StateError(
            f"none of {len(contents)} clips has a counter to learn from (views, likes, …): run `larder ingest` on "
            "clips that have some"
        )
    known = [contents[row] for row in kept]
    splits = split(options.split, [c.content_id for c in known], [c.published_at for c in known], options.seed)
    if not len(splits.train):
        raise StateError(f"none of {len(known)} labelled clips fell into the training split: ingest more")
    classes = Quintiles.fit(scores[kept][splits.train]).classes(scores[kept])
    rows = [*splits.train.tolist(), *splits.valid.tolist()]
    return (
        {known[row].content_id: str(classes[row]) for row in rows},
        {known[row].content_id for row in splits.valid.tolist()},
    )
