"""Train with GRPO on audio questions in the order of a curriculum: rollout, log-probabilities, evaluation, checkpoints.

The loss and the training loop are TRL's; `trl_bridge.py` connects to it.
"""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path

import torch
from accelerate.utils import gather_object
from trl import GRPOConfig

from ..data.encoder import OmniEncoder
from ..data.samples import AudioQASample
from ..files import read_json, write_json
from ..method.rewards import Reward
from ..model.checkpoints import load_model_config, save_omni
from ..model.engine import Completion, Engine, HFEngine, placeholder_ids
from ..model.merged_adapter import adapter_merged
from ..model.sampling import Sampling
from ..model.thinker import OmniThinker
from ..training.cost import RunCost, Work
from .boundaries import GenerationBoundaries
from .completions_log import CompletionsLog, level_metrics, work_of
from .config import CLSTConfig
from .curriculum_feed import CurriculumFeed, PlacedSample
from .encodings import EncodingCache
from .evaluation import answer_greedily
from .failures import naming_samples
from .rollout import Group, Rollouts, Slots
from .rollout_health import agreement, agreement_sums, require_agreement
from .schedule import CurriculumProgress
from .trackers import CompletionTables
from .trl_bridge import MicroBatch, Policy, TRLBridge, union_of_processes
from .vllm_rollout import RolloutVLLM, start_vllm

CURSOR_FILE = "curriculum.json"  # in a checkpoint: the position in the curriculum
REFERENCE_FOLDER = "reference"  # in a checkpoint, with sync_ref_model: the reference model


class AudioGRPOTrainer(TRLBridge):
    """GRPO (arXiv 2402.03300) over the samples of `feed`; completions are logged to `completions_log`.

    `Rollouts` generates completions, TRL computes their advantages, and training goes through them in micro-batches of
    whole groups, in order.
    """

    def __init__(
        self,
        config: CLSTConfig,
        arguments: GRPOConfig,
        policy: Policy,
        encoder: OmniEncoder,
        feed: CurriculumFeed,
        rewards: dict[str, Reward],
        completions_log: CompletionsLog,
        tables: CompletionTables,
        cost: RunCost,
        valid: tuple[list[AudioQASample], list[int]],
        decoding: str,
        vllm_dtype: torch.dtype | None = None,
    ):
        super().__init__(
            arguments,
            policy,
            encoder,
            list(rewards),
            len(feed.sequence.samples),
            len(valid[0]),
            config.save_total_limit,
            config.offload_reference,
        )
        self.config = config
        self.encoder = encoder
        self.feed = feed
        self.completions_log = completions_log
        self.valid, self.valid_lengths = valid  # held-out samples, and their prompts in tokens
        self.decoding = decoding
        self.tables = tables
        self.cost = cost
        self._uncounted = Work()  # of this process since its last generation
        self.encodings = EncodingCache(int(config.audio_cache_gib * 2**30)) if config.audio_cache_gib else None
        self.sampling = Sampling(
            config.max_completion_length,
            config.temperature,
            config.top_p,
            config.top_k,
            arguments.min_p or 0.0,
            config.seed,
        )
        self.suppressed = placeholder_ids(policy.model)
        prompts = arguments.per_device_train_batch_size // config.num_generations
        slots = Slots(arguments.steps_per_generation, arguments.world_size, prompts)
        self.rollouts = Rollouts(
            feed=feed,
            slots=slots,
            rank=arguments.process_index,
            rewards=rewards,
            weights=dict(zip(rewards, config.rewards.values(), strict=True)),
            complete=self._complete,
            share=union_of_processes,
            redraws=config.max_redraws if config.dynamic_sampling else 0,
            seed=config.seed,
        )
        self.progress = CurriculumProgress(feed, slots.total)
        self.add_callback(GenerationBoundaries(feed, slots.total, self.steps_per_rollout, bool(valid[0])))
        self._generated_at_step = -1
        self.vllm: RolloutVLLM | None = None
        if vllm_dtype:
            device = self.accelerator.device
            self.vllm = start_vllm(config, policy.base_model, encoder, vllm_dtype, device, self.policy_weights)
            self.corrects_other_engine()

    def create_scheduler(self, num_training_steps: int, optimizer=None):
        """With dynamic sampling, which uses up samples, the schedule follows the curriculum instead of the steps."""
        scheduler = super().create_scheduler(num_training_steps, optimizer)
        if self.rollouts.redraws and self.feed.length is not None:
            self.progress.control(scheduler, num_training_steps, self.steps_per_rollout)
        return scheduler

    # The rollout: groups of completions for the next samples of the curriculum.

    def make_generation(self) -> list[Group]:
        with self.progress.generation():
            groups, counts = self.rollouts.next_generation()
        self.add_metrics(counts)
        return groups

    def _complete(self, places: list[PlacedSample], seeds: list[int]) -> tuple[list[PlacedSample], list[list[Completion]]]:
        """The samples with their clips encoded (scoring uses the encodings too), and the completions of each."""
        if self.encodings:
            places = self.encodings.encoded(places, self.accelerator.device)
        with naming_samples("rollout", places), self.engine(self.sampling) as engine:
            places = self._encode_clips(places, engine)
            completions = engine.generate([place.example for place in places], seeds, self.num_generations)
        if self.encodings:
            self.encodings.keep(places)
        self._uncounted += work_of(places, completions)
        return places, completions

    def _encode_clips(self, places: list[PlacedSample], engine: Engine) -> list[PlacedSample]:
        if isinstance(engine, HFEngine):
            examples = engine.encode_clips([place.example for place in places])
        elif self.are_weights_partitioned:  # a forward is one of all processes, which hold different numbers of clips
            return places
        else:
            with self.generating_policy() as model:
                examples = self._hf_engine(model, self.sampling).encode_clips([place.example for place in places])
        return [replace(place, example=example) for place, example in zip(places, examples, strict=True)]

    @contextmanager
    def engine(self, sampling: Sampling) -> Iterator[Engine]:
        """An engine that generates with the policy as it is now."""
        if self.vllm is not None:
            with self.vllm.at_step(self.state.global_step, sampling) as engine:
                yield engine
            return
        with self.generating_policy() as model, adapter_merged(model) if self.config.merge_adapter else nullcontext():
            yield self._hf_engine(model, sampling)

    def _hf_engine(self, model: OmniThinker, sampling: Sampling) -> HFEngine:
        pieces = {"prefill_tokens": None, "anyone_generates": self._anyone_generates}
        more = pieces if self.is_policy_sharded else {}
        at_once = self.config.completions_per_rollout
        return HFEngine(model, self.encoder, sampling, at_once, decoding=self.decoding, **more)

    def _anyone_generates(self, is_unfinished: bool) -> bool:
        """Whether any process has unfinished completions."""
        flag = torch.tensor(float(is_unfinished), device=self.accelerator.device)
        return bool(self.accelerator.reduce(flag).item())

    def note_generation(self, groups: list[Group], advantages: list[float]) -> None:
        """Write `completions.jsonl`, log the generation's metrics and start decoding the next generation's clips."""
        self._generated_at_step = self.state.global_step
        self._count_work()
        rows = gather_object(self.completions_log.rows(groups, advantages, self.state.global_step + 1))
        self.completions_log.append(rows)
        self.tables.note(rows, self.state.global_step + 1, self.feed.sequence.sample_at, self.callback_handler.callbacks)
        self.add_metrics(level_metrics(rows))
        self.add_metrics({"completions/empty_share": sum(not row["completion"].strip() for row in rows) / len(rows)})
        self.add_metrics({"advantage/abs_mean": sum(abs(row["advantage"]) for row in rows) / len(rows)})
        self.add_metrics({"curriculum/epoch": self.feed.cursor / len(self.feed.sequence.samples)})
        self.feed.prefetch(self.rollouts.next_positions())

    def _count_work(self) -> None:
        for work in gather_object([self._uncounted]):
            self.cost.add(work)
        self._uncounted = Work()

    # Log-probabilities: every completion after the prompt and the clip of its group.

    def score(
        self, model: OmniThinker, micro_batch: MicroBatch, completion_ids: torch.Tensor, completion_mask: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        with self.accelerator.autocast():
            scores = model(
                **{name: tensor.to(completion_ids.device) for name, tensor in micro_batch.prompts.items()},
                completion_ids=completion_ids,
                completion_mask=completion_mask,
                sampling=self.sampling,
                suppressed=self.suppressed,
                completions_at_once=self.config.completions_per_forward,
            )
        if torch.is_grad_enabled() and self.state.global_step == self._generated_at_step:
            self._note_sampling_difference(micro_batch, scores.log_probs.detach(), completion_mask)
        return scores.log_probs, scores.entropies

    def _note_sampling_difference(self, micro_batch: MicroBatch, log_probs: torch.Tensor, mask: torch.Tensor) -> None:
        """Log the largest difference to the log-probabilities at sampling; without an update in between it is small."""
        sampled = torch.zeros_like(log_probs)
        completions = [completion for group in micro_batch.groups for completion in group.completions]
        for row, completion in enumerate(completions):
            sampled[row, : completion.tokens] = torch.tensor(completion.log_probs)
        difference = ((log_probs - sampled).abs() * mask).max()
        self.add_metrics({"sampling/logp_difference": self.accelerator.gather(difference).max().item()})
        figures = agreement(self.accelerator.reduce(agreement_sums(sampled, log_probs, mask)))
        self.add_metrics(figures)
        generator = self.decoding if self.vllm is None else "vllm"
        require_agreement(figures, self.config.max_logp_drift, self.state.global_step + 1, generator)

    # Evaluation: greedy answers to the held-out samples, scored as the benchmarks are.

    def evaluate(self, *_, **__) -> dict[str, float]:
        self.model.eval()
        with self.engine(Sampling(self.args.max_completion_length)) as engine:
            rows = answer_greedily(
                engine,
                self.valid,
                self.valid_lengths,
                self.config.per_device_eval_batch_size,
                self.args.dataloader_num_workers,
            )
        metrics = {f"eval_{name}": value for name, value in level_metrics(gather_object(rows)).items()}
        self.log(dict(metrics))
        self.model.train()
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        if self.model.training:
            self.add_metrics(self.completions_log.throughput())
        super().log(logs, start_time)

    # Checkpoints: with the weights, the cursor of the curriculum and a reference that is synced with the policy.

    def _save_collectively(self, folder: Path) -> None:
        if self.ref_model is None or not self.args.sync_ref_model:
            return
        weights = self.accelerator.get_state_dict(self.ref_model)
        if self.args.should_save:
            save_omni(folder / REFERENCE_FOLDER, weights, load_model_config(self.base_model), self.base_model)

    def _write_extra_files(self, folder: Path) -> None:
        super()._write_extra_files(folder)
        write_json(folder / CURSOR_FILE, self.feed.state_dict())

    def resume_feed(self, checkpoint: Path) -> None:
        """Set the curriculum to a checkpoint's position."""
        self.feed.load_state_dict(read_json(checkpoint / CURSOR_FILE))
        self.progress.reset()
