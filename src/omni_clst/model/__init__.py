"""The thinker: loading, attention, shared prefixes, sampling, decoding."""
