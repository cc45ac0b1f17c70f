"""Settings: every default once, in a dataclass; the YAML wins over the default and the command line over the YAML.

All problems of a configuration are reported together, before anything heavy is imported or loaded. Relative paths count
from the caller's directory on the command line and from the repository in a YAML.
"""

import dataclasses
import difflib
import math
import os
import re
import types
import typing
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from .errors import InputError
from .trainer_settings import as_type, describe_type, missing_package, problems_of_trainer, why_not

REPOSITORY = Path(__file__).resolve().parents[2]
LANGUAGE_MODEL_LINEAR = r"model\.layers\.\d+\.(self_attn|mlp)\.\w+_proj"


def path_field(default: object = dataclasses.MISSING, **metadata):
    """A setting that is a path: made absolute when read."""
    return field(default=default, metadata={"path": True, **metadata})


def model_field(default: object = dataclasses.MISSING):
    """A setting that is a folder or a Hub id: made absolute when it is not an id."""
    return field(default=default, metadata={"model": True})


@dataclass(kw_only=True)
class RunConfig:
    """What every training run has."""

    run_name: str  # the run directory is runs/<run_name>
    runs_dir: str = path_field("runs")
    overwrite: bool = False  # True starts a run directory anew and loses what is in it
    dry_run: bool = False  # True validates everything, prints the plan and loads no weights
    device: str = "auto"  # auto | cuda | cpu

    @property
    def run_dir(self) -> Path:
        return Path(self.runs_dir) / self.run_name


@dataclass(kw_only=True)
class ModelConfig:
    """Which model, how it is prompted, how much audio it hears."""

    model: str = model_field()  # a folder in the Omni layout or a Hub id
    dtype: str = "auto"  # auto (bfloat16 where the device has it) | float32 | bfloat16 | float16 (inference)
    attn_implementation: str = "sdpa"  # sdpa | flash_attention_2 (faster on long clips, needs its package) | eager
    prompt: str = "selective"  # a name in prompts.py, or a text with {question} and {choices}
    system_prompt: str = "You are a helpful assistant."  # empty: no system turn
    max_audio_seconds: float = 300.0  # longer clips are cropped at their end; 25 tokens a second
    check_audio: bool = False  # True decodes every clip before weights are loaded: sound that is broken behind its header
    allow_missing_audio: bool = False  # True goes on without rows whose clip cannot be read: left out, or counted as wrong

    attentions = ("sdpa", "flash_attention_2", "eager")


@dataclass(kw_only=True)
class TuningConfig(RunConfig, ModelConfig):
    """What both training stages have: data, which weights learn, checkpoints, logs."""

    train_file: str = path_field()
    valid_file: str | None = path_field(None)  # None: no evaluation
    audio_root: str | None = path_field(None)  # relative audio paths count from here; None: from the file's folder
    tuning: str = "lora"  # lora | full (float32 master weights: 16 bytes a parameter instead of 2)
    lora_rank: int = 8  # higher learns more and costs memory in proportion
    lora_alpha: float = 32.0  # the update is scaled by alpha / rank
    lora_targets: str = LANGUAGE_MODEL_LINEAR  # a regex over whole layer names
    train_towers: bool = False  # True (with tuning full) also trains the audio and vision towers
    learning_rate: float
    num_train_epochs: float
    max_steps: int = -1  # -1: as many as the epochs take
    per_device_train_batch_size: int
    gradient_accumulation_steps: int
    per_device_eval_batch_size: int
    eval_steps: float
    save_steps: float
    save_total_limit: int | None = 2  # newest ones kept besides the best
    logging_steps: float = 5
    gradient_checkpointing: bool = True  # a third more time for a fraction of the activations
    dataloader_num_workers: int = 4  # decode audio ahead of the device
    deepspeed: str | None = path_field(None)  # configs/zero2.json or zero3.json
    report_to: list[str] = field(default_factory=lambda: ["tensorboard"])  # also wandb, swanlab, mlflow, ...; or none
    seed: int = 42
    trainer: dict = field(default_factory=dict)  # other settings of the library's trainer, filled from the flat keys

    def problems(self) -> list[str]:
        found = _problems_of_model(self)
        found += _one_of("tuning", self.tuning, ("lora", "full"))
        for name in ("train_file", "valid_file", "deepspeed"):
            found += _existing_file(name, getattr(self, name))
        found += _json_object("deepspeed", self.deepspeed)
        if self.save_total_limit is not None:
            found += _positive(self, "save_total_limit")
        found += _positive(self, "lora_rank", "per_device_train_batch_size", "gradient_accumulation_steps")
        found += _positive(self, "per_device_eval_batch_size", "learning_rate", "lora_alpha")
        found += _positive(self, "eval_steps", "save_steps", "logging_steps") + _seed(self)
        found += _positive(self, "num_train_epochs") if self.max_steps <= 0 else []
        found += _between(self, "dataloader_num_workers", 0)
        try:
            re.compile(self.lora_targets)
        except re.error as error:
            found.append(f"lora_targets {self.lora_targets!r} is no regular expression ({error})")
        name = Path(self.run_name)
        if name.is_absolute() or not name.parts or ".." in name.parts:  # overwrite deletes what it names
            found.append(f"run_name {self.run_name!r} does not name a folder below runs_dir")
        found += problems_of_trainer(self.trainer, self.report_to)
        if self.dtype == "float16":
            found.append("dtype float16 is for inference: training has no loss scaler; bfloat16 or float32")
        if self.deepspeed:
            found += missing_package("deepspeed", ("deepspeed", "deepspeed"))
        if self.train_towers and self.tuning == "lora":
            found.append("train_towers needs tuning full: LoRA freezes the towers")
        return found


@dataclass(kw_only=True)
class SFTConfig(TuningConfig):
    """Stage 1, supervised fine-tuning (arXiv 2509.12275, section 3.2). Also takes every `TrainingArguments` field."""

    run_name: str = "sft_lora"
    lora_dropout: float = 0.0
    max_length: int = 2048  # tokens; longer rows are dropped and counted, never cut
    merge: bool = True  # write <run>/merged at the end
    keep_talker: bool = False  # True copies talker and token2wav into merged checkpoints (about 4 GB for 7B)
    learning_rate: float = 1.0e-4
    num_train_epochs: float = 2.0
    warmup_steps: float = 0.05  # below 1: a share of all steps
    per_device_train_batch_size: int = 6  # memory grows with it; times accumulation times processes = 96 on 4 GPUs
    gradient_accumulation_steps: int = 4
    per_device_eval_batch_size: int = 6
    eval_steps: float = 200
    save_steps: float = 200

    def problems(self) -> list[str]:
        return (
            super().problems()
            + _positive(self, "max_length")
            + _between(self, "warmup_steps", 0)
            + _between(self, "lora_dropout", 0, 1)
        )


@dataclass(kw_only=True)
class CLSTConfig(TuningConfig):
    """Stage 2, GRPO in the order of the curriculum (arXiv 2509.12275, section 3.3). Also takes every setting of
    `trl.GRPOConfig` that a rollout over audio can follow; the others are refused by name."""

    run_name: str = "clst_15k"
    tuning: str = "full"
    order: str = "file"  # the curriculum as it stands; shuffled | shuffled_within_level | overlapping, to compare
    overlap: float = 0.2  # of `overlapping`: 0 is the file's order, 1 is nearly shuffled
    rewards: dict[str, float] = field(default_factory=lambda: {"accuracy": 2.0, "format": 1.0})  # name: weight
    over_limit: str = "drop"  # drop | crop: clips over max_audio_seconds; prompts over max_prompt_length are dropped
    max_audio_seconds: float = 60.0
    max_prompt_length: int = 2048  # tokens, audio included (25 a second); never cut
    num_generations: int = 4  # completions a prompt: more find a difference more often and cost in proportion
    max_completion_length: int = 256  # tokens
    temperature: float = 1.2
    top_p: float = 1.0
    top_k: int = 0  # 0: all tokens
    beta: float = 0.04  # weight of the KL to the starting model; 0 needs no reference
    num_iterations: int = 1  # updates a generation is used for
    loss_type: str = "grpo"  # averaged over each completion, then over completions; also dapo, dr_grpo, bnpo, ...
    dynamic_sampling: bool = False  # True replaces groups whose rewards are all equal by the next samples
    max_redraws: int = 4  # of dynamic sampling: how often in one generation
    completions_per_forward: int | None = None  # where memory is short: rows whose activations are kept together
    completions_per_rollout: int | None = None  # where memory is short: rows that are written together
    offload_reference: bool = False  # True keeps a full fine-tuning's reference off the device, its layers visit in turn
    audio_cache_gib: float = 0.0  # the machine's memory for clips' encodings, for clips that come again: 1.8 MB a 10-s clip
    early_stopping_patience: int | None = None  # evaluations without a better accuracy until the run ends
    print_run_dir: bool = False  # True prints where the run is and does nothing else; nothing for a dry run
    learning_rate: float = 1.0e-6
    num_train_epochs: float = 1.0
    warmup_steps: float = 0.0
    per_device_train_batch_size: int = 4  # completions: a multiple of num_generations, so that a group stays whole
    gradient_accumulation_steps: int = 1
    per_device_eval_batch_size: int = 16
    eval_steps: float = 375
    save_steps: float = 375

    attentions = ("sdpa", "flex_attention", "eager")  # a shared prompt needs a mask of its own; flex needs a GPU

    def problems(self) -> list[str]:
        from .curriculum import ORDERS
        from .grpo.settings import LOSS_TYPES, refused
        from .rewards import REWARDS

        found = super().problems() + refused(self.trainer) + _between(self, "audio_cache_gib", 0)
        if self.audio_cache_gib and self.train_towers:
            found.append("audio_cache_gib needs train_towers false: encodings change while the audio tower learns")
        if self.offload_reference and (self.tuning == "lora" or self.beta == 0):
            found.append("offload_reference needs tuning full and a beta above 0: else there is no second model")
        if self.offload_reference and self.deepspeed:
            found.append("offload_reference does not go with deepspeed: configs/zero3.json shards the reference")
        if self.trainer.get("sync_ref_model"):
            if self.tuning == "lora" or self.beta == 0:
                found.append("sync_ref_model needs tuning full and a beta above 0: else there is no second model")
            if self.offload_reference:
                found.append("offload_reference does not go with sync_ref_model")
        found += _one_of("loss_type", self.loss_type, LOSS_TYPES)
        found += _one_of("order", self.order, ORDERS) + _one_of("over_limit", self.over_limit, ("drop", "crop"))
        found += _positive(self, "max_prompt_length", "max_completion_length", "temperature", "top_p", "num_iterations")
        found += _between(self, "top_p", 0, 1) + _between(self, "top_k", 0) + _between(self, "beta", 0)
        found += _between(self, "overlap", 0) + _between(self, "max_redraws", 0) + _between(self, "num_generations", 2)
        for name in ("completions_per_forward", "completions_per_rollout", "early_stopping_patience"):
            found += _positive(self, name) if getattr(self, name) is not None else []
        found += [
            f"rewards {name} {weight} is no number" for name, weight in self.rewards.items() if not math.isfinite(weight)
        ]
        for name in self.rewards:
            found += _one_of("rewards", name, tuple(REWARDS))
        if not any(self.rewards.values()):
            found.append(f"rewards {self.rewards} weigh nothing")
        if self.num_generations > 0 and self.per_device_train_batch_size % self.num_generations:
            found.append(
                f"per_device_train_batch_size {self.per_device_train_batch_size} is not a multiple of "
                f"num_generations {self.num_generations}"
            )
        if self.valid_file and self.save_steps > 0 and self.eval_steps % self.save_steps:
            found.append(
                f"eval_steps {self.eval_steps} is not a multiple of save_steps {self.save_steps}: "
                "the best checkpoint could not be kept"
            )
        if self.early_stopping_patience and not self.valid_file:
            found.append("early_stopping_patience needs valid_file")
        return found


@dataclass(kw_only=True)
class InferConfig(ModelConfig):
    """Answer benchmarks with a checkpoint and score them."""

    model: str = model_field()
    prompt: str = "auto"  # what the checkpoint was trained with, direct for a released model; or as in ModelConfig
    system_prompt: str | None = None  # None: what the checkpoint was trained with
    benchmarks: list[str] = field(default_factory=lambda: ["mmau-mini", "mmar"])  # also mmau-test (submission file)
    data_root: str = path_field("data")  # holds MMAU/ and MMAR/ as the README lays them out
    output: str | None = path_field(None)  # None: CHECKPOINT/infer
    overwrite: bool = False  # True drops answers that are there and starts anew
    dry_run: bool = False
    device: str = "auto"
    audio: str = "real"  # real | silence | other (another row's clip): what the wording alone gives
    thought: str = "free"  # free | empty (every answer begins with an empty thought): what the thought gives
    batch_tokens: int = 32768  # prompts and new tokens answered together; keys and values of a 7B take 56 KiB a token
    max_new_tokens: int = 256
    temperature: float = 0.0  # 0: greedy
    top_p: float = 1.0
    top_k: int = 0  # 0: all tokens
    seed: int = 0
    num_workers: int = 2  # processes that decode audio ahead of the device
    limit: int | None = None  # only the first rows, for a look; the scores then say so

    def problems(self) -> list[str]:
        found = _problems_of_model(self)
        found += _one_of("audio", self.audio, ("real", "silence", "other"))
        found += _one_of("thought", self.thought, ("free", "empty"))
        for name in self.benchmarks:
            found += _one_of("benchmarks", name, ("mmau-mini", "mmau-test", "mmar"))
        found += _positive(self, "batch_tokens", "max_new_tokens")
        found += _positive(self, "top_p") + _between(self, "top_p", 0, 1) + _between(self, "top_k", 0)
        found += _between(self, "temperature", 0) + _between(self, "num_workers", 0) + _seed(self)
        found += [] if self.benchmarks else ["benchmarks names none"]
        if self.limit is not None:
            found += _positive(self, "limit")
        return found


@dataclass(kw_only=True)
class AnswerConfig(ModelConfig):
    """A model answers samples, for thought dropout and the curriculum (arXiv 2509.12275, sections 3.1 and 3.3)."""

    prompt: str = "auto"  # what the checkpoint was trained with, direct for a released model; or as in ModelConfig
    system_prompt: str | None = None  # None: what the checkpoint was trained with
    samples: str = path_field()  # the sample file to answer
    audio_root: str | None = path_field(None)
    answers_dir: str = path_field()  # answers.jsonl goes there
    audio: str = "real"  # real | silence | other (another sample's clip): what the wording alone gives
    num_completions: int = 1  # k; above 1 the completions are sampled and pass rates have k + 1 values
    temperature: float = 1.0  # used when num_completions is above 1
    max_new_tokens: int = 256
    batch_tokens: int = 32768  # prompts and new tokens answered together; keys and values of a 7B take 56 KiB a token
    seed: int = 0
    num_workers: int = 2
    overwrite: bool = False
    device: str = "auto"

    def problems(self) -> list[str]:
        found = _problems_of_model(self) + _existing_file("samples", self.samples)
        found += _one_of("audio", self.audio, ("real", "silence", "other"))
        found += _positive(self, "num_completions", "temperature", "max_new_tokens", "batch_tokens") + _seed(self)
        found += _between(self, "num_workers", 0)
        return found


@dataclass(kw_only=True)
class ContributionConfig:
    """What a model answers right with silence in the clip's place needs no hearing: marked, and left out on request."""

    silence_answers_dir: str | None = path_field(None)  # holds an answers.jsonl made with --audio silence; None: no marks
    max_silence_pass_rate: float = 1.0  # samples above it are left out; 1 leaves out none, 0.5 what is right unheard

    @property
    def silence_answers_file(self) -> str | None:
        return None if self.silence_answers_dir is None else str(Path(self.silence_answers_dir) / "answers.jsonl")


@dataclass(kw_only=True)
class ThoughtDropoutConfig(ContributionConfig):
    """Guided thought dropout: which training samples keep their reference thought (arXiv 2509.12275, section 3.1)."""

    samples: str = path_field()
    audio_root: str | None = path_field(None)
    answers_dir: str | None = path_field(None)  # holds the base's answers.jsonl; not needed for keep_all and drop_all
    output: str = path_field()  # train.jsonl and valid.jsonl go there
    mode: str = "guided"  # guided | random (the same share, drawn) | keep_all | drop_all
    drop_from: float = 1.0  # pass rate from which on a thought is dropped
    valid_share: float = 0.02  # of the clips
    seed: int = 0

    @property
    def answers_file(self) -> str | None:
        return None if self.answers_dir is None else str(Path(self.answers_dir) / "answers.jsonl")

    def problems(self) -> list[str]:
        found = _existing_file("samples", self.samples) + _existing_file("answers_dir", self.answers_file)
        found += _one_of("mode", self.mode, ("guided", "random", "keep_all", "drop_all"))
        if self.answers_dir is None and self.mode in ("guided", "random"):
            found.append(f"mode {self.mode} needs answers_dir")
        found += _seed(self)
        if not 0 <= self.valid_share < 1:
            found.append(f"valid_share {self.valid_share} is not in [0, 1)")
        return found + _problems_of_contribution(self)


@dataclass(kw_only=True)
class CurriculumConfig(ContributionConfig):
    """The error-aware curriculum: which samples GRPO meets, and in which order (arXiv 2509.12275, section 3.3)."""

    samples: str = path_field()
    audio_root: str | None = path_field(None)
    base_answers_dir: str = path_field()  # holds the base's answers.jsonl
    answers_dir: str = path_field()  # holds the SFT model's
    output: str = path_field()  # the training file (.jsonl); table and picture go beside it
    size: int = 15000  # samples to draw; with fewer there, all are taken
    mix: dict[str, float] = field(default_factory=lambda: {"easy": 0.2, "medium": 0.4, "hard": 0.4})  # shares, any scale
    right_from: float = 0.5  # pass rate from which on a model is right; higher makes more samples hard
    min_sft_pass_rate: float = 0.0  # with k > 1 answers, 0.1 leaves out what is never right and gives no difference
    max_sft_pass_rate: float = 1.0  # and 0.9 what is always right
    valid_size: int = 0  # held out for GRPO's evaluation: each costs training the other samples of its clip
    valid_output: str | None = path_field(None)  # where the held-out samples go
    seed: int = 0

    @property
    def base_answers_file(self) -> str:
        return str(Path(self.base_answers_dir) / "answers.jsonl")

    @property
    def answers_file(self) -> str:
        return str(Path(self.answers_dir) / "answers.jsonl")

    def problems(self) -> list[str]:
        from .curriculum import problems_of_mix

        found = _existing_file("samples", self.samples)
        for line in _existing_file("base_answers_dir", self.base_answers_file):
            found.append(f"{line}; `bash script/build_sft.sh` makes it: the base answers the samples")
        for line in _existing_file("answers_dir", self.answers_file):
            found.append(f"{line}; `bash script/build_clst.sh` makes it: the SFT model answers the samples")
        if self.base_answers_dir == self.answers_dir:
            found.append(f"base_answers_dir and answers_dir are one folder, {self.answers_dir}")
        outputs = [self.output] if self.valid_output is None else [self.output, self.valid_output]
        found += [f"output {path} does not end in .jsonl" for path in outputs if not path.endswith(".jsonl")]
        found += [f"output {path} is a folder" for path in outputs if Path(path).is_dir()]
        if len({self.samples, *outputs}) <= len(outputs):
            found.append("samples, output and valid_output are not different files")
        if self.valid_size > 0 and self.valid_output is None:
            found.append(f"valid_size {self.valid_size} needs valid_output")
        found += _positive(self, "size") + _between(self, "valid_size", 0) + _seed(self) + problems_of_mix(self.mix)
        found += _positive(self, "right_from") + _between(self, "right_from", 0, 1)
        if not 0 <= self.min_sft_pass_rate <= self.max_sft_pass_rate <= 1:
            window = f"[{self.min_sft_pass_rate}, {self.max_sft_pass_rate}]"
            found.append(f"min_sft_pass_rate, max_sft_pass_rate: {window} is no window in [0, 1]")
        return found + _problems_of_contribution(self)


@dataclass(kw_only=True)
class PrepareConfig:
    """Files that people have -> samples, with an audit of every clip."""

    source: str  # avqa | audsem | audiomcq | published | mmau-mini | mmau-test | mmar
    input: str | None = path_field(None)  # a file, or a folder whose data files are all read
    hub: str | None = None  # instead of input: a data set on the Hub
    hub_config: str | None = None
    hub_split: str = "train"
    clips: str | None = path_field(None)  # the folder to look for clips in; None: the input's
    output: str = path_field()
    audio_root: str = path_field("data")  # clips below it are written relative to it
    min_audio_seconds: float = 0.2
    max_audio_seconds: float = 300.0  # longer clips are dropped here; training crops or drops by a limit of its own
    against: str | None = path_field("data")  # holds MMAU/ and MMAR/: what is in them is dropped; None: not looked at
    keep_overlap: bool = False  # True keeps it, and still lists it
    valid_share: float = 0.0  # of the rows, for SFT; build_sft.sh splits by itself where this is 0
    held_out: int = 0  # rows for GRPO's evaluation
    model: str | None = model_field(None)  # whose tokenizer counts prompt tokens; None: they are not counted
    prompt: str = "selective"
    num_workers: int = 0  # 0: one a core
    strict: bool = False  # True makes every finding about a clip an error, after the report is written
    seed: int = 0

    def problems(self) -> list[str]:
        from .benchmarks import BENCHMARKS
        from .preparation.layouts import SOURCES

        found = _one_of("source", self.source, (*SOURCES, *BENCHMARKS))
        if (self.input is None) == (self.hub is None):
            found.append("one of input and hub has to be given")
        if self.input is not None and not Path(self.input).exists():
            found.append(f"input {self.input}: no such file or folder")
        if self.clips is not None and not Path(self.clips).is_dir():
            found.append(f"clips {self.clips}: no such folder")
        found += _positive(self, "max_audio_seconds") + _between(self, "min_audio_seconds", 0)
        found += _between(self, "held_out", 0) + _between(self, "num_workers", 0)
        found += _seed(self)
        if not 0 <= self.valid_share < 1:
            found.append(f"valid_share {self.valid_share} is not in [0, 1)")
        return found


def _problems_of_model(config: ModelConfig) -> list[str]:
    found = _one_of("dtype", config.dtype, ("auto", "float32", "bfloat16", "float16"))
    found += _one_of("device", config.device, ("auto", "cuda", "cpu"))
    found += _one_of("attn_implementation", config.attn_implementation, config.attentions)
    if config.attn_implementation == "flash_attention_2":
        found += missing_package("attn_implementation flash_attention_2", ("flash_attn", "flash-attn --no-build-isolation"))
        if config.dtype == "float32" or config.device == "cpu":
            found.append("attn_implementation flash_attention_2 needs a GPU and dtype bfloat16 or float16; sdpa takes any")
    return found + _positive(config, "max_audio_seconds")


def _problems_of_contribution(config: ContributionConfig) -> list[str]:
    found = _existing_file("silence_answers_dir", config.silence_answers_file)
    found = [f"{line}; `src/answer.py --audio silence` makes it" for line in found]
    found += _between(config, "max_silence_pass_rate", 0, 1)
    if config.silence_answers_dir is None and config.max_silence_pass_rate < 1:
        found.append(f"max_silence_pass_rate {config.max_silence_pass_rate} needs silence_answers_dir")
    return found


def _one_of(name: str, value: str, allowed: tuple[str, ...]) -> list[str]:
    return [] if value in allowed else [f"{name} {value!r} is not one of {', '.join(allowed)}"]


def _existing_file(name: str, value: str | None) -> list[str]:
    return [] if value is None or Path(value).is_file() else [f"{name} {value}: no such file"]


def _json_object(name: str, path: str | None) -> list[str]:
    from .files import read_object

    try:
        if path is not None and Path(path).is_file():
            read_object(path)
    except InputError as error:
        return [f"{name} {error}"]
    return []


def _positive(config: object, *names: str) -> list[str]:
    """A value that is no number (NaN) is not positive either, and infinity no value."""
    return [f"{name} {getattr(config, name)} is not positive" for name in names if not 0 < getattr(config, name) < math.inf]


def _seed(config: object) -> list[str]:
    """Seeds that all random generators take."""
    return _between(config, "seed", 0, 2**32 - 1)


def _between(config: object, name: str, low: float, high: float = math.inf) -> list[str]:
    value = getattr(config, name)
    between = f"at least {low}" if high == math.inf else f"between {low} and {high}"
    return [] if low <= value <= high and value < math.inf else [f"{name} {value} is not {between}"]


def load_config(
    config_class: type,
    argv: list[str],
    passthrough: Callable[[], dict[str, object]] | None = None,
    shared_with: type | tuple[type, ...] | None = None,
):
    """Build a config from `--config FILE` and `--key value` arguments; raises one `InputError` with all problems.

    `passthrough` gives the keys of another library's settings with their types; they are collected in the config's
    `trainer` field. Keys
    that only another stage knows (`shared_with`, or several) are left to it: they read one YAML and one command line.
    """
    given, problems = parse_arguments(argv)
    settings: dict[str, tuple[object, str, Path]] = {}  # key -> (value, place, where relative paths count from)
    for file in given.pop("config", [])[-1:]:
        place = os.path.basename(file)
        settings |= {key: (value, place, REPOSITORY) for key, value in read_yaml(file).items()}
    settings |= {key: (values[-1], "command line", Path.cwd()) for key, values in given.items()}
    known = {f.name: f for f in dataclasses.fields(config_class) if f.name != "trainer"}
    hints = typing.get_type_hints(config_class)
    foreign = passthrough() if passthrough else {}
    stages = shared_with if isinstance(shared_with, tuple) else (shared_with,) if shared_with else ()
    left_out = {f.name for stage in stages for f in dataclasses.fields(stage)} - known.keys()
    arguments: dict[str, object] = {}
    others: dict[str, object] = {}
    for key, (value, place, base) in settings.items():
        if key in known:
            try:
                arguments[key] = _resolve(known[key], _coerce(value, hints[key]), base)
            except (ValueError, OverflowError):  # the latter for an infinity where a whole number belongs
                problems.append(f"{place}: {key} {value!r} is not {_describe(hints[key])}")
        elif key in foreign:
            try:
                others[key] = as_type(value, foreign[key])
            except (ValueError, yaml.YAMLError):
                problems.append(f"{place}: {key} {value!r} is not {describe_type(foreign[key])}")
        elif foreign and (reason := why_not(key)):
            problems.append(f"{place}: {key} {reason}")
        elif key not in left_out:
            problems.append(f"{place}: unknown key {key!r}{_nearest(key, {*known, *foreign, *left_out})}")
    for name, f in known.items():
        if name in arguments or any(key == name for key in settings):
            continue
        if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING:
            problems.append(f"{name} is not set (--{name} VALUE, or in the YAML)")
        elif f.metadata and isinstance(f.default, str):
            arguments[name] = _resolve(f, f.default, REPOSITORY)
    if "trainer" in {f.name for f in dataclasses.fields(config_class)}:
        arguments["trainer"] = others
    _raise_all(problems)
    config = config_class(**arguments)
    _raise_all(config.problems())
    return config


def parse_arguments(argv: list[str]) -> tuple[dict[str, list[str]], list[str]]:
    """Split `--key value`, `--key=value` and bare `--flag` (true) into {key: values}, and what fits none."""
    given: dict[str, list[str]] = {}
    problems = []
    index = 0
    while index < len(argv):
        word = argv[index]
        index += 1
        if not word.startswith("--") or word == "--":
            problems.append(f"command line: {word!r} is not a --key")
            continue
        key, equals, value = word[2:].partition("=")
        if not equals and index < len(argv) and not argv[index].startswith("--"):
            value = argv[index]
            index += 1
        elif not equals:
            value = "true"
        given.setdefault(key.replace("-", "_"), []).append(value)
    return given, problems


class _LoaderOfUniqueKeys(yaml.SafeLoader):
    """YAML's own loader keeps the last of several equal keys and says nothing."""

    def construct_mapping(self, node, deep=False):
        seen = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"the key {key.value!r} stands twice", key.start_mark)
            seen.add(key.value if isinstance(key, yaml.ScalarNode) else id(key))
        return super().construct_mapping(node, deep)


def read_yaml(file: str) -> dict:
    """One YAML mapping; raises `InputError` naming file and line."""
    try:
        value = yaml.load(Path(file).read_text(encoding="utf-8"), _LoaderOfUniqueKeys)
    except OSError as error:
        raise InputError(f"{file}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{file}: not UTF-8 ({error.reason} at byte {error.start})") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark else 1
        raise InputError(f"{file}:{line}: not YAML ({getattr(error, 'problem', error)})") from None
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise InputError(f"{file}: expected `key: value` lines")
    return value


def write_config(config: object, path: Path) -> None:
    """Write everything in force as YAML."""
    from .files import write_text

    write_text(path, yaml.safe_dump(dataclasses.asdict(config), sort_keys=False, allow_unicode=True))


def _coerce(value: object, hint: object) -> object:
    """`value` (a YAML value or a text) as the annotated type; raises ValueError."""
    options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    if type(None) in options and (value is None or value in ("none", "None", "null")):
        return None
    kind = next(option for option in options if option is not type(None))
    if kind is bool:
        if isinstance(value, bool):
            return value
        return {"true": True, "false": False}[str(value).lower()] if str(value).lower() in ("true", "false") else _no()
    if kind is str:
        return str(value) if isinstance(value, (str, int, float)) and not isinstance(value, bool) else _no()
    if kind in (int, float):
        is_number = isinstance(value, (int, float, str)) and not isinstance(value, bool)
        return kind(value) if is_number and (isinstance(value, str) or value == kind(value) or kind is float) else _no()
    if typing.get_origin(kind) is dict:
        return _coerce_mapping(value, typing.get_args(kind)[1])
    if typing.get_origin(kind) is list:
        items = value if isinstance(value, list) else value.split(",") if isinstance(value, str) else _no()
        return [_coerce(item, str) for item in items]
    return value


def _coerce_mapping(value: object, hint: object) -> dict[str, object]:
    """A YAML mapping, or its text on a command line (`a: 1, b: 0.5`, in braces or not); it replaces the whole default."""
    if isinstance(value, str):
        try:
            value = yaml.safe_load("{" + value.strip().removeprefix("{").removesuffix("}") + "}")
        except yaml.YAMLError:
            _no()
    if not isinstance(value, dict):
        _no()
    return {str(name): _coerce(item, hint) for name, item in value.items()}


def _no():
    raise ValueError


def _describe(hint: object) -> str:
    names = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}
    names |= {dict[str, float]: "names with numbers (a: 0.5, b: 1)", list[str]: "a list of names"}
    options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    return " or ".join("none" if option is type(None) else names.get(option, str(option)) for option in options)


def _resolve(f: dataclasses.Field, value: object, base: Path) -> object:
    """Make a path setting absolute; a model setting stays as it is where no such folder exists and it can be a Hub id."""
    if not isinstance(value, str):
        return value
    absolute = os.path.normpath(base / os.path.expanduser(value))
    if f.metadata.get("path"):
        return absolute
    if f.metadata.get("model"):
        looks_like_id = value.count("/") == 1 and not value.startswith((".", "/", "~"))
        is_misspelt = os.path.isdir(os.path.dirname(absolute))  # `runs/sft_lroa` is no id: there is a folder `runs`
        return value if looks_like_id and not is_misspelt else absolute
    return value


def _nearest(key: str, known: set[str]) -> str:
    close = difflib.get_close_matches(key, known, n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def _raise_all(problems: list[str]) -> None:
    if len(problems) == 1:
        raise InputError(problems[0])
    if problems:
        raise InputError(f"{len(problems)} problems in the settings:\n  " + "\n  ".join(problems))
