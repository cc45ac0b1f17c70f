"""Read a benchmark's metadata file: its rows, their release, their oddities, and the paths of their clips.

Rows are never dropped: odd ones are flagged and stay in the denominator.
"""

from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import InputError
from ..files import sha256_of_file
from .benchmarks.benchmark import Benchmark
from .benchmarks.registry import BENCHMARKS
from .samples import AudioQASample, read_rows


@dataclass(frozen=True)
class BenchmarkRows:
    """A benchmark's rows as read: `oddities` are pairs (id, text), `release` is the known name of the file, if any."""

    benchmark: Benchmark
    samples: tuple[AudioQASample, ...]
    original_rows: tuple[dict, ...]
    meta_sha256: str
    oddities: tuple[tuple[str, str], ...]
    meta_path: str  # absolute

    @property
    def scored(self) -> tuple[AudioQASample, ...]:
        """The samples that the benchmark's rules apply to: all of them, but for open questions."""
        return tuple(sample for sample in self.samples if self.benchmark.is_scored(sample))

    @property
    def groups(self) -> tuple[str, ...]:
        """What scores are broken down by: the benchmark's groups, and `depth` (shallow, deep) where the rows state it."""
        states_depth = any("depth" in sample.extra for sample in self.samples)
        return tuple(dict.fromkeys((*self.benchmark.groups, *(("depth",) if states_depth else ()))))

    def groups_of(self, sample: AudioQASample) -> dict[str, str | None]:
        """What the sample is in every group, in words; None where its row does not say."""
        names = {group: ", ".join(map(str, _values(sample, group))) for group in self.groups}
        return {group: text or None for group, text in names.items()}

    def names_in_groups(self, sample: AudioQASample) -> dict[str, tuple[str, ...]]:
        """The names that the sample counts under: several or none where its row has a list, else one or "unknown"."""
        return {group: tuple(str(value or "unknown") for value in _values(sample, group)) for group in self.groups}

    @property
    def release(self) -> str:
        return self.benchmark.releases.get(self.meta_sha256, "unknown release")


def _values(sample: AudioQASample, group: str) -> list:
    """A sample's value of a group as a list; [""] where its row does not say."""
    value = sample.extra.get(group, getattr(sample, group, None))
    return value if isinstance(value, list) else [value or ""]


def load_benchmark(name: str, meta_path: Path | str) -> BenchmarkRows:
    """Read a benchmark's metadata.

    Raises `InputError` only for rows without a usable or unique id, for unreadable ones, and for another benchmark's file.
    """
    benchmark = BENCHMARKS[name]
    samples: list[AudioQASample] = []
    rows: list[dict] = []
    oddities: list[tuple[str, str]] = []
    seen: dict[str, str] = {}
    for place, downloaded in read_rows(meta_path):
        row = benchmark.to_row(downloaded)
        require_new_id(row, place, seen)
        sample = replace(benchmark.to_sample(row), place=place)
        samples.append(sample)
        rows.append(row)
        oddities += [(sample.id, oddity) for oddity in find_oddities(sample, row, benchmark)]
    if not samples:
        raise InputError(f"{meta_path}: holds no rows")
    for group in benchmark.groups[:1]:
        if not any(group in row for row in rows):
            raise InputError(f"{meta_path}: no row has a {group}: is it the metadata of {name}?")
    place, digest = str(Path(meta_path).absolute()), sha256_of_file(meta_path)
    return BenchmarkRows(benchmark, tuple(samples), tuple(rows), digest, tuple(oddities), place)


def require_new_id(row: dict, place: str, seen: dict[str, str]) -> None:
    """Enter a row's id in `seen` (id -> place); raises `InputError` for one without a usable or new id."""
    sample_id = row_id(row, place)
    if sample_id in seen:
        raise InputError(f"{place}: id {sample_id!r} is used already at {seen[sample_id]}")
    seen[sample_id] = place


def row_id(row: dict, place: str) -> str:
    """A row's id as a text, whole numbers included, so that 7 and "7" are one id; raises `InputError` for any other."""
    value = row.get("id")
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str) or not value:
        raise InputError(f"{place}: id {value!r} is not a text")
    return value


def find_oddities(sample: AudioQASample, row: dict, benchmark: Benchmark) -> list[str]:
    """How a row deviates from one question, distinct choices, and an answer that is one of them; in words."""
    choices = sample.choices
    oddities = []
    if not sample.audio_path.strip():
        oddities.append("no clip")
    if sample.more_clips:
        oddities.append("several clips")
    if not sample.question.strip():
        oddities.append("no question")
    if len(set(choices)) < len(choices):
        oddities.append("a choice stands twice")
    if any(not choice.strip() for choice in choices):
        oddities.append("a choice is empty")
    is_scored = benchmark.is_scored(sample)
    if len(choices) < 2:
        oddities.append(f"{len(choices)} choices")
    if any(choice.startswith("['") and choice.endswith("']") for choice in choices):
        oddities.append("choices are lists written as text")
    if benchmark.has_answers and is_scored and sample.answer not in choices:
        oddities.append("the answer is not among the choices")
    if isinstance(row.get("category"), list):
        oddities.append("category is a list")
    oddities += [f"no {group}" for group in benchmark.groups if row.get(group) in (None, "")]
    return oddities


def find_benchmark(data_root: Path | str, name: str) -> tuple[Path, Path] | None:
    """(metadata file, audio folder) of a benchmark under `data_root`; None if it is not there.

    `data_root` holds MMAU/ and MMAR/ as the README says, or is one of them itself. Where several metadata files are there
    the newest release wins.
    """
    benchmark = BENCHMARKS[name]
    for below in (Path, _without_first_folder):
        metas = [path for file in benchmark.meta_files if (path := Path(data_root) / below(file)).is_file()]
        folders = [Path(data_root) / below(folder) for folder in benchmark.audio_folders]
        if metas:
            return metas[0], next((folder for folder in folders if folder.is_dir()), folders[0])
    return None


def _without_first_folder(path: str) -> Path:
    return Path(*Path(path).parts[1:])


def resolve_audio(sample: AudioQASample, audio_root: Path | str) -> Path:
    """A row's clip, the first of several: its file name in the audio folder, for every benchmark."""
    return Path(audio_root) / Path(sample.audio_path).name


def with_clips(sample: AudioQASample, audio_root: Path | str) -> AudioQASample:
    """The sample with the paths of all its clips."""
    more_clips = tuple(str(Path(audio_root) / Path(clip).name) for clip in sample.more_clips)
    return replace(sample, audio_path=str(resolve_audio(sample, audio_root)), more_clips=more_clips)
