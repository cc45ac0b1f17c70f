"""Supervised fine-tuning: samples with a thought (or an empty one) and an answer -> a LoRA adapter or full weights.

Loss on the assistant's turn and its end token, logits nowhere else (`model/thinker.py`), audio decoded in data workers.
"""

from pathlib import Path

import torch
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments, set_seed
from transformers.integrations.deepspeed import unset_hf_deepspeed_config

from ..data.clip_check import explaining_broken_clips, read_measured
from ..data.encoder import Example, OmniEncoder, collate, describe_clips
from ..data.response import format_response
from ..data.samples import AudioQASample
from ..errors import InputError
from ..model.checkpoints import (
    Checkpoint,
    add_lora,
    load_model_config,
    load_thinker,
    make_lora,
    read_prompt,
    save_omni,
    save_whole,
    write_prompt,
)
from ..model.model_files import require_talker
from ..processes import say
from .base import FiniteSteps, MetricsLog, TrainingRun, WholeCheckpoints, one_device_a_process
from .config import SFTConfig
from .plan import zero_stage
from .trainer_settings import require_schedule, trainer_keys


class SFTDataset(torch.utils.data.Dataset):
    """Encodes a sample when it is asked for, so that decoding happens in the data workers."""

    def __init__(self, samples: list[AudioQASample], encoder: OmniEncoder):
        self.samples = samples
        self.encoder = encoder

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Example:
        sample = self.samples[index]
        with explaining_broken_clips():
            return self.encoder.encode(sample, target_text(sample))


def target_text(sample: AudioQASample) -> str:
    """The assistant's turn to learn; a thought that was dropped or never there is the empty one."""
    return format_response(sample.think or "", sample.answer)


def load_sft_samples(
    path: str, audio_root: str | None, encoder: OmniEncoder, max_length: int, **reading
) -> tuple[list[AudioQASample], list[int]]:
    """Read a training file and leave out, and count, the rows over `max_length` tokens; raises `InputError`.

    Returns the samples and their lengths in tokens; `reading` as in `read_measured`.
    """
    samples = read_measured(path, audio_root, lambda sample: encoder.length(sample, target_text(sample)), **reading)
    kept = [(sample, length) for sample, length in samples if length <= max_length]
    if not kept:
        raise InputError(f"{path}: all {len(samples)} rows are longer than max_length {max_length}")
    thoughts = sum(bool(sample.think) for sample, _ in kept)
    say(
        f"{path}: {len(kept)} rows, {thoughts} with a thought"
        + (f"; {len(samples) - len(kept)} over {max_length} tokens left out" if len(kept) < len(samples) else "")
        + describe_clips([sample for sample, _ in kept], encoder.max_audio_seconds)
    )
    return [sample for sample, _ in kept], [length for _, length in kept]


class SFTTrainer(FiniteSteps, WholeCheckpoints, Trainer):
    """transformers' trainer with whole checkpoints, ended by the first gradient that is not finite."""


class SFTRun(TrainingRun):
    """One supervised fine-tuning, from a checked config to a merged model."""

    config: SFTConfig

    def load_samples(self) -> None:
        config = self.config
        if config.keep_talker:
            require_talker(self.checkpoint.full_model)

        def load(path: str) -> tuple[list[AudioQASample], list[int]]:
            return load_sft_samples(path, config.audio_root, self.encoder, config.max_length, **self.reading)

        self.train, self.train_lengths = load(config.train_file)
        self.valid = load(config.valid_file)[0] if config.valid_file else None

    def training_arguments(self) -> TrainingArguments:
        """`TrainingArguments` from the config; making them joins the launch's processes and sets ZeRO-3 up for loading."""
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
        one_device_a_process(arguments)
        require_schedule(arguments)
        return arguments

    def build_model(self):
        """The thinker with LoRA on the language model, or with the language model's weights set to learn."""
        config = self.config
        set_seed(config.seed)  # LoRA's A matrices are drawn
        model = self.load_model()
        if config.tuning == "full":
            return model
        lora = make_lora(model, config.lora_rank, config.lora_alpha, config.lora_targets, config.lora_dropout)
        return add_lora(model, self.checkpoint.full_model, lora, float32=zero_stage(config.deepspeed) != 3)

    def build_trainer(
        self, arguments: TrainingArguments, resumed_step: int, callbacks: list[TrainerCallback] = ()
    ) -> SFTTrainer:
        """The trainer over the loaded samples."""
        pad_token_id = self.processor.tokenizer.pad_token_id
        trainer = SFTTrainer(
            base_model=self.checkpoint.full_model,
            prompt=self.encoder.prompt,
            keep_checkpoints=self.config.save_total_limit,
            model=self.build_model(),
            args=arguments,
            data_collator=RightPadded(pad_token_id),
            train_dataset=SFTDataset(self.train, self.encoder),
            eval_dataset=SFTDataset(self.valid, self.encoder) if self.valid else None,
            processing_class=self.processor,
            callbacks=[MetricsLog(self.config.run_dir, resumed_step), *callbacks],
        )
        trainer.remove_callback(PrinterCallback)  # MetricsLog prints the same, in one line
        return trainer


class RightPadded:
    """Collates training examples; a class, so that data workers can be sent it."""

    def __init__(self, pad_token_id: int):
        self.pad_token_id = pad_token_id

    def __call__(self, examples: list[Example]) -> dict[str, torch.Tensor]:
        return collate(examples, self.pad_token_id, "right")


def merge_checkpoint(checkpoint: Checkpoint, out: Path, dtype: torch.dtype, keep_talker: bool) -> None:
    """Write a checkpoint's model, an adapter merged into its base, to `out` in the Omni layout, whole or not at all."""
    unset_hf_deepspeed_config()  # after a ZeRO-3 run every model would be loaded in parts
    model = load_thinker(checkpoint, dtype)

    def write(folder: Path) -> None:
        base = checkpoint.full_model
        save_omni(folder, model.state_dict(), load_model_config(base), base, keep_talker)
        prompt = read_prompt(checkpoint)
        if prompt is not None:
            write_prompt(folder, prompt)

    save_whole(out, write)
