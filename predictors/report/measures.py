"""What the report calls each measure, which way is better, and which ones its findings are told by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Measure:
    """`says` explains it to a reader who has not met it; `greater` where more is better."""

    label: str
    says: str
    greater: bool = True


MEASURES: Mapping[str, Measure] = {
    "r2": Measure("R²", "share of the score's variance that is explained; 0 for the mean"),
    "spearman": Measure("Spearman", "rank correlation of predicted and true scores"),
    "accuracy": Measure("accuracy", "share of contents put into their true one of five classes; chance is 0.2"),
    "macro_f1": Measure("macro-F1", "mean F1 over the five classes, each counting alike"),
    "weighted_kappa": Measure("quadratic κ", "agreement of the ordered classes beyond chance; far misses cost more"),
    "mae": Measure("MAE", "mean absolute error, in units of the score", greater=False),
    "rmse": Measure("RMSE", "root mean squared error, in units of the score", greater=False),
    "auc": Measure("AUC", "chance that an engaged encounter is scored above another; 0.5 is chance"),
    "gauc": Measure("GAUC", "the same within each user, averaged over users"),
    "log_loss": Measure("log-loss", "mean negative log-likelihood, in nats", greater=False),
    "calibration_error": Measure("ECE", "mean gap of predicted and observed share of engagement", greater=False),
    "hr10": Measure("HR@10", "share of users with a wanted content among their first ten"),
    "ndcg10": Measure("NDCG@10", "how high the wanted contents stand among the first ten; 1 is perfect"),
}

# task -> the measures its findings and figures are told by, the one that decides first
HEADLINES: Mapping[str, tuple[str, ...]] = {
    "engagement": ("r2", "spearman", "weighted_kappa"),
    "interest": ("auc", "gauc", "ndcg10"),
}


def measure(name: str) -> Measure:
    """What is known of that measure; one that the table lacks is called by its name."""
    return MEASURES.get(name, Measure(name.replace("_", " "), ""))
