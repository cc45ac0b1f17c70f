"""Benchmarks, one file each: a module that sets `BENCHMARKS` is found by itself (`registry.py`)."""
