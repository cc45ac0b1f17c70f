"""Set up a GRPO run: from a checked config to a trainer."""

from collections import Counter
from pathlib import Path

import torch
from transformers import EarlyStoppingCallback, PrinterCallback, set_seed
from trl import GRPOConfig

from ..data.audio import probe_audio
from ..data.clip_check import read_measured
from ..data.encoder import OmniEncoder, describe_clips
from ..data.packed_samples import PackedSamples
from ..data.samples import EASY_TO_HARD, AudioQASample
from ..errors import InputError
from ..method.rewards import OF_A_THOUGHT, OF_NO_THOUGHT, files_of_rewards, make_rewards
from ..model.checkpoints import Checkpoint, find_checkpoint, load_family, load_thinker
from ..model.lora import make_lora
from ..model.static_decoding import choose_decoding
from ..model.vllm_engine import choose_engine
from ..processes import say
from ..training.base import TrainingRun, one_device_per_process, step_of
from ..training.metrics_log import MetricsLog
from ..training.plan import levels_in_words
from ..training.preempted import PreemptionCheckpoints
from ..training.trainer_settings import require_schedule
from ..training.workload import zero_stage
from .completions_log import CompletionsLog
from .config import CLSTConfig
from .curriculum_feed import CurriculumFeed, SampleSequence
from .settings import grpo_keys
from .trackers import CompletionTables
from .trainer import REFERENCE_FOLDER, AudioGRPOTrainer
from .trl_bridge import Policy
from .unlearning import UnlearningWatch
from .vllm_rollout import reach_server, require_share

SHOWN = (
    "loss", "reward", "accuracy", "think_rate", *(f"think_rate/{level}" for level in EASY_TO_HARD), "kl", "eval_accuracy",
    *(f"eval_think_rate/{level}" for level in EASY_TO_HARD), "sampling/logp_difference",
)  # fmt: skip


def load_grpo_samples(
    path: str, audio_root: str | None, encoder: OmniEncoder, config: CLSTConfig, **reading_options
) -> tuple[list[AudioQASample], list[int]]:
    """Read a curriculum in its order, without the samples over a limit, which are counted; raises `InputError`.

    Returns the samples and their prompts' lengths in tokens. A prompt is never cut: over `max_prompt_length` the sample is
    dropped. A clip over `max_audio_seconds` is cropped at its end or dropped with its sample, as `over_limit` says.
    `reading_options` are those of `read_measured`.
    """
    samples = read_measured(path, audio_root, encoder.length, **reading_options)
    may_be_long = config.over_limit != "drop"
    too_long_clips = [
        s for s, _ in samples if not may_be_long and probe_audio(s.audio_path).seconds > config.max_audio_seconds
    ]
    dropped = {s.id for s in too_long_clips}
    too_long_prompts = [s for s, length in samples if s.id not in dropped and length > config.max_prompt_length]
    dropped |= {s.id for s in too_long_prompts}
    kept = [(sample, length) for sample, length in samples if sample.id not in dropped]
    if not kept:
        raise InputError(f"{path}: none of {len(samples)} rows is inside the limits")
    words = [f"{path}: {len(kept)} samples ({levels_in_words([sample for sample, _ in kept])})"]
    if too_long_clips:
        words.append(f"{len(too_long_clips)} with clips over {config.max_audio_seconds:g} s left out")
    if too_long_prompts:
        words.append(f"{len(too_long_prompts)} with prompts over {config.max_prompt_length} tokens left out")
    say("; ".join(words) + describe_clips([sample for sample, _ in kept], encoder.max_audio_seconds))
    return [sample for sample, _ in kept], [length for _, length in kept]


class GRPORun(TrainingRun):
    """A run of stage 2."""

    config: CLSTConfig

    def __init__(self, config: CLSTConfig, checkpoint: Checkpoint, device: torch.device):
        self.rewards = make_rewards(config.rewards, config.max_thought_words)
        family = load_family(checkpoint)
        if config.engine == "vllm" and not family.vllm_reload:
            raise InputError(f"engine vllm: new weights of {family.name} do not reach a running vLLM; set engine hf")
        engine = config.engine if config.quantization == "none" and family.vllm_reload else "hf"
        self.engine_name = choose_engine("vllm" if config.vllm_server else engine, device)
        super().__init__(config, checkpoint, device)

    @property
    def keeps_waveforms(self) -> bool:
        return self.engine_name == "vllm" and not self.config.vllm_server  # a server gets mel features

    def require_engine(self) -> None:
        """Raise `InputError` where a server is to generate and cannot."""
        if self.config.vllm_server:
            reach_server(self.config, self.checkpoint.full_model, self.compute_dtype)

    @property
    def content(self) -> dict[str, str]:
        return super().content | {f"sha256 of {file}": sha256 for file, sha256 in files_of_rewards(self.rewards).items()}

    def load_samples(self) -> None:
        config = self.config
        if config.attn_implementation == "flex_attention" and self.device.type == "cpu":
            raise InputError("attn_implementation flex_attention has no backward on a CPU; use sdpa")
        self._require_fitting_prompt()

        def load(path: str) -> tuple[list[AudioQASample], list[int]]:
            return load_grpo_samples(path, config.audio_root, self.encoder, config, **self.reading_options)

        samples, self.train_lengths = load(config.train_file)
        self.train = PackedSamples(samples)
        self.valid, self.valid_lengths = load(config.valid_file) if config.valid_file else ([], [])
        self.sequence = SampleSequence(self.train, config.order, config.overlap, config.seed)
        self.sequence.sample_at(0)  # raises now for an order that needs levels
        self._warn_of_one_level()

    def _require_fitting_prompt(self) -> None:
        """Raise `InputError` for a prompt without tags, and for rewards that are 0 for every answer to the prompt."""
        prompt, rewards = self.encoder.prompt, self.config.rewards
        if not prompt.asks_for_tags:
            raise InputError(f"prompt {self.config.prompt!r} asks for no tags; GRPO needs one that does, such as selective")
        if useless := sorted(rewards.keys() & (OF_NO_THOUGHT if prompt.asks_for_thought else OF_A_THOUGHT)):
            asks = "asks for a thought: take format" if prompt.asks_for_thought else "asks for none: take answer_format"
            raise InputError(
                f"rewards {', '.join(useless)}: 0 for every completion, since the prompt {prompt.name!r} {asks}"
            )

    def _warn_of_one_level(self) -> None:
        levels = {sample.level for sample in self.train}
        if len(levels) == 1:
            say(
                f"warning: all {len(self.train)} samples are of the level {levels.pop()}: there is no order from easy to "
                "hard; build_clst.sh grades samples"
            )

    def training_arguments(self) -> GRPOConfig:
        """TRL's settings from the config; creating them initialises torch.distributed and ZeRO-3."""
        config = self.config
        evaluates = bool(self.valid)
        settings = self.shared_arguments(grpo_keys()) | {
            "per_device_eval_batch_size": config.num_generations,  # TRL samples groups there; we answer greedily
            "reward_weights": list(config.rewards.values()),
            "shuffle_dataset": False,
            "router_aux_loss_coef": 0.0,  # the rewards alone decide; and the bridge hands TRL no router's logits
            "metric_for_best_model": "eval_accuracy" if evaluates else None,
            "greater_is_better": True if evaluates else None,
        }
        try:
            arguments = GRPOConfig(**(settings | config.trainer))
        except (TypeError, ValueError) as error:
            raise InputError(f"training settings: {error}") from None
        one_device_per_process(arguments)
        require_schedule(arguments)
        if self.engine_name == "vllm" and not config.vllm_server and self.device.type == "cuda":
            card = torch.cuda.get_device_properties(self.device).total_memory
            require_share(config, self.size, self.compute_dtype.itemsize, card)
        if self.engine_name == "vllm" and config.audio_cache_gib and config.deepspeed:
            raise InputError(
                "audio_cache_gib with engine vllm and deepspeed keeps nothing: clips are encoded in the forward"
            )
        if self.engine_name == "hf" and config.deepspeed and not arguments.ds3_gather_for_generation:
            if config.dynamic_sampling or evaluates:
                raise InputError(
                    "dynamic_sampling and valid_file need ds3_gather_for_generation true: without it all processes have to "
                    "generate equally many completions"
                )
            if config.audio_cache_gib:
                raise InputError(
                    "audio_cache_gib needs ds3_gather_for_generation true: without it all processes have to encode equally "
                    "many clips"
                )
            if config.decoding == "static":
                raise InputError(
                    "decoding static needs ds3_gather_for_generation true: without it the weights move at every token"
                )
        if config.merge_adapter and zero_stage(config.deepspeed) == 3:
            raise InputError(
                f"merge_adapter cannot be used with ZeRO-3 ({config.deepspeed}), whose weights are in parts: leave it false"
            )
        arguments.max_steps = self._count_steps(arguments)
        return arguments

    def decoding_of(self, arguments: GRPOConfig) -> str:
        """`plain` or `static`."""
        moves = zero_stage(self.config.deepspeed) == 3 and not arguments.ds3_gather_for_generation
        return choose_decoding(self.config.decoding, self.device, moves)

    def prompts_per_generation(self, arguments: GRPOConfig) -> int:
        """Prompts per generation, over all processes."""
        assert arguments.generation_batch_size is not None  # computed by GRPOConfig
        return arguments.generation_batch_size // self.config.num_generations

    def _count_steps(self, arguments: GRPOConfig) -> int:
        """Optimiser steps of the run: whole generations, each of whole steps."""
        assert arguments.steps_per_generation is not None  # computed by GRPOConfig
        micro_steps = arguments.steps_per_generation * arguments.num_iterations
        accumulated = arguments.gradient_accumulation_steps
        if micro_steps % accumulated:
            raise InputError(
                f"steps_per_generation {arguments.steps_per_generation} x num_iterations {arguments.num_iterations} is "
                f"not a multiple of gradient_accumulation_steps {accumulated}: a generation would end inside a step"
            )
        steps_per_rollout = micro_steps // accumulated
        if arguments.max_steps > 0:
            if arguments.max_steps % steps_per_rollout:
                raise InputError(
                    f"max_steps {arguments.max_steps} is not a multiple of the {steps_per_rollout} steps per generation"
                )
            return arguments.max_steps
        prompts = self.prompts_per_generation(arguments)
        generations, rest = divmod(self.sequence_length or 0, prompts)
        if not generations:
            raise InputError(f"{self.config.train_file}: {len(self.train)} samples do not fill a step of {prompts} prompts")
        if rest:
            say(f"the last {rest} samples do not fill a step and are left out")
        return generations * steps_per_rollout

    @property
    def sequence_length(self) -> int | None:
        """Samples that the run goes through; None where max_steps determines it."""
        return None if self.config.max_steps > 0 else int(len(self.train) * self.config.num_train_epochs)

    def build_trainer(self, arguments: GRPOConfig, resumed: Path | None) -> AudioGRPOTrainer:
        """The trainer, with its curriculum at the position of the checkpoint `resumed`."""
        config = self.config
        arguments.eval_on_start = bool(self.valid) and not resumed  # what later evaluations are compared with
        cost = self.open_logs(arguments)
        set_seed(config.seed)
        model = self.load_model()
        lora = reference = None
        if config.tuning == "lora":
            lora = make_lora(model, config.lora_rank, config.lora_alpha, config.lora_targets)
        elif config.beta > 0:
            synced = resumed / REFERENCE_FOLDER if resumed else None
            start = find_checkpoint(str(synced)) if synced and synced.exists() else self.checkpoint
            reference = load_thinker(start, self.compute_dtype, "cpu", config.attn_implementation)
            reference.requires_grad_(False)
        trainer = AudioGRPOTrainer(
            config,
            arguments,
            Policy(model, self.checkpoint.full_model, lora, reference),
            self.encoder,
            CurriculumFeed(
                self.sequence,
                self.encoder,
                self.sequence_length,
                config.dataloader_num_workers,
                fork_fresh=self.engine_name == "vllm",  # its threads do not survive a fork
            ),
            self.rewards,
            CompletionsLog(config.run_dir, step_of(resumed)),
            CompletionTables(
                arguments.report_to, config.completion_table_steps, step_of(resumed), config.max_audio_seconds
            ),
            cost,
            (self.valid, self.valid_lengths),
            self.decoding_of(arguments),
            self.compute_dtype if self.engine_name == "vllm" else None,
        )
        trainer.remove_callback(PrinterCallback)  # MetricsLog prints the same in one line
        trainer.add_callback(MetricsLog(config.run_dir, step_of(resumed), SHOWN))
        if self.valid:
            counts = Counter(sample.level for sample in self.valid if sample.level)
            trainer.add_callback(UnlearningWatch(config.run_dir, counts, trainer.feed, config.on_unlearning))
        trainer.add_callback(cost)
        if config.early_stopping_patience:
            trainer.add_callback(EarlyStoppingCallback(config.early_stopping_patience))
        trainer.add_callback(PreemptionCheckpoints(trainer.steps_per_rollout))
        if resumed:
            trainer.resume_feed(resumed)
        return trainer
