"""Supervised fine-tuning, and the parts that it shares with GRPO."""
