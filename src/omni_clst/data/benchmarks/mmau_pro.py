"""MMAU-Pro (arXiv 2508.13992): several clips a question, clips up to ten minutes, and open questions beside closed ones."""

from dataclasses import replace

from ..samples import AudioQASample
from .benchmark import Benchmark, as_list, lenient_sample

LISTS = ("audio_path", "choices", "perceptual_skills", "reasoning_skills")
OPEN = {"open", "instruction following"}  # categories whose answers a judge or a pattern decides on


def to_row(row: dict) -> dict:
    """A row with its lists as lists."""
    return row | {key: as_list(row.get(key)) for key in LISTS}


def is_closed(sample: AudioQASample) -> bool:
    """True for a question whose answer is one of its choices."""
    category = str(sample.extra.get("category")).strip().lower().replace("_", " ").replace("-", " ")
    return bool(sample.choices) and category not in OPEN


def to_sample(row: dict) -> AudioQASample:
    """A row with all its clips; an open question is asked by itself, without a request for one of its choices."""
    sample = lenient_sample({**row, "source": "mmau-pro"})
    return sample if is_closed(sample) else replace(sample, prompt=sample.question)


BENCHMARKS = (
    Benchmark(
        name="mmau-pro",
        homepage="https://huggingface.co/datasets/gamma-lab-umd/MMAU-Pro",
        meta_files=("MMAU-Pro/mmau-pro.jsonl",),
        audio_folders=("MMAU-Pro/audio",),
        row_keys=frozenset({"id", "length_type", "perceptual_skills"}),
        to_sample=to_sample,
        is_correct=None,  # the official one is the choice that an embedding model of 7B finds nearest
        groups=("category", "length_type", "perceptual_skills", "reasoning_skills"),
        releases={},
        is_converted=True,
        to_row=to_row,
        is_scored=is_closed,
    ),
)
