"""What a predictor loses without a modality: it is fitted again without its columns, on the same rows."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from feature_repo.catalog import Catalog
from feature_repo.columns import Columns
from feature_repo.contracts import Modality, digest
from feature_repo.errors import LarderError
from feature_repo.files import write_json
from feature_repo.schema import CONTENT_STATS, CREATOR_STATS, USER_RECENT, USER_STATS
from feature_repo.settings import Settings
from predictors.engagement import Examples
from predictors.evaluation.kept import keep, kept, kept_facts
from predictors.evaluation.outcomes import Examination, examination
from predictors.evaluation.paired import resample
from predictors.interest.examples import EventExamples
from predictors.recipes import TASKS, Config, Data, Recipe, TrainingStore, checkpoints, named, recipe_of
from predictors.report.evidence import ABLATION, COMPARISON
from predictors.tracking import LocalRun, Stage
from predictors.train import version_of

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Owned:
    """What goes where a modality does: the embeddings made of it, columns, and by predictor the fields of its
    configuration that keep it from learning ids.
    """

    embeddings: Modality | None = None
    columns: tuple[str, ...] = ()
    fields: Mapping[str, Mapping[str, Any]] | None = None


# A content's and a user's past are one: the creator's posts, the counters before the row, what the user met
MODALITIES: Mapping[str, Owned] = {
    "image": Owned(Modality.IMAGE, ("has_image",)),
    "text": Owned(Modality.TEXT, ("title_chars", "title_words", "description_chars")),
    "sound": Owned(Modality.AUDIO, ("has_audio",)),
    "video": Owned(Modality.VIDEO, ("has_video",)),
    "history": Owned(
        columns=("content_creator", *CREATOR_STATS, *CONTENT_STATS, *USER_STATS, *USER_RECENT, "user_sequence")
    ),
    "ids": Owned(fields={"interest": {"id_dropout": 0.999}}),
}


def ablate(
    settings: Settings,
    catalog: Catalog,
    store: TrainingStore,
    folder: Path,
    on_stage: Stage = lambda name, done, total: None,
) -> dict[str, Any]:
    """Fit each predictor of the comparison in `folder` once more for each modality that it reads, with the first seed,
    and write `ablation.json`: by predictor and modality the paired differences from the predictor in full.

    What was fitted before is not fitted again. A predictor that cannot do without a modality has the reason instead.
    A predictor whose data are no columns (it reads the media themselves) is left out.
    """
    report = json.loads((folder / COMPARISON).read_text())
    found: dict[str, dict[str, Any]] = {}
    for name in report["versions"]:
        recipe = recipe_of(name)
        facts = kept_facts(folder / name / f"seed-{report['seeds'][0]}")
        if recipe.task == "media" or "reads" not in facts:
            logger.warning("%s is not ablated: it reads media, or was evaluated by an older version", name)
            continue
        config = recipe.configure(facts["config"])
        on_stage(f"{name}: features", 0, 0)
        data: Data = named(TASKS[recipe.task])(settings, catalog, store, recipe.service, config)
        bench = _Bench(settings, folder / "ablation" / name, name, recipe, config, data)
        whole = kept(folder / name / f"seed-{report['seeds'][0]}")[name]
        made = {row.name: str(row.modality) for row in catalog.embeddings().values()}
        for modality, owned in MODALITIES.items():
            gone = telling(data.examples, owned_by(owned, made) & set(facts["reads"]))
            fields = (owned.fields or {}).get(name, {})
            if gone or fields:
                on_stage(f"{name}: without {modality}", 0, 0)
                found.setdefault(name, {})[modality] = bench.without(
                    modality, gone, fields, whole, report["resamples"], on_stage
                )
    write_json(folder / ABLATION, found)
    return found


def owned_by(owned: Owned, made: Mapping[str, str]) -> set[str]:
    """Columns that a modality owns where the embeddings are `made` of these modalities."""
    return {*owned.columns, *(name for name, kind in made.items() if kind == owned.embeddings)}


def telling(examples: Examples | EventExamples, names: Iterable[str]) -> set[str]:
    """Those of these columns that say anything: embeddings, and columns that are not the same in every row."""
    told = set()
    for name in names:
        held = examples.columns.values.get(name)
        if name in examples.digests or (held is not None and _varies(held, examples.columns.present[name])):
            told.add(name)
    return told


def _varies(values: npt.NDArray[Any], present: npt.NDArray[np.bool_]) -> bool:
    if not present.any():
        return False
    return not present.all() or values.dtype == object or bool((values != values[0]).any())


def without(examples: Examples | EventExamples, gone: Iterable[str]) -> Any:
    """The same rows, labels and split with these columns absent, and these embeddings not there at all."""
    gone = set(gone)
    digests = {name: spec for name, spec in examples.digests.items() if name not in gone}
    if isinstance(examples, EventExamples):
        parts = (examples.columns, examples.contents, examples.latest)
        columns, contents, latest = (_blank(part, gone, examples.digests) for part in parts)
        blank = replace(examples, columns=columns, contents=contents, latest=latest, digests=digests)
        return blank.with_related()
    tokens = {name: count for name, count in examples.tokens.items() if name not in gone}
    return replace(examples, columns=_blank(examples.columns, gone, examples.digests), digests=digests, tokens=tokens)


def _blank(columns: Columns, gone: set[str], embeddings: Mapping[str, str]) -> Columns:
    """Embeddings that are gone leave, other columns stay and are absent in every row."""
    values, present = {}, {}
    for name, held in columns.values.items():
        if name in gone and name in embeddings:
            continue
        nothing = None if held.dtype == object else np.nan
        values[name] = np.full_like(held, nothing) if name in gone else held
        present[name] = np.zeros_like(columns.present[name]) if name in gone else columns.present[name]
    return replace(columns, values=values, present=present)


@dataclass(frozen=True, slots=True)
class _Bench:
    """One predictor's data, and where its refits are kept."""

    settings: Settings
    out: Path
    name: str
    recipe: Recipe
    config: Config
    data: Any

    def without(
        self,
        modality: str,
        gone: set[str],
        fields: Mapping[str, Any],
        whole: Mapping[str, Any],
        resamples: int,
        on_stage: Stage,
    ) -> dict[str, Any]:
        """The columns that went, and each measure less that of the `whole` predictor; or why there is none."""
        config = self.recipe.configure({**self.config.to_json(), **fields})
        data = replace(self.data, examples=without(self.data.examples, gone))
        held = examination(self.recipe.task, data)
        said: dict[str, Any] = {"columns": sorted(gone), "measures": {}}
        try:
            self._fit(modality, config, data, held, gone, on_stage)
        except LarderError as error:
            return {**said, "reason": str(error)}
        ablated, full = (held.outcome(tables) for tables in (kept(self.out / modality)[self.name], whole))
        measured, against = (resample([outcome], resamples, self.config.seed) for outcome in (ablated, full))
        return {**said, "measures": {name: asdict(found) for name, found in measured.less(against).items()}}

    def _fit(
        self, modality: str, config: Config, data: Any, held: Examination, gone: set[str], on_stage: Stage
    ) -> None:
        """Fit and predict, where that was not done with the same data and configuration."""
        version = digest(version_of(self.name, self.recipe, self.data.digest, config), modality, *sorted(gone), size=8)
        if kept_facts(self.out / modality).get("version") == version:
            return
        run = LocalRun(version, checkpoints(self.settings.models_dir, self.name, version), on_stage)
        fitted = self.recipe.run(data.examples, config, run)
        keep(self.out / modality, {self.name: held.predict(fitted, fitted.predictor)}, {"version": version})
        shutil.rmtree(run.folder, ignore_errors=True)
