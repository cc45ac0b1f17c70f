"""What the benchmarks hold, so that training does not: clips, and questions with the same choices."""

import os
from dataclasses import dataclass, field

from ..benchmarks import BENCHMARKS, find_benchmark, load_benchmark, resolve_audio
from ..runs import say
from ..samples import AudioQASample
from .splits import question_key


@dataclass(frozen=True)
class BenchmarkContent:
    """Clips (path -> benchmark and row) and questions (key -> benchmark and row) that training must not see."""

    clips: dict[str, str] = field(default_factory=dict)
    questions: dict[str, str] = field(default_factory=dict)

    def with_question(self, sample: AudioQASample) -> str | None:
        """The benchmark's row that asks the same with the same choices."""
        return self.questions.get(question_key(sample.question, sample.choices))


def read_benchmarks(data_root: str | None) -> BenchmarkContent:
    """What the benchmarks under `data_root` hold; says which are not there."""
    clips, questions, missing, without_clip = {}, {}, [], 0
    for name in BENCHMARKS if data_root else ():
        place = find_benchmark(data_root, name)
        if place is None:
            missing.append(name)
            continue
        for sample in load_benchmark(name, place[0]).samples:
            questions.setdefault(question_key(sample.question, sample.choices), f"{name} {sample.id}")
            path = str(resolve_audio(sample, place[1]))
            if os.path.isfile(path):
                clips.setdefault(path, f"{name} {sample.id}")
            else:
                without_clip += 1
    if missing:
        say(f"overlap not looked for with {', '.join(missing)}: not under {data_root}")
    if without_clip:
        say(f"{without_clip} of {without_clip + len(clips)} clips of the benchmarks are not there: not compared with")
    return BenchmarkContent(clips, questions)
