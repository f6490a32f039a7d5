"""Scores, corruption curves and costs of a trained model."""
