"""Seeing what the service does: metrics, traces, a log of calls, samples of what predictors read and said."""
