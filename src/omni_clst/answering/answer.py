"""Answering a set of samples: sharded over processes, resumed per sample, one file at the end.

Every process appends what it has answered to a part of its own; rank 0 puts the parts together once all are done. A
batch is answered whole or not at all, so a killed run that is started again writes the same file as an undisturbed one.
"""

import dataclasses
import hashlib
import time
from collections.abc import Callable
from pathlib import Path

import torch

from ..data.encoder import OmniEncoder
from ..data.prompts import Prompt, make_prompt
from ..data.response import EMPTY_THOUGHT_OPENING, answer_of, parse_response
from ..data.samples import AudioQASample
from ..errors import InputError
from ..model.checkpoints import Checkpoint, choose_dtype, load_config, load_processor, load_thinker, read_prompt
from ..model.engine import Completion, HFEngine
from ..model.sampling import Sampling, derive_seed
from ..processes import process_count, process_rank, say, wait_for_all
from .audio_source import AudioSource
from .batches import encoded_batches, plan_batches
from .config import AnswerConfig, InferConfig
from .folder import AnswerFolder

PROGRESS_SECONDS = 5.0


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


def weights_fingerprint(checkpoint: Checkpoint) -> str:
    """Tells two checkpoints apart without reading all of their weights: names, sizes, first and last megabyte."""
    if not checkpoint.is_local:
        return checkpoint.source
    digest = hashlib.sha256()
    folder = Path(checkpoint.source)
    for path in sorted([*folder.glob("*.safetensors"), *folder.glob("adapter_model.bin")]):
        size = path.stat().st_size
        with open(path, "rb") as file:
            head = file.read(2**20)
            file.seek(max(0, size - 2**20))
            digest.update(f"{path.name} {size} ".encode() + head + file.read())
    return digest.hexdigest()


def choose_prompt(config: InferConfig | AnswerConfig, checkpoint: Checkpoint) -> Prompt:
    """The prompt of the settings; left open, the one that the checkpoint was trained with, or the direct one."""
    trained = read_prompt(checkpoint)
    system = config.system_prompt
    if system is None:
        system = trained.system if trained else "You are a helpful assistant."
    if config.prompt != "auto":
        return make_prompt(config.prompt, system)
    return dataclasses.replace(trained, system=system) if trained else make_prompt("direct", system)


def make_encoder(config: InferConfig | AnswerConfig, checkpoint: Checkpoint, thought: str = "free") -> OmniEncoder:
    """Processor and prompt of the checkpoint; with `thought` empty the assistant's turn begins with an empty thought.

    A model of another kind, or an empty thought that the prompt has no place for, is refused here, before anything is
    written.
    """
    load_config(checkpoint.full_model)
    prompt = choose_prompt(config, checkpoint)
    if thought == "empty" and not prompt.asks_for_tags:
        raise InputError(
            f"thought empty: the prompt {prompt.name!r} asks for the bare answer, so there is no thought to leave empty; "
            "--prompt selective asks for one"
        )
    opening = EMPTY_THOUGHT_OPENING if thought == "empty" else ""
    return OmniEncoder(load_processor(checkpoint), prompt, config.max_audio_seconds, opening)


def with_opening(completion: Completion, encoder: OmniEncoder) -> Completion:
    """The whole of the assistant's turn: the opening that it was given, if any, then what the model wrote."""
    return dataclasses.replace(
        completion,
        text=encoder.opening + completion.text,
        tokens=len(encoder.opening_ids) + completion.tokens,
    )


def load_engine(
    config: InferConfig | AnswerConfig,
    checkpoint: Checkpoint,
    encoder: OmniEncoder,
    sampling: Sampling,
    device: torch.device,
) -> HFEngine:
    """The checkpoint's model, ready to answer as `sampling` says."""
    model = load_thinker(checkpoint, choose_dtype(config.dtype, device), device, config.attn_implementation)
    say(f"{config.model}: prompt {encoder.prompt.name}, {model.dtype}, {device}")
    return HFEngine(model, encoder, sampling)


def answer_all(
    engine: HFEngine,
    samples: list[AudioQASample],
    lengths: dict[str, int],
    folder: AnswerFolder,
    batch_tokens: int,
    num_workers: int,
    source: AudioSource,
    make_row: Callable[[AudioQASample, list[Completion]], dict],
    allow_unreadable: bool,
    num_completions: int = 1,
) -> None:
    """Answer every sample that is not answered yet; this process takes its share of the batches (`plan_batches`).

    A clip that turns out broken behind a whole header ends the run, naming it, unless that is allowed: then the folder
    notes what is wrong, and the others are answered.
    """
    readable = [sample for sample in samples if sample.id in lengths]
    written = num_completions * engine.sampling.max_new_tokens
    batches = plan_batches(readable, [lengths[sample.id] for sample in readable], batch_tokens, written)
    open_batches = [batch for batch in batches if folder.lacks(sample.id for sample in batch.samples)]
    mine = open_batches[process_rank() :: process_count()]
    total = sum(len(batch.samples) for batch in mine)
    if total < len(readable):
        say(f"  {total} of {len(readable)} samples to answer here, {len(folder.done)} are there already")
    progress = Progress(total)
    for batch, examples, broken in encoded_batches(mine, engine.encoder, source, num_workers):
        if broken and not allow_unreadable:
            raise InputError(f"{next(iter(broken.values()))}; --allow_missing_audio answers the rest and goes on from here")
        seeds = [derive_seed(engine.sampling.seed, sample.id) for sample in batch.samples]
        written = engine.generate(examples, seeds, num_completions)
        whole = [[with_opening(completion, engine.encoder) for completion in copies] for copies in written]
        rows = [make_row(sample, completions) for sample, completions in zip(batch.samples, whole, strict=True)]
        rows += [{"id": key, "error": reason} for key, reason in broken.items()]
        folder.append([row for row in rows if row["id"] not in folder.done])
        progress.advance(len(rows))
    wait_for_all()


def answer_settings(
    checkpoint: Checkpoint,
    encoder: OmniEncoder,
    sampling: Sampling,
    config: InferConfig | AnswerConfig,
    device: torch.device,
) -> dict:
    """What decides a model's answers besides the samples: a folder of answers is refused where it differs."""
    return {
        "model": config.model,
        "weights": weights_fingerprint(checkpoint),
        "prompt": dataclasses.asdict(encoder.prompt),
        "max_audio_seconds": config.max_audio_seconds,
        "batch_tokens": config.batch_tokens,
        "dtype": str(choose_dtype(config.dtype, device)),
        **dataclasses.asdict(sampling),
    }


class Progress:
    """Prints samples a second and the time left every few seconds, on rank 0."""

    def __init__(self, total: int):
        self.total = total
        self.done = 0
        self.start = self.last = time.monotonic()

    def advance(self, count: int) -> None:
        self.done += count
        now = time.monotonic()
        if now - self.last >= PROGRESS_SECONDS or (self.done == self.total and now - self.start > PROGRESS_SECONDS):
            rate = self.done / (now - self.start)
            left = (self.total - self.done) / rate
            say(f"  {self.done}/{self.total} samples, {rate:.1f} a second, {left:.0f} s left")
            self.last = now
