"""MMAU (arXiv 2410.19168): mini with answers, and the test set, whose answers are not published."""

from ..matching import token_sets_agree
from ..samples import AudioQASample
from .benchmark import Benchmark, lenient_sample


def to_sample(row: dict) -> AudioQASample:
    """A row of the metadata; 13 rows of mini have their category as a list."""
    category = row.get("category")
    fixed = {**row, "audio_path": row.get("audio_id"), "source": row.get("dataset") or "mmau"}
    if isinstance(category, list):
        fixed["category"] = ", ".join(map(str, category))
    return lenient_sample(fixed)


_SHARED = {
    "homepage": "https://github.com/Sakshi113/MMAU",
    "row_keys": frozenset({"id", "audio_id"}),
    "to_sample": to_sample,
    "is_correct": token_sets_agree,
    "groups": ("task", "difficulty", "sub-category"),
}
BENCHMARKS = (
    Benchmark(
        name="mmau-mini",
        meta_files=("MMAU/mmau-test-mini.json",),
        audio_folders=("MMAU/test-mini-audios", "MMAU/audio"),
        releases={"9f18fda99f8dbc2bc5ecd6323fb5063309f54969810b5c6f1caeb3b8d904cf1c": "v05.15.25"},
        references=(
            ("first release", "Qwen2.5-Omni-7B", 65.6),
            ("v05.15.25", "Qwen2.5-Omni-7B", 71.5),
            ("release not stated", "Omni-CLST as published", 73.8),
            ("release not stated", "AudioMCQ", 78.2),
        ),
        **_SHARED,
    ),
    Benchmark(
        name="mmau-test",
        meta_files=("MMAU/mmau-test.json",),
        audio_folders=("MMAU/test-audios", "MMAU/audio"),
        releases={},
        has_answers=False,
        **_SHARED,
    ),
)
