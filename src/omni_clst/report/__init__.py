"""Tables and pictures of scores, curricula and training runs."""
