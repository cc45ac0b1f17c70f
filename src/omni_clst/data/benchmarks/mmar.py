"""MMAR (arXiv 2505.13032), in both releases of its metadata."""

from ..matching import token_sets_agree
from ..samples import AudioQASample
from .benchmark import Benchmark, lenient_sample


def to_sample(row: dict) -> AudioQASample:
    """A row of the metadata, with or without the thinking, cue and rubric of the newer file."""
    return lenient_sample({**row, "source": row.get("source") or "mmar"})


BENCHMARKS = (
    Benchmark(
        name="mmar",
        homepage="https://huggingface.co/datasets/BoJack/MMAR",
        meta_files=("MMAR/MMAR-meta.jsonl", "MMAR/MMAR-meta.json", "MMAR/meta/MMAR-meta.json"),
        audio_folders=("MMAR/audio",),
        row_keys=frozenset({"id", "audio_path", "modality"}),
        to_sample=to_sample,
        is_correct=token_sets_agree,
        groups=("modality", "category", "sub-category"),
        output_keys=("answer_prediction", "model_prediction", "model_output"),
        releases={
            "1c9a343e7bebf1037482b935c54eacd43cc63df7b2c668724b5560caf1f84fad": "MMAR-meta.jsonl of February 2026",
            "7240ecca11b252c782ef44d4d19f711dd9b8424656a2bc3f92c548e318d25cee": "MMAR-meta.json, the first release",
        },
        references=(
            ("", "Qwen2.5-Omni-7B", 56.7),
            ("", "Omni-CLST as published", 64.3),
            ("", "AudioMCQ", 67.1),
        ),
    ),
)
