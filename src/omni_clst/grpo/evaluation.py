"""Answer the held-out samples greedily during training, as `infer.py` does."""

from ..answering.audio_source import AudioSource
from ..answering.batches import encoded_batches, plan_batches
from ..data.audio import ClipError
from ..data.clip_check import explaining_broken_clips
from ..data.samples import AudioQASample
from ..method.rewards import parse_completion
from ..model.engine import Engine, HFEngine
from ..processes import process_count, process_rank
from .completions_log import completion_row
from .curriculum_feed import PlacedSample
from .failures import naming_samples


def answer_greedily(
    engine: Engine, samples: list[AudioQASample], lengths: list[int], batch_size: int, num_workers: int
) -> list[dict]:
    """Answer this process's share of the samples; returns rows as in `completions.jsonl`.

    A batch has `batch_size` of the longest samples, or more of shorter ones.
    """
    completion = engine.sampling.max_new_tokens
    batches = plan_batches(samples, lengths, batch_size * (max(lengths) + completion), completion)
    batches = batches[process_rank() :: process_count()]
    source = AudioSource.plan("real", samples)
    fork_fresh = not isinstance(engine, HFEngine)  # vLLM's threads do not survive a fork
    rows = []
    for batch, examples, errors in encoded_batches(batches, engine.encoder, source, num_workers, fork_fresh):
        with explaining_broken_clips():
            for error in errors.values():
                raise ClipError(error)
        places = list(map(PlacedSample, range(len(examples)), batch.samples, examples))
        with naming_samples("evaluation", places):
            answers = engine.generate(examples, [0] * len(examples))
        for sample, [answer] in zip(batch.samples, answers, strict=True):
            rows.append(completion_row(sample, parse_completion(answer.text, answer.tokens, answer.finished)))
    return rows
