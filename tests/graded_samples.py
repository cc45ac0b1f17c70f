"""Samples of each level for tests of the curriculum."""

from collections import Counter

from omni_clst.data.samples import AudioQASample
from omni_clst.method.config import CurriculumConfig
from omni_clst.method.levels import grade

MIX = {"easy": 0.2, "medium": 0.4, "hard": 0.4}
RATES_OF = {"easy": (1.0, 1.0), "medium": (0.0, 1.0), "hard": (0.0, 0.0)}


def make_sample(number: int, questions_per_clip: int = 1, **fields: object) -> AudioQASample:
    clip = f"/clips/{number // questions_per_clip}.wav"
    return AudioQASample(f"s{number:03d}", clip, "q", ("a", "b"), "a", **{"think": "t"} | fields)


def make_graded(levels: list[str], questions_per_clip: int = 1) -> list[AudioQASample]:
    """One sample a level named, with pass rates that give it."""
    samples = [make_sample(number, questions_per_clip) for number in range(len(levels))]
    rates = {sample.id: RATES_OF[level] for sample, level in zip(samples, levels, strict=True)}
    base, sft = ({key: pair[side] for key, pair in rates.items()} for side in (0, 1))
    return grade(samples, base, sft, 0.5)


def make_config(**changes: object) -> CurriculumConfig:
    paths = {"samples": "s", "base_answers_dir": "b", "answers_dir": "a", "output": "o.jsonl"}
    return CurriculumConfig(**paths | changes)


def ids(samples: list[AudioQASample]) -> list[str]:
    return [sample.id for sample in samples]


def levels_in(samples: list[AudioQASample]) -> dict[str, int]:
    return dict(Counter(sample.level for sample in samples))


def make_world(rows: list[tuple[float, float, int]]) -> tuple[list[AudioQASample], dict, dict]:
    """Samples, pass rates of the base and of the SFT model; the rows' last number is the clip."""
    samples = [
        AudioQASample(f"s{number:03d}", f"/clips/{clip}.wav", "q", ("a", "b"), "a")
        for number, (_, _, clip) in enumerate(rows)
    ]
    base, sft = ({f"s{number:03d}": row[side] for number, row in enumerate(rows)} for side in (0, 1))
    return samples, base, sft
