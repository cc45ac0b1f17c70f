"""The paper: thought dropout, levels, curriculum, rewards; pure functions, no torch."""
