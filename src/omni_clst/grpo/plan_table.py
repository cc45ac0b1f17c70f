"""Print plans of recipes: a table of memory and hours, what to change where a run does not fit, and what was assumed."""

import os
import textwrap
from collections.abc import Iterator

from ..data.table import make_table
from ..model.released import RELEASED
from ..settings import REPOSITORY
from ..training.advice import Advice, advise
from ..training.cards import Card, choose_card
from ..training.config import PlanConfig
from ..training.hours import answering_hours, assumptions, hours_of, tokens_of
from ..training.memory import CARD_SHARE, GIB, Memory, memory_of
from ..training.workload import CLIP_SECONDS, TARGET_TOKENS, TEXT_TOKENS, is_grpo
from .recipes import CURRICULUM_SAMPLES, SOURCE_SAMPLES, Recipe, answering_of, recipes_of

HEADER = ("recipe", "model", "engine", "M tokens", "completions", "GiB a GPU", "fits", "hours")


def plan_lines(request: PlanConfig, settings: dict[str, str]) -> Iterator[str]:
    """Everything that plan.py prints, line by line; raises `InputError` before the first one."""
    card = choose_card(request.memory, request.gpu_name)
    recipes = recipes_of(request, settings)
    rows = [_row(recipe, card) for recipe in recipes]
    yield f"{request.gpus} x {request.memory:g} GiB, in bfloat16; hours as on {card.name}" + (
        "" if request.gpu_name else " (chosen by its memory; --gpu_name names another)"
    )
    yield ""
    yield make_table(HEADER, rows)
    for recipe in recipes:
        yield from _advice_lines(recipe, card)
    yield ""
    yield "answers of the models that the training data are made from"
    for stage in ("sft", "clst"):
        for model in [request.model] if request.model else RELEASED:
            config, work = answering_of(request, stage, model)
            hours = answering_hours(config, work, card)
            yield f"  build_{stage}.sh, {model}: {hours:.1f} hours for {work.samples} samples"
    yield ""
    yield "assumed (an estimate: no rate was measured on a GPU)"
    for line in [*_assumed_samples(request), *assumptions(card)]:
        yield textwrap.fill(line, 110, initial_indent="  ", subsequent_indent="    ")


def _row(recipe: Recipe, card: Card) -> list[str]:
    config, work = recipe.plan({}, recipe.request.gpus)
    memory = memory_of(config, work)
    tokens, completions = tokens_of(config, work)
    fits = "yes" if memory.fits(recipe.request.memory) else "no"
    engine, generated = (work.engine, f"{completions:.0f}") if is_grpo(config) else ("-", "-")
    hours = sum(hours_of(config, work, card).values())
    return [recipe.file.stem, recipe.model, engine, f"{tokens / 1e6:.1f}", generated, _gib(memory), fits, f"{hours:.1f}"]


def _advice_lines(recipe: Recipe, card: Card) -> Iterator[str]:
    """What a recipe that does not fit takes, and what each change would make of it."""
    request = recipe.request
    memory = memory_of(*recipe.plan({}, request.gpus))
    if memory.fits(request.memory):
        return
    parts = ", ".join(f"{name} {value / GIB:.1f}" for name, value in (memory.permanent | memory.peaks).items())
    yield ""
    yield f"{recipe.file.stem}, {recipe.model}: {_gib(memory)} GiB ({parts}), {CARD_SHARE * request.memory:g} GiB fit"
    advice = advise(recipe.plan, request.gpus, request.memory)
    for one in advice:
        hours = sum(hours_of(*recipe.plan(one.changes, one.gpus), card).values())
        fits = ", fits" if one.memory.fits(request.memory) else ""
        yield f"  {_in_words(one, request.gpus)}: {_gib(one.memory)} GiB{fits}, {hours:.1f} hours"
    if not any(one.memory.fits(request.memory) for one in advice):
        smaller = "the 3B, or " if recipe.model != "3B" else ""
        yield f"  none of these is enough: {smaller}cards with more memory"


def _in_words(advice: Advice, gpus: int) -> str:
    """The changes as a command line has them."""
    words = [f"--{key} {_argument(value)}" for key, value in advice.changes.items()]
    return " ".join(words + ([f"on {advice.gpus} GPUs"] if advice.gpus != gpus else []))


def _argument(value: object) -> str:
    if value is None or isinstance(value, bool):
        return str(value).lower()
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return os.path.relpath(text, REPOSITORY) if text.startswith(str(REPOSITORY)) else text


def _gib(memory: Memory) -> str:
    return f"{memory.total / GIB:.1f}"


def _assumed_samples(request: PlanConfig) -> list[str]:
    counts = f"{SOURCE_SAMPLES} for SFT and answers, {CURRICULUM_SAMPLES} for GRPO (--samples gives another number)"
    return [
        f"samples: {request.samples or counts}",
        f"clips of {CLIP_SECONDS} s, in tokens of the base, and {TEXT_TOKENS} tokens of text; in SFT {TARGET_TOKENS} more "
        "of thought and answer",
        "memory is that of the longest sample which the recipe allows (max_audio_seconds, max_length, max_prompt_length) "
        "and of completions of max_completion_length",
    ]
