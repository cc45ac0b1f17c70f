"""Rows of a predictions file: one per benchmark question."""

from ..data.prompts import Prompt
from ..data.response import answer_of, parse_response
from ..data.samples import AudioQASample
from ..model.engine import Completion


def prediction_row(sample: AudioQASample, completion: Completion, prompt: Prompt) -> dict:
    """The row of the predictions file; a completion without an answer has an empty `model_output`."""
    response = parse_response(completion.text)
    output = answer_of(completion.text, prompt.asks_for_tags) or ""
    return {
        "id": sample.id,
        "model_output": output,
        "model_output_raw": completion.text,
        "parse_failed": response.answer is None and prompt.asks_for_tags,
        "think": response.think,
        "tokens": completion.tokens,
        "finished": completion.finished,
    }
