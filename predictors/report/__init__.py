"""What a comparison, or the published predictors, come to: one HTML file that reads like a paper."""
