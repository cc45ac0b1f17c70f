"""A model answers samples."""
