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
    """Of the chance to engage, in log-odds."""
    assembler = predictor.assembler
    matrix = assembler(columns)
    values = predictor.contributions(matrix)
    total = log_odds(predictor.score_matrix(matrix).score)
    return Explanation(METHOD, LOG_ODDS, tree_features(assembler.names), values[:, :-1], values[:, -1], total)
