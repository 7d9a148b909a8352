"""What predictors of interest learn from: encounters with their features, labels and contents."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from feature_repo.columns import Columns
from predictors.labels import Floats
from predictors.splits import Rows, Splits

RELATED = "recent_contents"  # the list whose contents stand beside the rows
_AT_ONCE = 20_000  # rows whose vectors `batches` gathers together


@dataclass(frozen=True, slots=True)
class EventExamples:
    """Encounters of users with contents, n rows, by time.

    `columns` are the features of each as of its time without the vectors, and its keys `content_id`, `user_id` and
    `event_timestamp` (µs since 1970). `items` (n,) is the row of each one's content in `contents`, which holds every
    content with its vectors by ascending `content_id`, as known once all training rows are; `latest` are the same
    contents once the validation rows are known too, as test rows find them. `labels` are (n,) float64 by name:
    "engaged" 0 or 1, "reaction" in [0, 1], a head such as "like" NaN where the log cannot say. `digests` is the spec of
    each embedding of contents.
    """

    columns: Columns
    items: npt.NDArray[np.int64]
    labels: Mapping[str, Floats]
    contents: Columns
    latest: Columns
    splits: Splits
    digests: Mapping[str, str]

    def with_related(self) -> EventExamples:
        """The same, the contents standing beside the rows as a store's answer has them."""
        return replace(self, columns=self.columns.with_related({RELATED: self.contents}))

    def found_by(self, row: int) -> Columns:
        """All contents as this row finds them."""
        return self.latest if row in self.splits.test else self.contents

    def batch(self, rows: Rows) -> Columns:
        """What `Predictor.score` takes for these rows: their features with the vectors of their contents."""
        items = self.items[rows]
        vectors = {name: self.contents.vectors(name)[items] for name in self.digests}
        present = {name: self.contents.present[name][items] for name in self.digests}
        return self.columns.take(rows).beside(Columns(len(rows), vectors, present))

    def batches(self, rows: Rows) -> Iterator[Columns]:
        """The same, a part of the rows at a time, so that their vectors need little memory."""
        for start in range(0, len(rows), _AT_ONCE):
            yield self.batch(rows[start : start + _AT_ONCE])
