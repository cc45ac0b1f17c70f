"""Group relative policy optimisation (Shao et al. 2024, arXiv 2402.03300) for an audio language model."""
