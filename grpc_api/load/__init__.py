"""An open-loop load generator: calls come when they come, whatever became of those before."""
