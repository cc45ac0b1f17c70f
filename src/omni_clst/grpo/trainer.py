"""`trl.GRPOTrainer` that hears: audio in rollout, policy and reference, the curriculum's order, whole checkpoints.

TRL keeps what it does well: advantages, the loss in all its variants, KL, clipping, entropy, their logs. This subclass
replaces what loses the audio or the order there: where prompts come from, how completions are made, and how their
log-probabilities are computed.
"""

import time
from collections import defaultdict
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path

import torch
from accelerate.utils import gather_object
from datasets import Dataset
from peft import LoraConfig
from transformers import TrainerCallback
from transformers.integrations.deepspeed import is_deepspeed_zero3_enabled
from trl import GRPOTrainer
from trl.models.utils import unwrap_model_for_generation
from trl.trainer.callbacks import SyncRefModelCallback

from ..data.encoder import OmniEncoder, collate
from ..data.samples import AudioQASample
from ..files import read_json, write_json
from ..model.checkpoints import load_config, save_omni
from ..model.engine import Completion, HFEngine, placeholder_ids
from ..model.sampling import Sampling
from ..model.thinker import OmniThinker
from ..training.base import FiniteSteps, WholeCheckpoints
from .boundaries import GenerationBoundaries
from .completions_log import Journal, level_metrics
from .curriculum_feed import CurriculumFeed, Draw
from .encodings import EncodingCache
from .evaluation import answer_greedily
from .failures import naming
from .reference import place_reference
from .rollout import Group, Rollouts, Slots
from .schedule import CurriculumProgress
from .trl_names import our_name, reward_function

CURSOR_FILE = "curriculum.json"  # beside the weights: how far the curriculum was
REFERENCE_FOLDER = "reference"  # and, with sync_ref_model, the reference as it is by then


class AudioGRPOTrainer(FiniteSteps, WholeCheckpoints, GRPOTrainer):
    """GRPO over audio questions in the order of a curriculum.

    `feed` hands out the samples, `reference` is the frozen model of a full fine-tuning with `beta` > 0 (LoRA switches its
    adapter off instead) and may stay off the device, `encodings` keeps those of clips from step to step, `rewards` are
    names and weights. A generation is made by `Rollouts`, scored by TRL, and taken apart into micro-batches of whole
    groups, in order.
    """

    def __init__(
        self,
        model: OmniThinker,
        args,
        encoder: OmniEncoder,
        feed: CurriculumFeed,
        rewards: dict[str, float],
        journal: Journal,
        valid: list[AudioQASample] | None = None,
        eval_batch_size: int = 16,
        peft_config: LoraConfig | None = None,
        reference: OmniThinker | None = None,
        offload_reference: bool = False,
        encodings: EncodingCache | None = None,
        redraws: int = 0,
        rows_per_forward: int | None = None,
        rows_per_rollout: int | None = None,
        callbacks: list[TrainerCallback] = (),
    ):
        self.encoder = encoder
        self.feed = feed
        self.rewards = rewards
        self.journal = journal
        self.encodings = encodings
        self.valid = valid
        self.eval_batch_size = eval_batch_size
        self.rows_per_forward = rows_per_forward
        self.rows_per_rollout = rows_per_rollout
        self.sampling = Sampling(
            args.max_completion_length, args.temperature, args.top_p, args.top_k, args.min_p or 0.0, args.seed
        )
        self.suppressed = placeholder_ids(model)
        self.groups: list[Group] = []  # whose rows the next log-probabilities are of
        # TRL would build the reference by its architecture's name, which names no class of transformers.
        beta, sync = args.beta, args.sync_ref_model
        if peft_config is None:
            args.beta, args.sync_ref_model = 0.0, False
        checkpointing, args.gradient_checkpointing_kwargs = args.gradient_checkpointing_kwargs, None
        super().__init__(
            model=model,
            reward_funcs=[reward_function(name) for name in rewards],
            args=args,
            train_dataset=Dataset.from_dict({"prompt": [""] * len(feed.sequence.samples)}),
            eval_dataset=Dataset.from_dict({"prompt": [""] * len(valid)}) if valid else None,
            processing_class=encoder.processor,
            callbacks=list(callbacks),
            peft_config=peft_config,
        )
        args.beta, args.sync_ref_model = beta, sync
        args.gradient_checkpointing_kwargs = checkpointing
        self.beta = beta
        self.ref_model = place_reference(reference, args, self.accelerator, offload_reference)
        if self.ref_model is not None and args.sync_ref_model:
            self.add_callback(SyncRefModelCallback(ref_model=self.ref_model, accelerator=self.accelerator))
        self.eos_token_ids = [encoder.end_of_turn_id, encoder.tokenizer.convert_tokens_to_ids("<|endoftext|>")]
        prompts = args.per_device_train_batch_size // args.num_generations
        self.rollouts = Rollouts(
            feed=feed,
            slots=Slots(args.steps_per_generation, args.world_size, prompts),
            rank=args.process_index,
            weights=rewards,
            complete=self._complete,
            share=_union,
            redraws=redraws,
            seed=args.seed,
        )
        self.add_callback(GenerationBoundaries(self))
        self._generated_at_step = -1
        self.progress = CurriculumProgress(feed, self.rollouts.slots.total)

    # The order: TRL's loader and sampler are replaced by the feed.

    def get_train_dataloader(self):
        """One empty entry per micro-batch: which samples it is made of, the feed decides."""
        count = self.args.max_steps * self.args.gradient_accumulation_steps
        return torch.utils.data.DataLoader(range(count), batch_size=1, collate_fn=list)

    @property
    def steps_a_generation(self) -> int:
        """Optimiser steps from one generation to the next; checkpoints fall on their borders."""
        return self.args.steps_per_generation * self.num_iterations // self.args.gradient_accumulation_steps

    def create_scheduler(self, num_training_steps: int, optimizer=None):
        """With dynamic sampling, which uses up samples, the schedule goes by the curriculum instead of by steps."""
        scheduler = super().create_scheduler(num_training_steps, optimizer)
        if self.rollouts.redraws and self.feed.length is not None:
            self.progress.lead(scheduler, num_training_steps, self.steps_a_generation)
        return scheduler

    def _prepare_inputs(self, _):
        """The next micro-batch: whole groups, in the order in which the curriculum has them."""
        if self._step % (self.args.steps_per_generation * self.num_iterations) == 0:
            self._buffered_inputs = self._make_generation()
        return self._buffered_inputs[self._step % self.args.steps_per_generation]

    def _make_generation(self) -> list[dict]:
        start = time.perf_counter()
        with self.progress.generation():
            self.groups, counts = self.rollouts.next_generation()
        rollout_end = self._clock()
        rows = [{"prompt": group.draw.sample.id, "earned": earned} for group in self.groups for earned in group.rewards]
        with naming("scoring", self.groups):
            batch = self._generate_and_score_completions(rows)
        self._generated_at_step = self.state.global_step
        rows = gather_object(self.journal.rows(self.groups, batch["advantages"].tolist(), self.state.global_step + 1))
        self.journal.append(rows)
        figures = counts | level_metrics(rows)
        figures["advantage/abs_mean"] = sum(abs(row["advantage"]) for row in rows) / len(rows)
        figures["curriculum/epoch"] = self.feed.cursor / len(self.feed.sequence.samples)
        for name, value in figures.items():
            self._metrics["train"][name].append(value)
        self.feed.expect(self.rollouts.next_places())
        self._metrics["train"]["time/rollout"].append(rollout_end - start)
        self._metrics["train"]["time/score"].append(self._clock() - rollout_end)
        return self._micro_batches(batch)

    def _micro_batches(self, batch: dict) -> list[dict]:
        size = self.args.per_device_train_batch_size
        prompts = size // self.num_generations
        found = []
        for number in range(self.args.steps_per_generation):
            rows = slice(number * size, (number + 1) * size)
            part = {name: value[rows] if value.ndim else value for name, value in batch.items()}
            found.append(part | {"groups": self.groups[number * prompts : (number + 1) * prompts]})
        return found

    # The rollout: our engine in place of TRL's generation, which knows no audio.

    def _complete(self, draws: list[Draw], seeds: list[int]) -> tuple[list[Draw], list[list[Completion]]]:
        """The draws with their clips encoded, which are scored as well, and the completions of each."""
        if self.encodings:
            draws = self.encodings.encoded(draws, self.accelerator.device)
        with naming("rollout", draws), self.engine(self.sampling) as engine:
            examples = engine.encode_clips([draw.example for draw in draws])
            draws = [replace(draw, example=example) for draw, example in zip(draws, examples, strict=True)]
            written = engine.generate(examples, seeds, self.num_generations)
        if self.encodings:
            self.encodings.keep(draws)
        return draws, written

    @contextmanager
    def engine(self, sampling: Sampling):
        """The policy as it is now, ready to write; whole on every process, without dropout or checkpointing."""
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
                more = {"prefill_tokens": None, "anyone_writes": self._anyone_writes} if self._weights_in_pieces else {}
                yield HFEngine(model, self.encoder, sampling, self.rows_per_rollout, **more)
        self.model.train(training)

    @property
    def _weights_in_pieces(self) -> bool:
        """True where every forward of a rollout gathers weights, so that all processes have to take as many."""
        gathered = self.args.ds3_gather_for_generation or self.args.world_size == 1
        return is_deepspeed_zero3_enabled() and not gathered

    def _anyone_writes(self, here: bool) -> bool:
        """Whether another token is to be written on any process."""
        return bool(self.accelerator.reduce(torch.tensor(float(here), device=self.accelerator.device)).item())

    def _tokenize_prompts(self, prompts):
        """TRL asks for the prompts' tokens: the groups have them, one group after the other."""
        return [group.draw.example.input_ids for group in self.groups for _ in group.completions], None, {}

    def _generate_single_turn(self, prompt_ids, *_, **__):
        """TRL asks for completions: the groups have them, with the log-probabilities that they were drawn with."""
        done = [completion for group in self.groups for completion in group.completions]
        return [list(c.token_ids) for c in done], [list(c.log_probs) for c in done]

    # Log-probabilities: every row behind the prompt and the clip of its own group.

    def _get_per_token_logps_and_entropies(
        self, model, input_ids, attention_mask, logits_to_keep, batch_size=None, compute_entropy=False, **_
    ):
        """As TRL's, for `self.groups`: log-probabilities and entropies (rows, completion tokens), no auxiliary loss."""
        completion_ids, completion_mask = input_ids[:, -logits_to_keep:], attention_mask[:, -logits_to_keep:]
        copies = self.num_generations
        groups_at_once = (batch_size or len(input_ids)) // copies
        scores = []
        for start in range(0, len(self.groups), groups_at_once):
            groups = self.groups[start : start + groups_at_once]
            rows = slice(start * copies, (start + len(groups)) * copies)
            prompts = collate([group.draw.example for group in groups], self._tokenizer.pad_token_id, "left")
            with self.accelerator.autocast():
                scores.append(
                    model(
                        **{name: tensor.to(input_ids.device) for name, tensor in prompts.items()},
                        completion_ids=completion_ids[rows],
                        completion_mask=completion_mask[rows],
                        sampling=self.sampling,
                        suppressed=self.suppressed,
                        rows_at_once=self.rows_per_forward,
                    )
                )
        log_probs = torch.cat([score.log_probs for score in scores])
        if torch.is_grad_enabled() and self.state.global_step == self._generated_at_step:
            self._note_sampling_difference(log_probs.detach(), completion_mask)
        return log_probs, torch.cat([score.entropies for score in scores]) if compute_entropy else None, None

    def _note_sampling_difference(self, log_probs: torch.Tensor, completion_mask: torch.Tensor) -> None:
        """Log how far the policy is from the log-probabilities that its tokens were drawn with, before any update."""
        drawn = torch.zeros_like(log_probs)
        completions = [completion for group in self.groups for completion in group.completions]
        for row, completion in enumerate(completions):
            drawn[row, : completion.tokens] = torch.tensor(completion.log_probs)
        apart = ((log_probs - drawn).abs() * completion_mask).max()
        self._metrics["train"]["sampling/logp_difference"].append(self.accelerator.gather(apart).max().item())

    def _compute_loss(self, model, inputs):
        self.groups = inputs["groups"]
        return super()._compute_loss(model, inputs)

    def training_step(self, model, inputs, num_items_in_batch=None):
        start, rollouts_before = time.perf_counter(), self._seconds_of_rollouts()
        with naming("update", self.groups):
            loss = super().training_step(model, inputs, num_items_in_batch)
        seconds = self._clock() - start - (self._seconds_of_rollouts() - rollouts_before)
        self._metrics["train"]["time/update"].append(seconds)
        return loss

    def _seconds_of_rollouts(self) -> float:
        found = self._metrics["train"]
        return sum(found["time/rollout"]) + sum(found["time/score"])

    def _clock(self) -> float:
        """Seconds, after the device has done what it was given."""
        if self.accelerator.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    # Evaluation: greedy answers to the held-out slice, scored as the benchmarks are.

    def evaluate(self, *_, **__) -> dict[str, float]:
        self.model.eval()
        with self.engine(Sampling(self.args.max_completion_length)) as engine:
            rows = answer_greedily(
                engine,
                self.valid,
                [self.encoder.length(sample) for sample in self.valid],
                self.eval_batch_size,
                self.args.dataloader_num_workers,
            )
        metrics = {f"eval_{name}": value for name, value in level_metrics(gather_object(rows)).items()}
        self.log(dict(metrics))
        self.model.train()
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """TRL's logs under the project's names, with throughput and memory."""
        if self.model.training:
            for name, value in self.journal.throughput().items():
                self._metrics["train"][name].append(value)
            renamed = {our_name(name): values for name, values in self._metrics["train"].items()}
            self._metrics["train"] = defaultdict(list, {name: values for name, values in renamed.items() if name})
        super().log(logs, start_time)

    # Checkpoints: the cursor of the curriculum goes with the weights, and so does a reference that follows the policy.

    def _save_with_all(self, folder: Path) -> None:
        if self.ref_model is None or not self.args.sync_ref_model:
            return
        weights = self.accelerator.get_state_dict(self.ref_model)
        if self.args.should_save:
            save_omni(folder / REFERENCE_FOLDER, weights, load_config(self.base_model), self.base_model)

    def _write_beside_weights(self, folder: Path) -> None:
        super()._write_beside_weights(folder)
        write_json(folder / CURSOR_FILE, self.feed.state_dict())

    def resume_feed(self, checkpoint: Path) -> None:
        """Set the curriculum where a checkpoint left it."""
        self.feed.load_state_dict(read_json(checkpoint / CURSOR_FILE))
        self.progress.start_here()

    def create_model_card(self, *_, **__) -> None:
        """TRL writes a card into the run directory; the run's `config.yaml` says more."""

    def _send_telemetry(self) -> None:
        """TRL reports runs to its makers; these do not."""


def _union(mapping: dict) -> dict:
    """The mappings of all processes in one."""
    return {key: value for part in gather_object([mapping]) for key, value in part.items()}
