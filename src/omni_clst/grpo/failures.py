"""Add the samples, and for too little memory the setting to lower, to errors during a run."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from ..errors import InputError

ADVICE = {
    "rollout": "lower completions_per_rollout or max_completion_length",
    "scoring": "lower completions_per_forward",
    "evaluation": "lower per_device_eval_batch_size or max_completion_length",
    "update": "lower completions_per_forward, or set gradient_checkpointing true",
}


@contextmanager
def naming_samples(phase: str, work: list) -> Iterator[None]:
    """Add the samples to an error in this phase; out of memory becomes an `InputError` with the setting to lower.

    `work` are placed samples or groups. The process ends, and the launcher ends the others.
    """
    try:
        yield
    except InputError:
        raise
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error):
            error.add_note(f"in the {phase} of {_describe(work)}")
            raise
        raise InputError(f"out of memory in the {phase} of {_describe(work)}: {ADVICE[phase]}") from error


def _is_out_of_memory(error: Exception) -> bool:
    is_known = isinstance(error, (torch.OutOfMemoryError, MemoryError))
    return is_known or "out of memory" in str(error).lower() or "can't allocate memory" in str(error).lower()


def _describe(work: list) -> str:
    """The samples, longest first, with prompt and completion lengths in tokens."""
    places = [getattr(item, "place", item) for item in work]
    lengths = {place.sample.id: len(place.example.input_ids) for place in places}
    longest = sorted(lengths, key=lambda sample_id: lengths[sample_id], reverse=True)
    named = ", ".join(f"{key!r} ({lengths[key]} tokens)" for key in longest[:4])
    generated = [completion.tokens for item in work for completion in getattr(item, "completions", [])]
    more = f", and {len(longest) - 4} more" if len(longest) > 4 else ""
    return f"{named}{more}" + (f"; completions of up to {max(generated)} tokens" if generated else "")
