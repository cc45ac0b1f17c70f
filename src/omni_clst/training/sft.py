"""Supervised fine-tuning on thoughts (kept or empty) and answers, of a LoRA adapter or of all weights.

The loss is over the assistant's turn and its end token; logits are computed only there (`model/thinker.py`). Audio is
decoded in data workers.
"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments, set_seed
from transformers.integrations.deepspeed import unset_hf_deepspeed_config

from ..data.audio import MEL_FRAMES_PER_SECOND
from ..data.clip_check import explaining_broken_clips, read_measured
from ..data.encoder import Example, OmniEncoder, collate, describe_clips
from ..data.packed_samples import PackedSamples
from ..data.prompts import Prompt
from ..data.response import format_response
from ..data.samples import AudioQASample
from ..errors import InputError
from ..model.checkpoints import (
    Checkpoint,
    load_model_config,
    load_thinker,
    read_prompt,
    save_omni,
    save_whole,
    write_prompt,
)
from ..model.lora import add_lora, make_lora
from ..model.model_files import require_talker
from ..processes import say, start_data_worker
from .base import CompleteCheckpoints, FiniteGradients, TrainingRun, one_device_per_process
from .config import SFTConfig
from .cost import RunCost, Work
from .metrics_log import MetricsLog
from .preempted import PreemptionCheckpoints
from .trainer_settings import require_schedule, trainer_keys
from .workload import zero_stage


class SFTDataset(torch.utils.data.Dataset):
    """Encodes samples on access, so that decoding happens in the data workers."""

    def __init__(self, samples: Sequence[AudioQASample], encoder: OmniEncoder):
        self.samples = samples
        self.encoder = encoder

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Example:
        sample = self.samples[index]
        with explaining_broken_clips():
            return self.encoder.encode(sample, target_text(sample, self.encoder.prompt))


def target_text(sample: AudioQASample, prompt: Prompt) -> str:
    """The assistant's turn to train on; without a thought, the empty one, or the answer alone where that is asked for."""
    is_alone = prompt.asks_for_tags and not prompt.asks_for_thought
    return format_response(None if is_alone else sample.think or "", sample.answer)


def load_sft_samples(
    path: str, audio_root: str | None, encoder: OmniEncoder, max_length: int, **reading_options
) -> tuple[list[AudioQASample], list[int]]:
    """Read a training file without the rows over `max_length` tokens, which are counted; raises `InputError`.

    Returns the samples and their lengths in tokens; `reading_options` are those of `read_measured`.
    """

    def length_of(sample: AudioQASample) -> int:
        return encoder.length(sample, target_text(sample, encoder.prompt))

    samples = read_measured(path, audio_root, length_of, **reading_options)
    kept = [(sample, length) for sample, length in samples if length <= max_length]
    if not kept:
        raise InputError(f"{path}: all {len(samples)} rows are longer than max_length {max_length}; raise it")
    thoughts = sum(bool(sample.think) for sample, _ in kept)
    say(
        f"{path}: {len(kept)} rows, {thoughts} with a thought"
        + (f"; {len(samples) - len(kept)} over {max_length} tokens left out" if len(kept) < len(samples) else "")
        + describe_clips([sample for sample, _ in kept], encoder.max_audio_seconds)
    )
    return [sample for sample, _ in kept], [length for _, length in kept]


class SFTTrainer(FiniteGradients, CompleteCheckpoints, Trainer):
    """transformers' trainer with complete checkpoints; a gradient that is not finite ends the run.

    What it computes is added to `cost`.
    """

    def __init__(self, cost: RunCost, **trainer):
        self.cost = cost
        self._uncounted: list[torch.Tensor] = []  # of the steps since the last log: rows, tokens, mel frames
        super().__init__(**trainer)

    def training_step(self, model, inputs, *arguments, **keywords):
        mask, frames = inputs["attention_mask"], inputs["feature_attention_mask"]
        self._uncounted.append(torch.stack([mask.new_tensor(len(mask)), mask.sum(), frames.sum()]))
        return super().training_step(model, inputs, *arguments, **keywords)

    def log(self, logs: dict[str, float], *arguments, **keywords) -> None:
        if self._uncounted:  # on all processes or on none
            sums = torch.stack(self._uncounted).sum(dim=0).to(self.accelerator.device)
            rows, tokens, frames = self.accelerator.reduce(sums).tolist()
            self.cost.add(Work(samples=rows, read_tokens=tokens, audio_seconds=frames / MEL_FRAMES_PER_SECOND))
            self._uncounted.clear()
        super().log(logs, *arguments, **keywords)

    def _get_dataloader(self, *arguments, **keywords):
        loader = super()._get_dataloader(*arguments, **keywords)
        seed_worker = loader.worker_init_fn
        loader.worker_init_fn = partial(start_worker, seed_worker)
        return loader


def start_worker(seed_worker: Callable[[int], None] | None, number: int) -> None:
    """Start a data worker as transformers does, and leave notices of preemption to its parent."""
    start_data_worker()
    if seed_worker is not None:
        seed_worker(number)


class SFTRun(TrainingRun):
    """One supervised fine-tuning, from a checked config to a merged model."""

    config: SFTConfig

    def load_samples(self) -> None:
        config = self.config
        if config.keep_talker:
            require_talker(self.checkpoint.full_model, self.family.speech)

        def load(path: str) -> tuple[PackedSamples, list[int]]:
            root, longest = config.audio_root, config.max_length
            samples, lengths = load_sft_samples(path, root, self.encoder, longest, **self.reading_options)
            return PackedSamples(samples), lengths

        self.train, self.train_lengths = load(config.train_file)
        self.valid = load(config.valid_file)[0] if config.valid_file else None

    def training_arguments(self) -> TrainingArguments:
        """`TrainingArguments` from the config; creating them initialises torch.distributed and ZeRO-3."""
        config = self.config
        evaluates = self.valid is not None
        settings = self.shared_arguments(trainer_keys()) | {
            "metric_for_best_model": "eval_loss" if evaluates else None,
            "greater_is_better": False if evaluates else None,
            "label_names": ["labels"],
            "prediction_loss_only": True,
            "dataloader_persistent_workers": config.dataloader_num_workers > 0,
        }
        try:
            arguments = TrainingArguments(**(settings | config.trainer))
        except (TypeError, ValueError) as error:
            raise InputError(f"training settings: {error}") from None
        one_device_per_process(arguments)
        require_schedule(arguments)
        return arguments

    def build_model(self):
        """The thinker with LoRA on the language model, or with the language model's weights trainable."""
        config = self.config
        set_seed(config.seed)  # for the initialisation of LoRA's A matrices
        model = self.load_model()
        if config.tuning == "full":
            return model
        lora = make_lora(model, config.lora_rank, config.lora_alpha, config.lora_targets, config.lora_dropout)
        return add_lora(model, self.checkpoint.full_model, lora, float32=zero_stage(config.deepspeed) != 3)

    def build_trainer(
        self, arguments: TrainingArguments, resumed_step: int, callbacks: Sequence[TrainerCallback] = ()
    ) -> SFTTrainer:
        """The trainer over the loaded samples."""
        pad_token_id = self.processor.tokenizer.pad_token_id
        cost = self.open_logs(arguments)
        trainer = SFTTrainer(
            cost,
            base_model=self.checkpoint.full_model,
            prompt=self.encoder.prompt,
            keep_checkpoints=self.config.save_total_limit,
            model=self.build_model(),
            args=arguments,
            data_collator=RightPaddingCollator(pad_token_id),
            train_dataset=SFTDataset(self.train, self.encoder),
            eval_dataset=SFTDataset(self.valid, self.encoder) if self.valid else None,
            processing_class=self.processor,
            callbacks=[MetricsLog(self.config.run_dir, resumed_step), cost, *callbacks, PreemptionCheckpoints()],
        )
        trainer.remove_callback(PrinterCallback)  # MetricsLog prints the same in one line
        return trainer


class RightPaddingCollator:
    """Collates training examples; a class, so that it can be pickled for data workers."""

    def __init__(self, pad_token_id: int):
        self.pad_token_id = pad_token_id

    def __call__(self, examples: list[Example]) -> dict[str, torch.Tensor]:
        return collate(examples, self.pad_token_id, "right")


def merge_checkpoint(checkpoint: Checkpoint, out: Path, dtype: torch.dtype, keep_talker: bool) -> None:
    """Write a checkpoint's model, with an adapter merged into its base, to `out` in the Omni layout."""
    unset_hf_deepspeed_config()  # after a ZeRO-3 run the model would be loaded sharded
    model = load_thinker(checkpoint, dtype)

    def write(folder: Path) -> None:
        base = checkpoint.full_model
        save_omni(folder, model.state_dict(), load_model_config(base), base, keep_talker)
        prompt = read_prompt(checkpoint)
        if prompt is not None:
            write_prompt(folder, prompt)

    save_whole(out, write)
