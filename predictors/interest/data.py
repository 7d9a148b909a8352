"""The task "interest": whether this user engages with this content, from what was known before they met."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from feature_repo.catalog import Catalog
from feature_repo.columns import Columns
from feature_repo.contracts import digest
from feature_repo.errors import StateError
from feature_repo.events import EventLog
from feature_repo.settings import Settings
from feature_repo.store import Store
from predictors.base import Predictor
from predictors.evaluation.paired import resample
from predictors.golden import ROWS, Golden
from predictors.interest.baselines import NAIVE
from predictors.interest.examples import RELATED, EventExamples
from predictors.interest.held_out import held_out
from predictors.interest.labels import HEADS, ExampleConfig, label_encounters, number_encounters
from predictors.interest.metrics import Outcome
from predictors.interest.splits import split_encounters
from predictors.recipes import Fitted, TrainingStore
from predictors.splits import Splits

_LABELS = ("engaged", "reaction", *HEADS)


@dataclass(frozen=True, slots=True)
class EventData:
    """The store's frames, the examples made of them, and how many encounters are in no part of the split."""

    frame: pl.DataFrame
    contents: pl.DataFrame
    examples: EventExamples
    left_out: int

    @property
    def facts(self) -> Mapping[str, Any]:
        """Rows of each split and when they were, encounters left out, and the share of engaged ones that train."""
        splits = self.examples.splits
        return {
            "rows": splits.sizes,
            "spans": splits.spans(self.examples.columns.numbers("event_timestamp").astype("M8[us]")),
            "left_out": self.left_out,
            "engaged": float(self.examples.labels["engaged"][splits.train].mean()),
        }

    @property
    def digest(self) -> str:
        """Changes whenever a feature, a vector, a label or the split does."""
        splits = self.examples.splits
        rows = [part.tobytes() for part in (splits.train, splits.valid, splits.test)]
        specs = json.dumps(dict(self.examples.digests), sort_keys=True)
        labels = [part for name, values in sorted(self.examples.labels.items()) for part in (name, values.tobytes())]
        return digest(specs, _bytes(self.frame), _bytes(self.contents), *labels, *rows)

    @property
    def golden(self) -> Golden:
        """The last training rows, which have a past, with the contents of that past."""
        rows = self.frame[self.examples.splits.train[-ROWS:]]
        vectors = self.contents.select("content_id", *self.examples.digests)
        past = rows[RELATED].explode().drop_nulls().unique()
        met = self.contents.filter(pl.col("content_id").is_in(past.implode()))
        return Golden(rows.join(vectors, on="content_id", how="left", maintain_order="left"), {RELATED: met})

    def read(self, fitted: Fitted, rows: npt.NDArray[np.int64], /) -> Iterator[Columns]:
        """These encounters, with the vectors of their contents."""
        del fitted
        return self.examples.batches(rows)

    def measure(self, fitted: Fitted, config: ExampleConfig, /) -> dict[str, Any]:
        """On the test split: the metrics with intervals over users; the naive baselines' and the rivals' beside."""
        examples, test = self.examples, self.examples.splits.test
        engaged, users = examples.labels["engaged"][test], examples.columns.objects("user_id")[test]

        def outcome(predictor: Predictor) -> Outcome:
            said = [predictor.score(batch).score for batch in examples.batches(test)]
            return Outcome(engaged, np.concatenate(said), users)

        own = resample([outcome(fitted.predictor)], config.resamples, config.seed).estimates()
        baselines = {
            name: Outcome(engaged, fit(examples).score(users, examples.items[test]), users).measure()
            for name, fit in NAIVE.items()
        }
        rivals = {name: outcome(rival).measure() for name, rival in fitted.rivals.items()}
        return {
            "metrics": {name: estimate.value for name, estimate in own.items()},
            "intervals": {name: [estimate.low, estimate.high] for name, estimate in own.items()},
            "baselines": baselines | rivals,
        }


def read_interest(
    settings: Settings, catalog: Catalog, store: TrainingStore, service: str, config: ExampleConfig
) -> EventData:
    """Every encounter of the log with the service's features as they were known before it.

    The features come from a workspace that is told the training events alone, and then the validation events
    (`held_out`): training rows see what lay before them, validation rows what is known once all training events are,
    test rows what is known once those of both are. The given store knows the later ones too, so it is not asked.
    Raises StateError where a part of the split is empty.
    """
    del store
    facts = _facts(catalog)
    log = EventLog(settings.interactions_dir).scan().filter(pl.col("content_id").is_in(facts["content_id"].implode()))
    events = number_encounters(log.collect(), config.meeting_hours)
    met = label_encounters(events, facts.select("content_id", "duration_s"), config)
    splits = split_encounters(met, config.split, config.seed)
    training, validation = (
        events.filter(pl.col("encounter").is_in(rows)).drop("encounter") for rows in (splits.train, splits.valid)
    )
    kept, splits = bounded(met, splits, config)
    asked = kept.join(facts, on="content_id", how="left", maintain_order="left").with_row_index("row")
    tests = pl.Series(np.isin(np.arange(kept.height), splits.test))
    with held_out(settings, config.grain) as apart:
        store, after = apart.tell(training), horizon(training)
        frame = _frame(store, as_known(asked, splits, after).filter(~tests), service)
        contents = store.training_frame(_everything(facts, after), service)
        store, after = apart.tell(validation), horizon(pl.concat([training, validation]))
        tested = _frame(store, as_known(asked, splits, after).filter(tests), service)
        latest = store.training_frame(_everything(facts, after), service, vectors=False)
    frame = pl.concat([frame, tested]).sort("row").drop("row").with_columns(kept["event_timestamp"])
    contents, latest = (table.drop("creator_id", "user_id", "event_timestamp") for table in (contents, latest))
    digests = {name: str(row.spec_digest) for name, row in catalog.embeddings().items()}
    known = Columns.from_frame(contents)
    vectors = {name: known.values[name] for name in digests}, {name: known.present[name] for name in digests}
    examples = EventExamples(
        Columns.from_frame(frame),
        contents["content_id"].search_sorted(kept["content_id"]).to_numpy().astype(np.int64),
        {name: kept[name].fill_null(float("nan")).to_numpy() for name in _LABELS},
        known,
        Columns.from_frame(latest).beside(Columns(known.rows, *vectors)),
        splits,
        digests,
    )
    return EventData(frame, contents, examples.with_related(), met.height - kept.height)


def bounded(met: pl.DataFrame, splits: Splits, config: ExampleConfig) -> tuple[pl.DataFrame, Splits]:
    """The encounters of the split's parts, in order, and the split of those rows. Of more than
    `config.max_examples`, those of users that a hash picks, all of each: rates and histories stay what they are.
    """
    parts = (splits.train, splits.valid, splits.test)
    rows = np.concatenate(parts)
    part = np.repeat(np.arange(3), [len(one) for one in parts])
    users = met["user_id"][rows]
    if len(rows) > config.max_examples:
        share = config.max_examples / len(rows)
        chosen = [u for u in users.unique() if int(digest("user", str(config.seed), u, size=8), 16) < share * 2**64]
        inside = users.is_in(chosen).to_numpy()
        rows, part = rows[inside], part[inside]
    order = np.argsort(rows)
    part = part[order]
    train, valid, test = (np.flatnonzero(part == kind) for kind in range(3))
    return met[rows[order]], Splits(train, valid, test)


def horizon(events: pl.DataFrame) -> datetime:
    """A time at which each of these events is known, whatever the grain of the statistics."""
    last = events["timestamp"].max()
    if not isinstance(last, datetime):
        raise StateError("no event to train on: ingest a dataset that has some")
    return last + timedelta(days=1, microseconds=1)


def as_known(met: pl.DataFrame, splits: Splits, after: datetime) -> pl.DataFrame:
    """The encounters with the time as of which their features are read: their own where they train, else `after`."""
    trains = np.zeros(met.height, np.bool_)
    trains[splits.train] = True
    own = pl.when(pl.Series(trains)).then(pl.col("event_timestamp"))
    return met.with_columns(event_timestamp=own.otherwise(pl.lit(after)))


def _frame(store: Store, asked: pl.DataFrame, service: str) -> pl.DataFrame:
    """The features of these encounters, without vectors, beside their `row`."""
    keys = asked.select("row", "content_id", "creator_id", "user_id", "event_timestamp")
    return store.training_frame(keys, service, vectors=False).drop("creator_id")


def _everything(facts: pl.DataFrame, at: datetime) -> pl.DataFrame:
    """What to ask for every content, for nobody, as of that time."""
    asked = facts.with_columns(user_id=pl.lit(""), event_timestamp=pl.lit(at))
    return asked.select("content_id", "creator_id", "user_id", "event_timestamp")


def _facts(catalog: Catalog) -> pl.DataFrame:
    """Creator and duration of every content, by ascending id."""
    rows = [
        (item.content.content_id, item.content.creator_id or "", item.content.attributes.get("duration_s"))
        for item in catalog.items()
    ]
    schema = {"content_id": pl.String, "creator_id": pl.String, "duration_s": pl.Float64}
    return pl.DataFrame(rows, schema, orient="row").sort("content_id")


def _bytes(frame: pl.DataFrame) -> bytes:
    buffer = io.BytesIO()
    frame.write_ipc(buffer)
    return buffer.getvalue()
