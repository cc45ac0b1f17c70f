"""Make the encoder of prompts to answer."""

from ..data.encoder import OmniEncoder
from ..data.response import EMPTY_THOUGHT_OPENING, FULL_THOUGHT_OPENING
from ..errors import InputError
from ..model.checkpoints import Checkpoint, load_family, load_processor, load_thinker_config
from ..model.prompt_choice import prompt_for_answering, say_prompt
from .config import AnsweringConfig

OPENINGS = {"free": "", "empty": EMPTY_THOUGHT_OPENING, "full": FULL_THOUGHT_OPENING}


def make_encoder(config: AnsweringConfig, checkpoint: Checkpoint, keep_waveform: bool = False) -> OmniEncoder:
    """An encoder with the checkpoint's processor and prompt; answers begin as `thought` says.

    Raises `InputError` for a model of another type, and for a forced thought with a prompt that asks for none.
    """
    positions = load_thinker_config(checkpoint.full_model).text_config.max_position_embeddings
    prompt = prompt_for_answering(config, checkpoint)
    if config.thought != "free" and not prompt.asks_for_thought:
        raise InputError(
            f"thought {config.thought}: the prompt {prompt.name!r} asks for the answer alone, so there is no thought to "
            "force; --prompt selective asks for one"
        )
    say_prompt(prompt, checkpoint)
    processor, opening = load_processor(checkpoint), OPENINGS[config.thought]
    max_tokens = positions - config.max_new_tokens
    clips = load_family(checkpoint).clips
    return OmniEncoder(processor, prompt, config.max_audio_seconds, opening, keep_waveform, max_tokens, clips)
