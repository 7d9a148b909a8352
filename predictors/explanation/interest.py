"""Explanations of the predictors of interest, in log-odds of the chance to engage."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from itertools import combinations
from math import factorial

import numpy as np
import numpy.typing as npt
import torch

from feature_repo.columns import Columns
from feature_repo.schema import RECENT
from predictors.explanation.explain import LOG_ODDS, Explanation, Feature, explain
from predictors.explanation.integral import METHOD, Tensors, integrate, slopes_of
from predictors.explanation.names import CROWD, HISTORY, USER, modality_of, part, statistic, word
from predictors.interest.blend import InterestBlend
from predictors.interest.blocks import ENGAGED, REACTION
from predictors.interest.codes import Codebook
from predictors.interest.content_inputs import NUMBERS, ContentInputs, Matrix
from predictors.interest.factors import InterestFactors
from predictors.interest.inputs import STATISTICS, same_pasts
from predictors.interest.net import InterestNet, Represented, State
from predictors.interest.platt import log_odds
from predictors.interest.predictor import Interest
from predictors.labels import Floats

Rows = npt.NDArray[np.intp]
Value = Callable[[frozenset[int]], Floats]

_OWN = Feature("what is known of this very content", CROWD)
_USER = Feature("what is known of this very user", USER)
_TASTE = Feature("taste that the history shows", HISTORY)


def explain_interest(predictor: Interest, columns: Columns) -> Explanation:
    """Integrated gradients from a content and a user that training has not met, with the mean of all numbers and a
    history that says nothing. Each of the last events has a contribution, the newest is 1 event ago.
    """
    net = deepcopy(predictor.net).double()
    ends, fixed = _parts(predictor, net, columns)
    bases = {name: torch.zeros_like(end) for name, end in ends.items()}
    flags = _flags(predictor.inputs.contents)
    bases["features"][:, flags] = ends["features"][:, flags]  # what a content lacks, it lacks all along
    known = [column for column, name in enumerate(predictor.outputs) if name in (ENGAGED, REACTION)]
    weights = torch.tensor(list(predictor.calibration.weights), dtype=torch.float64)

    def forward(tensors: Tensors, held: Tensors) -> torch.Tensor:
        logits = _logits(net, tensors, held)
        return logits[:, known] @ weights + predictor.calibration.offset

    found = integrate(forward, ends, bases, fixed)
    added = found.added
    events = added["events"].sum(axis=2) + added["values"]
    features = (
        *_content_features(predictor.inputs.contents), *map(statistic, STATISTICS),
        *(Feature(f"{RECENT - place} events ago", HISTORY) for place in range(RECENT)), _TASTE, _OWN, _USER,
    )  # fmt: skip
    sums = [added[name].sum(axis=1) for name in ("taste", "content_id", "content_levels", "user_id", "user_levels")]
    blocks = (added["features"], added["context"], events, sums[0], sums[1] + sums[2], sums[3] + sums[4])
    slopes = slopes_of(lambda tensors: forward(tensors, fixed), ends)["features"].numpy()
    total = log_odds(predictor.score(columns).score)
    directions = _directions(predictor.inputs.contents, slopes)
    return Explanation(METHOD, LOG_ODDS, features, np.column_stack(blocks), found.base, total, directions=directions)


def explain_factors(predictor: InterestFactors, columns: Columns) -> Explanation:
    """Shapley values (Shapley 1953) over what the model knows of the user, and over what it knows of the content: its
    own factors where training has met it, else each modality of its features. Exact: every coalition is asked.
    """
    users = np.array([predictor.user_rows.get(user, len(predictor.user_rows)) for user in columns.objects("user_id")])
    stranger, late = len(predictor.user_rows), len(predictor.content_rows)
    contents = np.array([predictor.content_rows.get(one, late) for one in columns.objects("content_id")])
    numbers = predictor.inputs(columns)
    owners = np.array([feature.modality for feature in _content_features(predictor.inputs)])
    modalities = list(dict.fromkeys(owners.tolist()))
    players = [_USER, _OWN, *(Feature(f"{name} of a content that came later", name) for name in modalities)]
    met = contents < late

    def value(coalition: frozenset[int]) -> Floats:
        told = np.isin(owners, [modalities[player - 2] for player in coalition if player > 1])
        told[_flags(predictor.inputs)] = True  # what a content lacks, it lacks in every coalition
        chances = predictor.posterior.chances(
            np.where(0 in coalition, users, stranger),
            np.where(1 in coalition, contents, late),
            # A content that training has met is known by its factors, and no feature of it is read
            np.where(told & ~met[:, None], numbers, np.float32(0)),
            predictor.cut,
        )
        return log_odds(predictor.calibration(log_odds(chances)[:, None]))

    contributions = _shapley(value, len(players), columns.rows)
    base = value(frozenset())
    total = log_odds(predictor.score(columns).score)
    return Explanation("Shapley values", LOG_ODDS, tuple(players), contributions, base, total)


def explain_blend(predictor: InterestBlend, columns: Columns) -> Explanation:
    """The members' explanations, weighed as the blend weighs their log-odds; what several say of one feature is one."""
    said = [explain(member, columns) for member in predictor.members]
    weights = predictor.calibration.weights
    features = tuple(dict.fromkeys(feature for each in said for feature in each.features))
    place = {feature: column for column, feature in enumerate(features)}
    contributions = np.zeros((columns.rows, len(features)))
    directions: dict[str, npt.NDArray[np.float32]] = {}
    for weight, each in zip(weights, said, strict=True):
        np.add.at(contributions.T, [place[feature] for feature in each.features], weight * each.contributions.T)
        for name, direction in each.directions.items():
            directions[name] = directions.get(name, np.float32(0)) + np.float32(weight) * direction
    base = predictor.calibration.offset + sum(weight * each.base for weight, each in zip(weights, said, strict=True))
    method = f"weighted sum of {', '.join(dict.fromkeys(each.method for each in said))}"
    total = log_odds(predictor.score(columns).score)
    return Explanation(method, LOG_ODDS, features, contributions, np.asarray(base), total, directions=directions)


def _parts(
    predictor: Interest, net: InterestNet, columns: Columns
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """What the score is made of, a row each, in float64: inputs along the path, and what stays as it is."""
    contents, users = predictor.inputs.contents, predictor.inputs.users
    firsts, owners = same_pasts(columns)
    with torch.no_grad():
        state = _state_of(predictor.recall(columns, firsts), owners)
        user = torch.from_numpy(users.rows([one or "" for one in columns.objects("user_id")]))
        own = torch.from_numpy(contents.ids.rows(columns.objects("content_id")))
        user_id, taste = net.users(user), state.taste.double()
        ends = {
            "features": torch.from_numpy(contents(columns)).double(),
            "content_id": net.contents(own),
            "content_levels": net.content_levels(own)[:, :-1],
            "context": torch.from_numpy(predictor.inputs.context(columns)).double(),
            "events": state.events.double(),
            "values": state.values.double() * state.known,
            "taste": taste - user_id,
            "user_id": user_id,
            "user_levels": net.user_levels(user),
        }
    return ends, {"known": state.known}


def _state_of(state: State, users: Rows) -> State:
    """The state of those users, one a row."""
    rows = torch.from_numpy(users)
    return replace(state, **{name: getattr(state, name)[rows] for name in State.__slots__})


def _logits(net: InterestNet, tensors: Tensors, fixed: Tensors) -> torch.Tensor:
    """What `InterestNet.forward` gives of one content a row, (n, outputs), from the parts."""
    described = net.adapter(tensors["features"])
    vectors = described + tensors["content_id"]
    levels = net.described_levels(described)[:, :-1] + tensors["content_levels"]
    contents = Represented(vectors[:, None], levels[:, None], vectors[:, None], levels[:, :1])
    taste = tensors["taste"] + tensors["user_id"]
    state = State(tensors["events"], taste, tensors["user_levels"], taste, tensors["values"], fixed["known"])
    logits: torch.Tensor = net(state, contents, tensors["context"][:, None])
    return logits[:, 0]


def _content_features(contents: ContentInputs) -> list[Feature]:
    """The columns of `ContentInputs`."""
    named = [statistic(name) for name in NUMBERS]
    named += [word(column, value) for column, vocabulary in contents.vocabularies.items() for value in vocabulary]
    for name, projection in contents.projections.items():
        kind = "word" if isinstance(projection, Codebook) else "direction"
        named += [part(name, f"{kind} {number}") for number in range(1, projection.width + 1)]
        named.append(part(name, "absent"))
    return named


def _blocks(contents: ContentInputs) -> dict[str, slice]:
    """Where each embedding stands among the columns, the flag of its absence last."""
    at, blocks = contents.width - sum(1 + one.width for one in contents.projections.values()), {}
    for name, projection in contents.projections.items():
        blocks[name] = slice(at, at + projection.width + 1)
        at += projection.width + 1
    return blocks


def _flags(contents: ContentInputs) -> list[int]:
    return [block.stop - 1 for block in _blocks(contents).values()]


def _directions(contents: ContentInputs, slopes: Floats) -> dict[str, Matrix]:
    """Gradients (n, dim) with respect to pictures' vectors; codes have none."""
    directions = {}
    for name, block in _blocks(contents).items():
        projection = contents.projections[name]
        if modality_of(name) == "image" and not isinstance(projection, Codebook):
            directions[name] = (slopes[:, block][:, :-1] @ projection.axes.T).astype(np.float32)
    return directions


def _shapley(value: Value, players: int, rows: int) -> Floats:
    """Each player's mean marginal value (rows, players) over all orders in which they may come."""
    everyone = range(players)
    values = {c: value(c) for size in range(players + 1) for c in map(frozenset, combinations(everyone, size))}
    shares = np.zeros((rows, players))
    for coalition, worth in values.items():
        for player in coalition:
            weight = factorial(len(coalition) - 1) * factorial(players - len(coalition)) / factorial(players)
            shares[:, player] += weight * (worth - values[coalition - {player}])
    return shares
