"""Omni-CLST: teach an audio language model to think only when a question needs it."""
