"""Which prompt a checkpoint is asked with."""

from dataclasses import replace

from ..data.encoder import OmniEncoder
from ..data.prompts import Prompt, make_prompt
from ..data.response import EMPTY_THOUGHT_OPENING
from ..errors import InputError
from ..model.checkpoints import Checkpoint, load_model_config, load_processor, read_prompt
from .config import AnsweringConfig


def choose_prompt(config: AnsweringConfig, checkpoint: Checkpoint) -> Prompt:
    """The prompt of the settings; left open, the one that the checkpoint was trained with, or the direct one."""
    trained = read_prompt(checkpoint)
    system = config.system_prompt
    if system is None:
        system = trained.system if trained else "You are a helpful assistant."
    if config.prompt != "auto":
        return make_prompt(config.prompt, system)
    return replace(trained, system=system) if trained else make_prompt("direct", system)


def make_encoder(config: AnsweringConfig, checkpoint: Checkpoint) -> OmniEncoder:
    """Processor and prompt of the checkpoint; with `thought` empty the assistant's turn begins with an empty thought.

    A model of another kind, or an empty thought that the prompt has no place for, is refused here, before anything is
    written.
    """
    load_model_config(checkpoint.full_model)
    prompt = choose_prompt(config, checkpoint)
    if config.thought == "empty" and not prompt.asks_for_tags:
        raise InputError(
            f"thought empty: the prompt {prompt.name!r} asks for the bare answer, so there is no thought to leave empty; "
            "--prompt selective asks for one"
        )
    opening = EMPTY_THOUGHT_OPENING if config.thought == "empty" else ""
    return OmniEncoder(load_processor(checkpoint), prompt, config.max_audio_seconds, opening)
