"""ADQA, task 5 of the DCASE challenge 2026: the development set, and the evaluation set, which has no answers."""

from ..samples import AudioQASample
from .benchmark import Benchmark, lenient_sample


def to_sample(row: dict) -> AudioQASample:
    """A row of the published JSON Lines, in the layout of AudioMCQ."""
    return lenient_sample({**row, "source": row.get("source_dataset") or "adqa"})


_SHARED = {
    "homepage": "https://huggingface.co/datasets/Harland/DCASE2026-Task5-DevSet",
    "row_keys": frozenset(),  # those of AudioMCQ's training samples, which are no benchmark
    "to_sample": to_sample,
    "is_correct": None,
    "releases": {},
    "is_converted": True,
}
BENCHMARKS = (
    Benchmark(
        name="adqa-dev",
        meta_files=("ADQA/adqa-dev.jsonl",),
        audio_folders=("ADQA/audio",),
        groups=("source_dataset",),
        **_SHARED,
    ),
    Benchmark(
        name="adqa-eval",
        meta_files=("ADQA-eval/adqa-eval.jsonl",),
        audio_folders=("ADQA-eval/audio",),
        groups=(),  # its rows need not say where they are from
        has_answers=False,
        **_SHARED,
    ),
)
