"""Predictions to scores, and the benchmarks of a checkpoint."""
