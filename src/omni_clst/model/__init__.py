"""The thinker (Qwen2.5-Omni's text model with its audio tower): checkpoints, attention, shared prefix, decoding."""
