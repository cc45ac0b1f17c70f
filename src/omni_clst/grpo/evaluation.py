"""Greedy answers to the held-out samples during training, as `infer.py` would give them."""

from ..answering.audio_source import AudioSource
from ..answering.batches import encoded_batches, plan_batches
from ..data.audio import ClipError
from ..data.clip_check import explaining_broken_clips
from ..data.samples import AudioQASample
from ..model.engine import HFEngine
from ..model.vllm_engine import VLLMEngine
from ..processes import process_count, process_rank
from .completions_log import outcome
from .curriculum_feed import PlacedSample
from .failures import naming


def answer_greedily(
    engine: HFEngine | VLLMEngine, samples: list[AudioQASample], lengths: list[int], batch_size: int, num_workers: int
) -> list[dict]:
    """This process's share of the samples, answered: rows as in `completions.jsonl`.

    A batch holds `batch_size` of the longest samples, or more of shorter ones.
    """
    completion = engine.sampling.max_new_tokens
    batches = plan_batches(samples, lengths, batch_size * (max(lengths) + completion), completion)
    batches = batches[process_rank() :: process_count()]
    source = AudioSource.plan("real", samples)
    fork_fresh = isinstance(engine, VLLMEngine)  # its threads do not survive a fork
    rows = []
    for batch, examples, broken in encoded_batches(batches, engine.encoder, source, num_workers, fork_fresh):
        with explaining_broken_clips():
            for reason in broken.values():
                raise ClipError(reason)
        places = list(map(PlacedSample, range(len(examples)), batch.samples, examples))
        with naming("evaluation", places):
            answers = engine.generate(examples, [0] * len(examples))
        rows += [outcome(sample, completion.text) for sample, [completion] in zip(batch.samples, answers, strict=True)]
    return rows
