"""Answer samples with a model: the difficulty passes and the benchmarks."""
