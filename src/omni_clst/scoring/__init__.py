"""Score predictions, and run the benchmarks on a checkpoint."""
