"""Estimate the hours of a run from its settings, the model's size and a card's datasheet.

No rate was measured on a GPU: all that is assumed is defined here, and `assumptions` says it. Computing takes the
operations of the matrix products over a share of the card's peak; decoding takes a step per token, bound by reading weights
and cache or by launching kernels; ZeRO-3 sends the weights over the link between the cards.
"""

from dataclasses import replace

from .cards import Card
from .workload import (
    Workload,
    gathers_for_generation,
    is_grpo,
    is_sharded,
    rows_per_generation,
    scores_before_training,
    steps_per_generation,
)

PEAK_SHARE = 0.35  # of a card's TFLOP/s that training and prefill reach
BANDWIDTH_SHARE = 0.6  # of the memory's and the link's GB/s
HOST_GBS = 20  # from CPU memory to a card
HF_STEP_SECONDS = 0.035  # at least, to decode one token of a batch with engine hf and plain decoding: launching kernels
STATIC_STEP_SECONDS = 0.012  # the same with static decoding: 1,300 to 2,500 small kernels one after the other
VLLM_STEP_SECONDS = 0.005  # the same with vLLM
VLLM_WAKE_SECONDS = 1.0  # per generation: waking, and taking the policy's weights
COMPLETION_TOKENS = 100  # on average, thoughts and empty thoughts together
LONGEST_TOKENS = 200  # of the longest completion in a batch, for which the others wait
POSITIONS_PER_SECOND = 50  # in the audio tower of Qwen2.5-Omni, which pools two to an audio token


def assumptions(card: Card) -> list[str]:
    """What the hours assume, one line each."""
    return [
        f"{card.name}: {card.tflops:g} TFLOP/s dense bfloat16, memory {card.memory_gbs:g} GB/s, link {card.link_gbs:g} "
        "GB/s each direction (datasheet)",
        f"training and prefill reach {PEAK_SHARE:.0%} of the TFLOP/s; memory and link {BANDWIDTH_SHARE:.0%} of the GB/s",
        "operations per token, P the language model without its embedding: 2 P forward, 4 P backward (LoRA 2 P), "
        "2 P for gradient checkpointing, 2 P for the reference, 2 P of the audio tower per position (2 per audio token)",
        f"one decoding step: reading weights and cache, at least {1000 * STATIC_STEP_SECONDS:g} ms with engine hf "
        f"({1000 * HF_STEP_SECONDS:g} ms with decoding plain), {1000 * VLLM_STEP_SECONDS:g} ms with vllm, which also takes "
        f"{VLLM_WAKE_SECONDS:g} s per generation to wake",
        f"completions of {COMPLETION_TOKENS} tokens on average, {LONGEST_TOKENS} for the longest of a batch",
        "ZeRO-3 sends all weights for the forward, the backward, the reference and a generation, and the gradients; "
        "nothing overlaps, and all GPUs are in one node",
        "not counted: loading, evaluation, checkpoints, padding, attention's own products, gradients sent without ZeRO-3",
    ]


def hours_of(config, work: Workload, card: Card) -> dict[str, float]:
    """Estimated hours of a training run by what takes them; computed in bfloat16 whatever this machine has."""
    work = replace(work, compute_width=2)
    seconds = _grpo_seconds(config, work, card) if is_grpo(config) else _sft_seconds(config, work, card)
    return {name: value / 3600 for name, value in seconds.items()}


def tokens_of(config, work: Workload) -> tuple[float, float]:
    """Tokens that the run trains on, over all epochs and processes, and how many completions it generates."""
    if not is_grpo(config):
        return _sft_samples(config, work) * work.mean, 0
    groups = _generations(config, work) * rows_per_generation(config, work) * work.processes / config.num_generations
    completions = groups * config.num_generations
    return groups * work.mean + completions * min(COMPLETION_TOKENS, config.max_completion_length), completions


def _sft_samples(config, work: Workload) -> float:
    if config.max_steps > 0:
        rows = config.per_device_train_batch_size * work.processes
        return config.max_steps * config.gradient_accumulation_steps * rows
    return work.samples * config.num_train_epochs


def _generations(config, work: Workload) -> float:
    if config.max_steps > 0:
        passes = steps_per_generation(config, work.processes) * config.num_iterations
        return config.max_steps * config.gradient_accumulation_steps / passes
    groups = rows_per_generation(config, work) * work.processes // config.num_generations
    return work.samples * config.num_train_epochs // groups


def _sft_seconds(config, work: Workload, card: Card) -> dict[str, float]:
    rows = config.per_device_train_batch_size * work.processes  # at once
    samples = _sft_samples(config, work)
    operations = _training_operations(config, work, samples * work.mean) + _audio_operations(work, samples)
    seconds = {"training": _compute_seconds(operations / work.processes, card)}
    if is_sharded(config, work):
        seconds["weights sent"] = samples / rows * _sent_seconds(_sends_per_pass(config), work, card)
    return seconds


def _grpo_seconds(config, work: Workload, card: Card) -> dict[str, float]:
    rows = rows_per_generation(config, work)  # completions of one process
    groups = rows / config.num_generations
    passes = steps_per_generation(config, work.processes) * config.num_iterations
    completion = min(COMPLETION_TOKENS, config.max_completion_length)
    tokens = groups * work.mean + rows * completion
    training = config.num_iterations * _training_operations(config, work, tokens)
    scorings = (config.beta > 0) + scores_before_training(config, work)  # of the reference, and of the policy
    training += scorings * 2 * _products(work) * tokens
    training += _audio_operations(work, groups)
    at_once = config.completions_per_forward or config.per_device_train_batch_size
    forwards = passes * -(-config.per_device_train_batch_size // at_once)
    seconds = {"training": _compute_seconds(training, card), "rollouts": _rollout_seconds(config, work, card, rows)}
    if is_sharded(config, work):
        scored = passes / config.num_iterations * scores_before_training(config, work)
        sent = _sends_per_pass(config) * forwards + scored
        sent += passes / config.num_iterations if config.tuning == "full" and config.beta > 0 else 0
        seconds["weights sent"] = _sent_seconds(sent + gathers_for_generation(config), work, card)
    if config.offload_reference:
        seconds["weights sent"] = passes * work.size.total * work.compute_width / (HOST_GBS * 1e9)
    return {name: _generations(config, work) * value for name, value in seconds.items()}


def _rollout_seconds(config, work: Workload, card: Card, rows: int) -> float:
    """Seconds of one generation on one process: prefill of its prompts, then a step per token of the longest."""
    at_once = min(rows, (config.completions_per_rollout or rows) if work.engine == "hf" else rows)
    steps = min(LONGEST_TOKENS, config.max_completion_length)
    prefill = rows / config.num_generations * work.mean
    gathering = gathering_seconds(config, work, card)
    step = gathering + step_seconds(config, work, card, at_once, work.mean + steps / 2, weights_stay=not gathering)
    seconds = _compute_seconds(2 * _products(work) * prefill + _audio_operations(work, rows / config.num_generations), card)
    return seconds + -(-rows // at_once) * steps * step + (VLLM_WAKE_SECONDS if work.engine == "vllm" else 0)


def gathering_seconds(config, work: Workload, card: Card) -> float:
    """Seconds in which one decoding step of a rollout gathers the weights; 0 where they are gathered once or never."""
    gathers = is_sharded(config, work) and work.engine == "hf" and not gathers_for_generation(config)
    return _sent_seconds(1, work, card) if gathers else 0.0


def step_seconds(config, work: Workload, card: Card, sequences: float, context: float, weights_stay: bool = True) -> float:
    """Seconds to decode one token of each of `sequences` with `context` tokens in the cache."""
    size = work.size
    weights = (_products(work) + work.size.idle) * work.compute_width  # a batch is routed to most experts
    cache = sequences * context * size.layers * size.cached * work.compute_width
    is_static = config.decoding != "plain" and weights_stay
    least = VLLM_STEP_SECONDS if work.engine == "vllm" else STATIC_STEP_SECONDS if is_static else HF_STEP_SECONDS
    return max(least, (weights + cache) / (card.memory_gbs * 1e9 * BANDWIDTH_SHARE))


def answering_hours(config, work: Workload, card: Card) -> float:
    """Estimated hours in which a model answers samples; `config` is that of answer.py."""
    steps = min(LONGEST_TOKENS, config.max_new_tokens)
    at_once = max(config.batch_tokens // (work.mean + config.max_new_tokens), 1)
    operations = 2 * _products(work) * work.mean + _audio_operations(work, 1)
    per_sample = _compute_seconds(operations, card)
    step = step_seconds(config, work, card, at_once, work.mean + steps / 2)
    per_sample += config.num_completions * steps * step / at_once
    return work.samples / work.processes * per_sample / 3600


def _products(work: Workload) -> int:
    """Weights of the language model that every token is multiplied with: all but the embedding and idle experts."""
    return work.size.language - work.size.vocabulary * work.size.hidden - work.size.idle


def _training_operations(config, work: Workload, tokens: float) -> float:
    backward = 2 if config.tuning == "lora" else 4
    return (2 + backward + (2 if config.gradient_checkpointing else 0)) * _products(work) * tokens


def _audio_operations(work: Workload, clips: float) -> float:
    positions = POSITIONS_PER_SECOND * work.clip_seconds
    return 2 * work.size.audio * positions * clips


def _compute_seconds(operations: float, card: Card) -> float:
    return operations / (card.tflops * 1e12 * PEAK_SHARE)


def _sends_per_pass(config) -> int:
    """How often a forward and backward send all weights: gathered twice, and the gradients of trained ones."""
    return 2 if config.tuning == "lora" else 3


def _sent_seconds(times: float, work: Workload, card: Card) -> float:
    """Seconds to send all weights `times` times between the cards, of which each has its share."""
    sent = work.size.total * work.compute_width * (work.processes - 1) / work.processes
    return times * sent / (card.link_gbs * 1e9 * BANDWIDTH_SHARE)
