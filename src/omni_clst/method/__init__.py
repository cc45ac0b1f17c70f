"""The published method: thought dropout, levels, curriculum, order, rewards; pure functions, no torch."""
