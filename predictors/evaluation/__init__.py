"""Predictors side by side on the same held-out rows."""
