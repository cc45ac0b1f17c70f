"""MMAU and MMAR: where they lie, how their rows are read, what is odd in them, which release a file is.

A benchmark's rows are never dropped: odd ones are flagged and stay in the denominator.
"""

from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError
from ..files import sha256_of_file
from .layouts import convert_row
from .samples import AudioQASample, read_rows


@dataclass(frozen=True)
class Benchmark:
    """A benchmark: the groups its scores are broken down by, its known releases, and where its files belong.

    `output_keys` are the keys that answers stand under in predictions files, that of its own script first.
    `releases` maps a metadata file's sha256 to its name; `references` are published accuracies on (release, model).
    """

    name: str
    groups: tuple[str, ...]
    meta_files: tuple[str, ...]
    audio_folders: tuple[str, ...]
    homepage: str
    output_keys: tuple[str, ...]
    releases: dict[str, str]
    references: tuple[tuple[str, str, float], ...] = ()
    has_answers: bool = True

    def missing_line(self, data_root: str | Path) -> str:
        """What to put where, for a benchmark that is not there."""
        return f"{self.name}: no {Path(data_root) / self.meta_files[0]} (from {self.homepage})"


_MMAU_HOME = "https://github.com/Sakshi113/MMAU"
_MMAU_GROUPS = ("task", "difficulty", "sub-category")
_MMAU_KEYS = ("model_output", "model_prediction", "answer_prediction")
BENCHMARKS = {
    "mmau-mini": Benchmark(
        "mmau-mini",
        _MMAU_GROUPS,
        ("MMAU/mmau-test-mini.json",),
        ("MMAU/test-mini-audios", "MMAU/audio"),
        _MMAU_HOME,
        _MMAU_KEYS,
        {"9f18fda99f8dbc2bc5ecd6323fb5063309f54969810b5c6f1caeb3b8d904cf1c": "v05.15.25"},
        (
            ("first release", "Qwen2.5-Omni-7B", 65.6),
            ("v05.15.25", "Qwen2.5-Omni-7B", 71.5),
            ("release not stated", "Omni-CLST as published", 73.8),
            ("release not stated", "AudioMCQ", 78.2),
        ),
    ),
    "mmau-test": Benchmark(
        "mmau-test",
        _MMAU_GROUPS,
        ("MMAU/mmau-test.json",),
        ("MMAU/test-audios", "MMAU/audio"),
        _MMAU_HOME,
        _MMAU_KEYS,
        {},
        has_answers=False,
    ),
    "mmar": Benchmark(
        "mmar",
        ("modality", "category", "sub-category"),
        ("MMAR/MMAR-meta.jsonl", "MMAR/MMAR-meta.json", "MMAR/meta/MMAR-meta.json"),
        ("MMAR/audio",),
        "https://huggingface.co/datasets/BoJack/MMAR",
        ("answer_prediction", "model_prediction", "model_output"),
        {
            "1c9a343e7bebf1037482b935c54eacd43cc63df7b2c668724b5560caf1f84fad": "MMAR-meta.jsonl of February 2026",
            "7240ecca11b252c782ef44d4d19f711dd9b8424656a2bc3f92c548e318d25cee": "MMAR-meta.json, the first release",
        },
        (
            ("", "Qwen2.5-Omni-7B", 56.7),
            ("", "Omni-CLST as published", 64.3),
            ("", "AudioMCQ", 67.1),
        ),
    ),
}


@dataclass(frozen=True)
class BenchmarkRows:
    """A benchmark's rows as read: `oddities` are (id, what is odd), `release` the file's known name, if any."""

    benchmark: Benchmark
    samples: tuple[AudioQASample, ...]
    original_rows: tuple[dict, ...]
    meta_sha256: str
    oddities: tuple[tuple[str, str], ...]

    @property
    def groups(self) -> tuple[str, ...]:
        """What scores are broken down by: the benchmark's groups, and `depth` (shallow, deep) where the rows state it."""
        states_depth = any("depth" in sample.extra for sample in self.samples)
        return self.benchmark.groups + (("depth",) if states_depth else ())

    @property
    def release(self) -> str:
        return self.benchmark.releases.get(self.meta_sha256, "unknown release")


def load_benchmark(name: str, meta_path: Path | str) -> BenchmarkRows:
    """Read a benchmark's metadata.

    Raises `InputError` only for rows that cannot be told apart or read at all, and for another benchmark's file.
    """
    benchmark = BENCHMARKS[name]
    samples: list[AudioQASample] = []
    rows: list[dict] = []
    oddities: list[tuple[str, str]] = []
    seen: dict[str, str] = {}
    for place, row in read_rows(meta_path):
        sample_id = row_id(row, place)
        if sample_id in seen:
            raise InputError(f"{place}: id {sample_id!r} stands already at {seen[sample_id]}")
        seen[sample_id] = place
        try:
            sample = convert_row(row)
        except InputError as error:
            raise InputError(f"{place}: {error}") from None
        samples.append(sample)
        rows.append(row)
        oddities += [(sample.id, what) for what in find_oddities(sample, row, benchmark)]
    if not samples:
        raise InputError(f"{meta_path}: holds no rows")
    if not any(benchmark.groups[0] in row for row in rows):
        raise InputError(f"{meta_path}: no row has a {benchmark.groups[0]}: is it the metadata of {name}?")
    return BenchmarkRows(benchmark, tuple(samples), tuple(rows), sha256_of_file(meta_path), tuple(oddities))


def row_id(row: dict, place: str) -> str:
    """A row's id as a text, whole numbers included, so that 7 and "7" are one id; raises `InputError` for any other."""
    value = row.get("id")
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str) or not value:
        raise InputError(f"{place}: id {value!r} is not a text")
    return value


def find_oddities(sample: AudioQASample, row: dict, benchmark: Benchmark) -> list[str]:
    """What in a row deviates from one question, distinct choices, and an answer that is one of them."""
    choices = sample.choices
    found = []
    if not sample.audio_path.strip():
        found.append("no clip")
    if not sample.question.strip():
        found.append("no question")
    if len(set(choices)) < len(choices):
        found.append("a choice stands twice")
    if any(not choice.strip() for choice in choices):
        found.append("a choice is empty")
    if len(choices) < 2:
        found.append(f"{len(choices)} choices")
    if any(choice.startswith("['") and choice.endswith("']") for choice in choices):
        found.append("choices are lists written as text")
    if benchmark.has_answers and sample.answer not in choices:
        found.append("the answer is not among the choices")
    if isinstance(row.get("category"), list):
        found.append("category is a list")
    found += [f"no {group}" for group in benchmark.groups if not row.get(group)]
    return found


def find_benchmark(data_root: Path | str, name: str) -> tuple[Path, Path] | None:
    """(metadata file, audio folder) of a benchmark under `data_root`; None if not there.

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
    """A row's clip: its file name in the audio folder, for both benchmarks."""
    return Path(audio_root) / Path(sample.audio_path).name
