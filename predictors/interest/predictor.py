"""Predictor `interest`: how likely this user engages with this content now, and what to sort all contents by."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional as F

from feature_repo.columns import Columns, Wanted
from feature_repo.errors import StateError
from feature_repo.files import write_json
from predictors.base import Scores
from predictors.interest.blocks import ENGAGED, MEETING, RANK, REACTION
from predictors.interest.content_inputs import ContentInputs, Ids, Matrix, Rows
from predictors.interest.examples import RELATED
from predictors.interest.folded import Events, Folded
from predictors.interest.inputs import LISTS, STATISTICS, Context, Histories, same_pasts
from predictors.interest.net import InterestNet, NetConfig, Past, State
from predictors.interest.platt import Platt, logistic
from predictors.torch_fit import cpu_threads, load_net, save_net

Floats = npt.NDArray[np.float64]

_NET, _INPUTS, _SAID = "net.safetensors", "inputs.npz", "interest.json"
_AT_ONCE = 4096  # rows that the net scores at once


@dataclass(frozen=True, slots=True)
class Inputs:
    """All that is fitted outside the net."""

    contents: ContentInputs
    users: Ids
    context: Context


class Interest:
    """One request's candidates, or rows of many users: each user's history is told to the net once."""

    name = "interest"
    service = "interest"

    def __init__(
        self,
        net: InterestNet,
        inputs: Inputs,
        outputs: Sequence[str],
        calibration: Platt,
        rank_weight: float,
        embeddings: Mapping[str, str],
        version: str,
    ) -> None:
        """`outputs` names the net's logits; `rank_weight` is what log P(engaged) counts beside the logit of meeting."""
        self._version = version
        self.inputs = inputs
        self.outputs = tuple(outputs)
        self.calibration = calibration
        self.rank_weight = rank_weight
        self._embeddings = {name: embeddings[name] for name in inputs.contents.projections}
        self.net = net.eval()

    @property
    def version(self) -> str:
        """Names what it was trained from."""
        return self._version

    @property
    def features(self) -> tuple[str, ...]:
        """Columns that `score` reads."""
        return ("content_id", "user_id", *self.inputs.contents.columns, *STATISTICS, *LISTS)

    @property
    def embeddings(self) -> Mapping[str, str]:
        """Embedding name -> digest of its spec."""
        return self._embeddings

    def score(self, columns: Columns) -> Scores:
        """Score every row; see `Predictor.score`. `details` has `rank` and each head's probability."""
        with cpu_threads(1), torch.inference_mode():
            parts = [
                self.logits(columns.take(range(start, min(start + _AT_ONCE, columns.rows))))
                for start in range(0, columns.rows, _AT_ONCE)
            ]
        logits = np.concatenate([np.empty((0, len(self.outputs))), *(part[0] for part in parts)])
        meeting = np.concatenate([np.empty(0), *(part[1] for part in parts)])
        return self._scores(logits, meeting)

    @cached_property
    def _folded(self) -> Folded:
        """The net for requests."""
        return Folded(self.net)

    @property
    def width(self) -> int:
        """Numbers that the net makes of a content."""
        return 2 * self.net.config.width + self.net.config.outputs + 1

    @property
    def prepared(self) -> tuple[str, ...]:
        """What the net reads of a content."""
        return self.inputs.contents.columns

    @property
    def live(self) -> Wanted:
        """Counts, and the user's history."""
        return Wanted(frozenset((*STATISTICS, *LISTS)))

    def prepare(self, contents: Columns) -> Matrix:
        """What the net makes of contents, (n, width); see `Preparing.prepare`."""
        with cpu_threads(1), torch.inference_mode():
            return self.represent(contents)

    def score_prepared(self, columns: Columns, contents: Matrix, met: Matrix) -> Scores:
        """What hangs on the user; see `Preparing.score_prepared`."""
        with cpu_threads(1), torch.inference_mode():
            logits, meeting = self.logits_of(columns, contents, met)
        return self._scores(logits, meeting)

    def _scores(self, logits: Floats, meeting: Floats) -> Scores:
        """The answer for the net's logits (n, outputs) and those of meetings (n,)."""
        p, said = self.probabilities(logits), logistic(logits)
        heads = {name: said[:, column] for column, name in enumerate(self.outputs) if name not in (ENGAGED, REACTION)}
        rank = meeting + self.rank_weight * np.log(p)
        return Scores(
            p, np.stack([1 - p, p], axis=1), (p >= 0.5).astype(np.int64), {RANK: rank, MEETING: meeting, **heads}
        )

    def probabilities(self, logits: Floats) -> Floats:
        """P(engaged) by the net's logits (n, outputs), calibrated."""
        known = [column for column, name in enumerate(self.outputs) if name in (ENGAGED, REACTION)]
        return self.calibration(logits[:, known])

    def represent(self, contents: Columns) -> Matrix:
        """What the net makes of the contents, `Represented.packed` row by row: the same for every request."""
        rows = self.inputs.contents.ids.rows(contents.objects("content_id"))
        made = self.net.represent(torch.from_numpy(self.inputs.contents(contents)), torch.from_numpy(rows))
        packed: Matrix = made.packed().numpy()
        return packed

    def recall(self, columns: Columns, rows: Rows) -> State:
        """What the net makes of the users of these rows: the same for every content."""
        places, vectors = self._met(columns, rows, None)
        past = self.inputs.context.histories(columns, rows.tolist(), places)
        padded = F.pad(torch.from_numpy(vectors), (0, 0, 0, 1))  # a row for those who met nothing
        return self.net.recall(as_past(past, padded[past.contents]), torch.from_numpy(self._users(columns, rows)))

    def _met(self, columns: Columns, rows: Rows, met: Matrix | None) -> tuple[dict[str, int], Matrix]:
        """The contents that the users of these rows met: the row of each, and their vectors (m, width); `met` is what
        the net makes of the related contents, where that is known.
        """
        related = columns.related[RELATED]
        if met is None:
            lists = columns.objects(RELATED)[rows]
            named = {content_id for ids in lists for content_id in ids or ()}
            ids = related.objects("content_id")
            related = related.take([row for row, content_id in enumerate(ids) if content_id in named])
            met = self.represent(related)
        places = {content_id: row for row, content_id in enumerate(related.objects("content_id").tolist())}
        return places, met[:, : self.net.config.width]

    def _users(self, columns: Columns, rows: Rows) -> Rows:
        """The users' rows of their table."""
        return self.inputs.users.rows([user or "" for user in columns.objects("user_id")[rows]])

    def logits(self, columns: Columns) -> tuple[Floats, Floats]:
        """The net's logits, (n, outputs), and those of meetings, (n,)."""
        return self.logits_of(columns, self.represent(columns))

    def logits_of(self, columns: Columns, contents: Matrix, met: Matrix | None = None) -> tuple[Floats, Floats]:
        """The same, where the rows' contents are represented already, and maybe those that users `met`."""
        firsts, owners = same_pasts(columns)
        places, vectors = self._met(columns, firsts, met)
        context, users = self.inputs.context(columns), self._users(columns, firsts)
        logits, meeting = np.empty((columns.rows, len(self.outputs))), np.empty(columns.rows)
        for first, user, rows in zip(firsts.tolist(), users.tolist(), _rows_of(owners, len(firsts)), strict=True):
            ids, kinds, values, gaps = self.inputs.context.history(columns, first, places)
            asked = self._folded.recall(Events(vectors[ids], kinds, values, gaps), user)
            logits[rows], meeting[rows] = self._folded(asked, contents[rows], context[rows])
        return logits, meeting

    def save(self, folder: Path) -> None:
        """Write the model's files into `folder`; the same model gives the same bytes."""
        save_net(folder / _NET, self.net)
        contents, users = self.inputs.contents, self.inputs.users
        arrays = {**contents.arrays(), **self.inputs.context.arrays(), "users.seen": users.seen}
        np.savez(folder / _INPUTS, allow_pickle=False, **arrays)
        said = {
            "net": asdict(self.net.config),
            "contents": contents.facts(),
            "user_buckets": users.buckets,
            "outputs": list(self.outputs),
            "calibration": self.calibration.to_json(),
            "rank_weight": self.rank_weight,
            "embeddings": self._embeddings,
        }
        write_json(folder / _SAID, said)

    @classmethod
    def load(cls, folder: Path) -> Interest:
        """Read what `save` wrote. Raises StateError where it cannot be read."""
        try:
            said: dict[str, Any] = json.loads((folder / _SAID).read_text())
            with np.load(folder / _INPUTS, allow_pickle=False) as file:
                arrays = dict(file)
            contents = ContentInputs.of(arrays, said["contents"])
            inputs = Inputs(contents, Ids(arrays["users.seen"], said["user_buckets"]), Context.of(arrays))
            net = InterestNet(NetConfig(**said["net"]))
            calibration = Platt(**said["calibration"])
            outputs, weight, embeddings = said["outputs"], said["rank_weight"], said["embeddings"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StateError(f"{folder}: the model cannot be read ({error}); train again") from error
        load_net(folder / _NET, net)
        return cls(net, inputs, outputs, calibration, weight, embeddings, folder.name)


def _rows_of(owners: Rows, count: int) -> Sequence[slice | Rows]:
    """Each owner's rows; a request's are all of one, and need not be picked."""
    if count == 1:
        return [slice(None)]
    return np.split(np.argsort(owners, kind="stable"), np.cumsum(np.bincount(owners, minlength=count)))[:count]


def as_past(histories: Histories, vectors: torch.Tensor) -> Past:
    """The histories with the vectors (g, n, width) of their contents."""
    others = (histories.kinds, histories.values, histories.gaps, histories.known)
    return Past(vectors, *(torch.from_numpy(part) for part in others))
