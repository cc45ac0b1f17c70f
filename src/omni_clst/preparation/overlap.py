"""The same clip under several names, and what training has in common with the benchmarks: by content, not by name."""

import os
from collections import defaultdict
from dataclasses import dataclass, field

from ..benchmarks import BENCHMARKS, find_benchmark, load_benchmark, resolve_audio
from ..runs import say
from ..samples import AudioQASample
from .clips import Inspection
from .fingerprints import find_same
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
    clips, questions, missing = {}, {}, []
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
    if missing:
        say(f"overlap not looked for with {', '.join(missing)}: not under {data_root}")
    return BenchmarkContent(clips, questions)


def same_clips(
    own: dict[str, Inspection], theirs: dict[str, Inspection], names: dict[str, str]
) -> tuple[dict[str, str], dict[str, str]]:
    """For every own clip its first name, and for those that are among `theirs` what `names` calls it there."""
    found = theirs | own
    of_bytes: dict[str, list[str]] = defaultdict(list)
    for path in (*theirs, *(path for path in own if path not in theirs)):
        of_bytes[found[path].sha256].append(path)
    firsts = {paths[0]: found[paths[0]] for paths in of_bytes.values()}
    alike = find_same((path, one.seconds, one.levels) for path, one in firsts.items() if one.levels is not None)
    joined = {path: group[0] for group in alike for path in group}
    groups: dict[str, list[str]] = defaultdict(list)
    for paths in of_bytes.values():
        groups[joined.get(paths[0], paths[0])] += paths
    first_name, in_benchmark = {}, {}
    for paths in groups.values():
        mine = sorted(path for path in paths if path in own)
        their = next((path for path in paths if path in theirs), None)
        for path in mine:
            first_name[path] = mine[0]
            if their is not None:
                in_benchmark[path] = names[their]
    return first_name, in_benchmark
