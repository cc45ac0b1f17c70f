"""Samples, clips and prompts; their conversion to model inputs, and the parsing of what a model answers."""
