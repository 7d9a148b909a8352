"""A made data set with known causes: pictures, titles, sounds, clips and a log of what users did."""

from feature_repo.datasets.synthetic.dataset import Synthetic
from feature_repo.datasets.synthetic.world import Coefficients, Response, Truth

__all__ = ["Coefficients", "Response", "Synthetic", "Truth"]
