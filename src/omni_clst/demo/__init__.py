"""The embedded default: a synthesised audio world and a tiny Qwen2.5-Omni that is trained in it."""
