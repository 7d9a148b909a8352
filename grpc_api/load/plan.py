"""What is asked, and when: all drawn ahead from a seed, so that drawing costs nothing while calls are timed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from google.protobuf.message import Message

from feature_repo.errors import ConfigurationError, StateError, unknown_name
from grpc_api.rpcs import UNARY
from protos.larder.v1 import scoring_pb2 as pb

REQUESTS = 64  # different ones of each kind


@dataclass(frozen=True, slots=True)
class Subjects:
    """What requests are about: contents, users (none: for no one in particular), and how much is asked at once."""

    content_ids: Sequence[str]
    users: Sequence[str]
    predictor: str = "popularity"
    candidates: int = 100
    k: int = 10

    def contents(self, chance: np.random.Generator) -> list[str]:
        """The candidates of a request, each once where there are enough."""
        again = self.candidates > len(self.content_ids)
        return [self.content_ids[n] for n in chance.choice(len(self.content_ids), self.candidates, replace=again)]

    def content(self, chance: np.random.Generator) -> str:
        """One content."""
        return self.content_ids[int(chance.integers(len(self.content_ids)))]

    def user(self, chance: np.random.Generator) -> str | None:
        """One user, where there are any."""
        return self.users[int(chance.integers(len(self.users)))] if self.users else None


def _predict(about: Subjects, chance: np.random.Generator) -> pb.PredictRequest:
    user, contents = about.user(chance), about.contents(chance)
    return pb.PredictRequest(predictors=[about.predictor], content_ids=contents, user_id=user)


def _similar(about: Subjects, chance: np.random.Generator) -> pb.SimilarRequest:
    return pb.SimilarRequest(content_id=about.content(chance), k=about.k)


def _recommend(about: Subjects, chance: np.random.Generator) -> pb.RecommendRequest:
    return pb.RecommendRequest(user_id=about.user(chance) or "nobody", k=about.k, pool=about.candidates)


def _explain(about: Subjects, chance: np.random.Generator) -> pb.ExplainRequest:
    user, content = about.user(chance), about.content(chance)
    return pb.ExplainRequest(predictor=about.predictor, content_id=content, user_id=user)


def _describe(about: Subjects, chance: np.random.Generator) -> pb.DescribeRequest:
    return pb.DescribeRequest()


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of call: its method, and how a request is drawn."""

    path: str
    draw: Callable[[Subjects, np.random.Generator], Message]


KINDS: Mapping[str, Kind] = {
    "predict": Kind(UNARY["Predict"].path, _predict),
    "similar": Kind(UNARY["Similar"].path, _similar),
    "recommend": Kind(UNARY["Recommend"].path, _recommend),
    "explain": Kind(UNARY["Explain"].path, _explain),
    "describe": Kind(UNARY["Describe"].path, _describe),
}


@dataclass(frozen=True, slots=True)
class Plan:
    """Call n is due after `due[n]` seconds, is of `kinds[kind[n]]`, and sends `requests[kind[n]][request[n]]`."""

    rate: float
    seconds: float
    kinds: tuple[str, ...]
    requests: tuple[tuple[bytes, ...], ...]
    due: npt.NDArray[np.float64]
    kind: npt.NDArray[np.int64]
    request: npt.NDArray[np.int64]


def draw(about: Subjects, mix: Mapping[str, float], rate: float, seconds: float, seed: int) -> Plan:
    """Calls of a Poisson process: `rate` a second on average, kinds by their weights. Raises StateError."""
    if not about.content_ids:
        raise StateError("there are no contents to ask about: run it in the workspace of the server, or ingest first")
    chance = np.random.default_rng(seed)
    requests = tuple(
        tuple(KINDS[name].draw(about, chance).SerializeToString() for _ in range(REQUESTS)) for name in mix
    )
    count = max(1, chance.poisson(rate * seconds))
    weights = np.array(list(mix.values()))
    return Plan(
        rate,
        seconds,
        tuple(mix),
        requests,
        due=np.sort(chance.uniform(0, seconds, count)),
        kind=chance.choice(len(mix), count, p=weights / weights.sum()),
        request=chance.integers(REQUESTS, size=count),
    )


def parse_mix(said: str) -> dict[str, float]:
    """`predict=0.8,similar=0.2`: weights by kind. Raises ConfigurationError."""
    mix: dict[str, float] = {}
    for part in said.split(","):
        name, _, weight = part.strip().partition("=")
        if name not in KINDS:
            raise unknown_name("kind of call", name, KINDS)
        try:
            mix[name] = float(weight or 1)
        except ValueError:
            mix[name] = 0.0
        if not 0 < mix[name] < float("inf"):
            raise ConfigurationError(f"mix {part.strip()!r}: write KIND=WEIGHT, a weight being a number above 0")
    return mix
