"""Connect the project to `trl.GRPOTrainer`; the only file that depends on TRL's internals.

TRL computes advantages, the loss in all its variants, KL, clipping, entropy and their logs. Methods of TRL that would lose
the audio or the curriculum's order are overridden:

| TRL calls                            | we return                                                                      |
|--------------------------------------|--------------------------------------------------------------------------------|
| `get_train_dataloader`               | an empty entry per micro-batch: the curriculum decides its content             |
| `create_scheduler`                   | the schedule, by the curriculum instead of by steps where samples are skipped  |
| `training_step`                      | the loss of the next micro-batch, after a new generation where one is due      |
| `_prepare_inputs`                    | its argument: `training_step` has prepared the micro-batch                     |
| `_tokenize_prompts`                  | the token ids of the groups' prompts, audio placeholders included              |
| `_generate_single_turn`              | the groups' completions, with their log-probabilities at sampling              |
| `_get_per_token_logps_and_entropies` | those of every completion after the prompt and clip of its group               |
| `_compute_loss`                      | as TRL, for the groups of the micro-batch                                      |
| `evaluate`                           | greedy answers to the held-out samples                                         |
| `log`                                | TRL's metrics under the project's names, with throughput and memory            |
| `create_model_card`                  | none: a run's `config.yaml` has more                                           |
| `_send_telemetry`                    | none                                                                           |

With engine vllm its attribute `use_vllm` is set after construction: it then corrects for the engine's log-probabilities.
`tests/test_trl_bridge.py` fails when TRL changes the signature of one of these.
"""

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

import torch
from accelerate import cpu_offload
from accelerate.utils import gather_object
from datasets import Dataset
from peft import LoraConfig, PeftModel
from transformers.integrations.deepspeed import is_deepspeed_zero3_enabled
from trl import GRPOConfig, GRPOTrainer
from trl.models.utils import prepare_deepspeed, unwrap_model_for_generation
from trl.trainer.callbacks import SyncRefModelCallback
from trl.trainer.utils import disable_dropout_in_model

from ..data.encoder import OmniEncoder, collate
from ..model.policy_weights import policy_weights
from ..model.thinker import OmniThinker
from ..training.base import CompleteCheckpoints, FiniteGradients
from .failures import naming_samples
from .rollout import Group
from .rollout_health import clipped_share


@dataclass(frozen=True)
class Policy:
    """The model to train, and its starting point.

    `base_model` is the folder or Hub id of the starting weights, `lora` the adapter to train (None: full tuning),
    `reference` the frozen model for the KL of full tuning with `beta` > 0 (LoRA disables its adapter instead).
    """

    model: OmniThinker
    base_model: str
    lora: LoraConfig | None = None
    reference: OmniThinker | None = None


@dataclass(frozen=True)
class MicroBatch:
    """Whole groups that are trained on together, and their collated prompts (see `collate`)."""

    groups: list[Group]
    prompts: dict[str, torch.Tensor]


class TRLBridge(FiniteGradients, CompleteCheckpoints, GRPOTrainer):
    """`trl.GRPOTrainer` over groups of completions; a subclass generates, scores, logs and evaluates them."""

    def make_generation(self) -> list[Group]:
        """This process's groups for the next generation."""
        raise NotImplementedError

    def score(
        self, model: OmniThinker, micro_batch: MicroBatch, completion_ids: torch.Tensor, completion_mask: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Log-probabilities and entropies of completion tokens, both (completions, tokens)."""
        raise NotImplementedError

    def note_generation(self, groups: list[Group], advantages: list[float]) -> None:
        """Log a generation once TRL has computed its advantages, one per completion."""
        raise NotImplementedError

    def evaluate(self, *_, **__) -> dict[str, float]:
        raise NotImplementedError

    def __init__(
        self,
        arguments: GRPOConfig,
        policy: Policy,
        encoder: OmniEncoder,
        rewards: list[str],
        samples: int,
        valid_samples: int,
        keep_checkpoints: int | None,
        offload_reference: bool,
    ):
        # TRL would build the reference by its architecture's name, which is not a class of transformers.
        beta, sync = arguments.beta, arguments.sync_ref_model
        if policy.lora is None:
            arguments.beta, arguments.sync_ref_model = 0.0, False
        # With LoRA it would use reentrant checkpointing, under which DeepSpeed reduces a weight's gradient twice.
        checkpointing, arguments.gradient_checkpointing_kwargs = arguments.gradient_checkpointing_kwargs, None
        # For a generation of its own, which does not take place, it asks the model for the token of an image.
        config = policy.model.config
        sees_images = hasattr(config, "image_token_id")
        if not sees_images:
            config.image_token_id = config.audio_token_id
        super().__init__(
            base_model=policy.base_model,
            prompt=encoder.prompt,
            keep_checkpoints=keep_checkpoints,
            model=policy.model,
            reward_funcs=[_reward_function(name) for name in rewards],
            args=arguments,
            train_dataset=_empty_rows(samples),
            eval_dataset=_empty_rows(valid_samples) if valid_samples else None,
            processing_class=encoder.processor,
            peft_config=policy.lora,
        )
        if not sees_images:
            del config.image_token_id
        arguments.beta, arguments.sync_ref_model = beta, sync
        arguments.gradient_checkpointing_kwargs = checkpointing
        if isinstance(self.model, PeftModel):
            self.model.peft_config["default"].base_model_name_or_path = policy.base_model
            if getattr(policy.model, "is_loaded_in_4bit", False):  # TRL rounds to bfloat16, which loses small updates
                for parameter in filter(lambda parameter: parameter.requires_grad, self.model.parameters()):
                    parameter.data = parameter.data.float()
        self.beta = beta
        self.ref_model = self._place_reference(policy.reference, offload_reference)
        if self.ref_model is not None and sync:
            self.add_callback(SyncRefModelCallback(ref_model=self.ref_model, accelerator=self.accelerator))
        self.eos_token_ids = list(encoder.end_ids)
        self._generation: list[dict] = []  # one entry per micro-batch
        self._current: list[MicroBatch] = []  # those that TRL computes on now

    def _place_reference(self, reference: OmniThinker | None, offload: bool) -> OmniThinker | None:
        """The reference in CPU memory (`offload`), or sharded or placed by the run's backend; None without one."""
        if reference is None:
            return None
        if self.args.disable_dropout:
            disable_dropout_in_model(reference)
        if self.is_deepspeed_enabled:
            return prepare_deepspeed(reference, self.accelerator)
        if offload:
            return cpu_offload(reference, execution_device=self.accelerator.device)
        return self.accelerator.prepare_model(reference, evaluation_mode=True)

    # The curriculum replaces TRL's loader and sampler.

    def get_train_dataloader(self):
        count = self.args.max_steps * self.args.gradient_accumulation_steps
        return torch.utils.data.DataLoader(range(count), batch_size=1, collate_fn=list)

    @property
    def steps_per_rollout(self) -> int:
        """Optimiser steps per generation; checkpoints are saved between generations."""
        return self.args.steps_per_generation * self.num_iterations // self.args.gradient_accumulation_steps

    def training_step(self, model, inputs, num_items_in_batch=None):
        start = self.clock()
        model.train()  # so that TRL logs a generation under training
        inputs = self._next_micro_batch()
        prepared = self.clock()
        self._current_train_step_time += prepared - start  # included in the time that TRL logs for a step
        with naming_samples("update", inputs["micro_batch"].groups):
            loss = super().training_step(model, inputs, num_items_in_batch)
        self.add_metrics({"time/update": self.clock() - prepared})
        return loss

    def _prepare_inputs(self, generation_batch):
        return generation_batch

    def _next_micro_batch(self) -> dict:
        """The next micro-batch: whole groups, in the curriculum's order."""
        if self._step % (self.args.steps_per_generation * self.num_iterations) == 0:
            self._generation = self._generate_and_score()
        return self._generation[self._step % self.args.steps_per_generation]

    def _generate_and_score(self) -> list[dict]:
        """A new generation with TRL's advantages, one entry per micro-batch."""
        start = self.clock()
        groups = self.make_generation()
        rolled_out = self.clock()
        assert self.num_generations is not None  # set by GRPOConfig
        size = self.args.per_device_train_batch_size // self.num_generations
        parts = [groups[first : first + size] for first in range(0, len(groups), size)]
        micro_batches = [MicroBatch(part, self._collated(part)) for part in parts]
        rows = [{"prompt": group.place.sample.id, "earned": rewards} for group in groups for rewards in group.rewards]
        with naming_samples("scoring", groups), self.computing_on(micro_batches):
            scored = self._generate_and_score_completions(rows)
        self.note_generation(groups, scored["advantages"].tolist())
        if "importance_sampling_ratio" in scored:
            self.add_metrics({"sampling/clipped_share": self._clipped_share(scored)})
        self.add_metrics({"time/rollout": rolled_out - start, "time/score": self.clock() - rolled_out})
        return [
            {name: value[self._rows(number)] if value.ndim else value for name, value in scored.items()}
            | {"micro_batch": micro_batch}
            for number, micro_batch in enumerate(micro_batches)
        ]

    def _clipped_share(self, scored: dict[str, torch.Tensor]) -> float:
        def mean(values: torch.Tensor, weights: torch.Tensor) -> float:
            sums = self.accelerator.reduce(torch.stack([(values * weights).sum(), weights.sum()]))
            return (sums[0] / sums[1].clamp(min=1.0)).item()

        bounds = self.vllm_importance_sampling_clip_min, self.vllm_importance_sampling_clip_max
        return clipped_share(scored["importance_sampling_ratio"], scored["completion_mask"], *bounds, mean)

    def _rows(self, micro_batch: int) -> slice:
        size = self.args.per_device_train_batch_size
        return slice(micro_batch * size, (micro_batch + 1) * size)

    def _collated(self, groups: list[Group]) -> dict[str, torch.Tensor]:
        return collate([group.place.example for group in groups], self._tokenizer.pad_token_id, "left")

    # TRL's methods pass token ids only; `_current` has the groups that they belong to.

    @contextmanager
    def computing_on(self, micro_batches: list[MicroBatch]) -> Iterator[None]:
        """Set the micro-batches that TRL's token ids belong to, in their order, while it computes."""
        self._current = micro_batches
        try:
            yield
        finally:
            self._current = []

    def _tokenize_prompts(self, prompts):
        groups = [group for micro_batch in self._current for group in micro_batch.groups]
        return [group.place.example.input_ids for group in groups for _ in group.completions], None, {}

    def _generate_single_turn(self, prompt_ids, images, multimodal_fields, num_generations, has_tool_images=False):
        groups = [group for micro_batch in self._current for group in micro_batch.groups]
        completions = [completion for group in groups for completion in group.completions]
        return [list(c.token_ids) for c in completions], [list(c.log_probs) for c in completions]

    def _get_per_token_logps_and_entropies(
        self, model, input_ids, attention_mask, logits_to_keep, batch_size=None, compute_entropy=False, **_
    ):
        """Log-probabilities and entropies (completions, tokens), computed by micro-batch; and no auxiliary loss."""
        completion_ids, completion_mask = input_ids[:, -logits_to_keep:], attention_mask[:, -logits_to_keep:]
        parts = [
            self.score(model, micro_batch, completion_ids[self._rows(number)], completion_mask[self._rows(number)])
            for number, micro_batch in enumerate(self._current)
        ]
        log_probs, entropies = (torch.cat(tensors) for tensors in zip(*parts, strict=True))
        return log_probs, entropies if compute_entropy else None, None

    def _compute_loss(self, model, inputs):
        with self.computing_on([inputs["micro_batch"]]):
            return super()._compute_loss(model, inputs)

    # The policy, for generation.

    @contextmanager
    def generating_policy(self) -> Iterator[OmniThinker]:
        """The current policy, gathered on every process where the settings say so, without dropout or checkpointing."""
        training = self.model.training
        self.model.eval()
        with unwrap_model_for_generation(
            self.model_wrapped,
            self.accelerator,
            gather_deepspeed3_params=self.args.ds3_gather_for_generation,
            gradient_checkpointing_kwargs=self.args.gradient_checkpointing_kwargs,
        ) as model:
            model.eval()
            with self.accelerator.autocast() if self.accelerator.mixed_precision != "no" else nullcontext():
                yield model
        self.model.train(training)

    def policy_weights(self) -> Iterator[tuple[str, torch.Tensor]]:
        """The policy's weights as a plain model has them; all processes have to go through them."""
        return policy_weights(self.accelerator.unwrap_model(self.model), self.are_weights_partitioned)

    def corrects_other_engine(self) -> None:
        """Completions come with another engine's log-probabilities: TRL's importance sampling makes up for them."""
        self.use_vllm = True

    @property
    def are_weights_partitioned(self) -> bool:
        return is_deepspeed_zero3_enabled()

    @property
    def is_policy_sharded(self) -> bool:
        """True where every forward of a rollout gathers weights, so that all processes have to do equally many."""
        is_gathered = self.args.ds3_gather_for_generation or self.args.world_size == 1
        return is_deepspeed_zero3_enabled() and not is_gathered

    # Logs.

    def add_metrics(self, metrics: dict[str, float]) -> None:
        """Add metrics, which are averaged over the steps until the next log."""
        for name, value in metrics.items():
            self._metrics["train"][name].append(value)

    def clock(self) -> float:
        """Seconds, after all pending work of the device."""
        if self.accelerator.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        renamed = {_our_name(name): values for name, values in self._metrics["train"].items()}
        self._metrics["train"] = defaultdict(list, {name: values for name, values in renamed.items() if name})
        super().log(logs, start_time)

    def create_model_card(self, *_, **__) -> None: ...

    def _send_telemetry(self) -> None: ...


def union_of_processes(mapping: dict) -> dict:
    """The union of the mappings of all processes."""
    return {key: value for part in gather_object([mapping]) for key, value in part.items()}


def _empty_rows(count: int) -> Dataset:
    return Dataset.from_dict({"prompt": [""] * count})


def _reward_function(name: str):
    """A reward function for TRL that returns the rewards computed when the group was generated."""

    def reward(prompts, completions, completion_ids, earned, **_):
        return [row[name] for row in earned]

    reward.__name__ = name
    return reward


def _our_name(name: str) -> str | None:
    """The project's name of a metric of TRL; None for one that is not logged."""
    kind, _, rest = name.partition("/")
    if kind == "rewards":
        reward, _, statistic = rest.partition("/")
        return f"reward/{reward}" if statistic == "mean" else None
    return name
