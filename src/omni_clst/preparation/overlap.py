"""Read the benchmarks' clips and questions, to remove them from training data."""

from dataclasses import dataclass, field
from pathlib import Path

from ..data.benchmark_rows import find_benchmark, load_benchmark
from ..data.benchmarks.registry import BENCHMARKS
from ..data.samples import AudioQASample
from ..processes import say
from .finder import ClipFinder
from .splits import question_key


@dataclass(frozen=True)
class BenchmarkContent:
    """Clips (path -> benchmark and row) and questions (key -> benchmark and row) that must not be trained on."""

    clips: dict[str, str] = field(default_factory=dict)
    questions: dict[str, str] = field(default_factory=dict)

    def row_with_question(self, sample: AudioQASample) -> str | None:
        """The benchmark's row with the same question and choices; None if there is none."""
        return self.questions.get(question_key(sample.question, sample.choices))


def read_benchmarks(data_root: str | None) -> BenchmarkContent:
    """The content of the benchmarks under `data_root`; logs the ones that are missing."""
    clips, questions, missing, without_clip = {}, {}, [], 0
    for name in BENCHMARKS if data_root else ():
        place = find_benchmark(data_root, name)
        if place is None:
            missing.append(name)
            continue
        finder = ClipFinder([place[1]])
        for sample in load_benchmark(name, place[0]).samples:
            questions.setdefault(question_key(sample.question, sample.choices), f"{name} {sample.id}")
            for clip in sample.clips:
                path, _ = finder.find([Path(clip).name])
                if path is not None:
                    clips.setdefault(path, f"{name} {sample.id}")
                else:
                    without_clip += 1
    if missing:
        say(f"no comparison with {', '.join(missing)}: not under {data_root}")
    if without_clip:
        say(f"{without_clip} of {without_clip + len(clips)} clips of the benchmarks are missing: no comparison with them")
    return BenchmarkContent(clips, questions)
