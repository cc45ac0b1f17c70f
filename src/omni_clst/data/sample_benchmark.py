"""A file of samples as a benchmark: a user's own held-out questions, answered and scored like the official ones."""

import difflib
from pathlib import Path

from ..errors import InputError
from ..files import sha256_of_file
from .benchmark_rows import BenchmarkRows
from .benchmarks.benchmark import Benchmark, lenient_sample
from .benchmarks.registry import BENCHMARKS
from .layouts import read_samples
from .samples import AudioQASample


def load_sample_benchmark(
    path: Path | str, group_by: tuple[str, ...], name: str | None = None, audio_root: Path | str | None = None
) -> BenchmarkRows:
    """The samples of a file with the groups to break scores down by; it has no official rule.

    `name` is the file's by default. Raises `InputError` for rows as training does, for a group that no row has, and for
    the name of an official benchmark.
    """
    path = Path(path)
    name = name or path.stem
    if name in BENCHMARKS:
        raise InputError(
            f"{path}: {name} is the name of an official benchmark; give another with --name, or rename the file"
        )
    samples = read_samples(path, audio_root)
    _require_groups(samples, group_by, path)
    digest = sha256_of_file(path)
    benchmark = Benchmark(
        name=name,
        homepage="",
        meta_files=(str(path),),
        audio_folders=(),
        row_keys=frozenset(),
        to_sample=lenient_sample,
        is_correct=None,
        groups=group_by,
        releases={digest: path.name},
    )
    rows = tuple(sample.to_row() for sample in samples)
    return BenchmarkRows(benchmark, tuple(samples), rows, digest, (), str(path.absolute()))


def _require_groups(samples: list[AudioQASample], group_by: tuple[str, ...], path: Path) -> None:
    fields = {"source", "level"} | {key for sample in samples for key in sample.extra}
    for group in group_by:
        if group not in fields:
            close = difflib.get_close_matches(group, fields, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"they have {', '.join(sorted(fields))}"
            raise InputError(f"{path}: group_by {group!r} is no field of its rows ({hint})")
