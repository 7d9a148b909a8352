"""SHAP values of the predictors of trees (Lundberg et al. 2020): exact, they sum to what the trees said.

Trees learn from a column that is empty as well: what a content lacks has a contribution too, of its absence.
"""

from __future__ import annotations

import numpy as np

from feature_repo.columns import Columns
from predictors.boosting import contributions
from predictors.explanation.explain import LOG_ODDS, SCORE, Explanation
from predictors.explanation.names import modality_of, tree_features
from predictors.interest.catboost import InterestCatBoost
from predictors.interest.platt import log_odds
from predictors.popularity.predictor import Popularity

METHOD = "SHAP values of trees"


def explain_popularity(predictor: Popularity, columns: Columns) -> Explanation:
    """Of the regressor, on the scale of the score. Pictures' directions are those of the embeddings' ridge scores: the
    trees themselves have no slope.
    """
    assembler = predictor.assembler
    matrix = assembler(columns)
    values = contributions(predictor.models["regressor"], matrix)
    directions = {
        name: np.repeat(reduction.weights[:1], columns.rows, axis=0)
        for name, reduction in assembler.stack.reductions.items()
        if modality_of(name) == "image"
    }
    total = predictor.score(columns).score
    features = tree_features(assembler.names)
    return Explanation(METHOD, SCORE, features, values[:, :-1], values[:, -1], total, directions=directions)


def explain_interest_catboost(predictor: InterestCatBoost, columns: Columns) -> Explanation:
    """Of the chance to engage, in log-odds.

    The trees start from a line over the expected reaction, which is a sum: the crowd's level, what this content is
    above it, the user's leniency and their liking by each block of the space. So the line is split as that sum is.
    """
    assembler, slope = predictor.assembler, predictor.calibration.slope
    matrix, names = assembler(columns), assembler.names
    values = slope * contributions(predictor.engages, matrix)
    level = assembler.crowd.level
    parts = np.zeros_like(values[:, :-1])
    personal = [column for column, name in enumerate(names) if name == "leniency" or name.startswith("liking:")]
    parts[:, personal] = matrix[:, personal]
    expected = matrix[:, names.index("expected")].astype(np.float64)
    parts[:, names.index("crowd_bias")] = expected - level - parts.sum(axis=1)
    line = predictor.start
    base = values[:, -1] + predictor.calibration(line(np.full(columns.rows, level)))
    total = log_odds(predictor.score(columns).score)
    return Explanation(METHOD, LOG_ODDS, tree_features(names), values[:, :-1] + slope * line.slope * parts, base, total)
