"""Samples, clips and text on their way to model inputs and back."""
