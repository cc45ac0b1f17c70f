"""Choose the prompt for a checkpoint, and make the encoder with it."""

from dataclasses import replace

from ..data.encoder import OmniEncoder
from ..data.prompts import Prompt, make_prompt
from ..data.response import EMPTY_THOUGHT_OPENING
from ..errors import InputError
from ..model.checkpoints import Checkpoint, load_model_config, load_processor, read_prompt
from .config import AnsweringConfig


def choose_prompt(config: AnsweringConfig, checkpoint: Checkpoint) -> Prompt:
    """The prompt of the settings; with `auto` the one that the checkpoint was trained with, else the direct one."""
    trained = read_prompt(checkpoint)
    system = config.system_prompt
    if system is None:
        system = trained.system if trained else "You are a helpful assistant."
    if config.prompt != "auto":
        return make_prompt(config.prompt, system)
    return replace(trained, system=system) if trained else make_prompt("direct", system)


def make_encoder(config: AnsweringConfig, checkpoint: Checkpoint, keep_waveform: bool = False) -> OmniEncoder:
    """An encoder with the checkpoint's processor and prompt; with `thought` empty it begins with an empty thought.

    Raises `InputError` for a model of another type, and for an empty thought with a prompt that asks for none.
    """
    load_model_config(checkpoint.full_model)
    prompt = choose_prompt(config, checkpoint)
    if config.thought == "empty" and not prompt.asks_for_tags:
        raise InputError(
            f"thought empty: the prompt {prompt.name!r} asks for the bare answer, so there is no thought to leave empty; "
            "--prompt selective asks for one"
        )
    opening = EMPTY_THOUGHT_OPENING if config.thought == "empty" else ""
    return OmniEncoder(load_processor(checkpoint), prompt, config.max_audio_seconds, opening, keep_waveform)
