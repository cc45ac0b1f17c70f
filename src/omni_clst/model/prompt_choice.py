"""Choose the prompt for a checkpoint: the one that it was trained with, unless the settings name another."""

from dataclasses import replace

from ..data.prompts import Prompt, make_prompt
from ..processes import say
from .checkpoints import Checkpoint, read_prompt
from .config import ModelConfig

DEFAULT_SYSTEM = "You are a helpful assistant."


def prompt_for_training(config: ModelConfig, checkpoint: Checkpoint) -> Prompt:
    """The prompt to train with; with `auto` the checkpoint's where that asks for a thought, else the selective one.

    A text or file of the settings is followed by thought and answer in their tags, whether it mentions them or not.
    """
    trained = read_prompt(checkpoint)
    if trained and not trained.asks_for_tags and config.prompt == "auto":
        return make_prompt("selective", _system(config, trained))
    return _choose(config, trained, "selective", asks_for_tags=True)


def prompt_for_answering(config: ModelConfig, checkpoint: Checkpoint) -> Prompt:
    """The prompt to answer with; with `auto` the checkpoint's, else the direct one.

    A model that was trained to answer in tags does so after any text of the settings; a released one where it is asked to.
    """
    trained = read_prompt(checkpoint)
    answers_in_tags = True if trained and trained.asks_for_tags else None
    return _choose(config, trained, "direct", answers_in_tags)


def _choose(config: ModelConfig, trained: Prompt | None, untrained: str, asks_for_tags: bool | None) -> Prompt:
    system = _system(config, trained)
    if config.prompt != "auto":
        return make_prompt(config.prompt, system, asks_for_tags)
    return replace(trained, system=system) if trained else make_prompt(untrained, system)


def _system(config: ModelConfig, trained: Prompt | None) -> str:
    if config.system_prompt is not None:
        return config.system_prompt
    return trained.system if trained else DEFAULT_SYSTEM


def say_prompt(prompt: Prompt, checkpoint: Checkpoint) -> None:
    """Log the prompt, and whether it is another than the one that the checkpoint was trained with."""
    trained = read_prompt(checkpoint)
    if trained is None:
        say(f"prompt: {prompt.name}")
    elif trained.sha256 == prompt.sha256:
        say(f"prompt: {prompt.name}, as {checkpoint.source} was trained")
    else:
        part = "system prompt" if trained.template == prompt.template else "prompt"
        say(
            f"note: the {part} ({prompt.name}) is not the one that {checkpoint.source} was trained with ({trained.name}); "
            "--prompt auto, without --system_prompt, takes that"
        )
