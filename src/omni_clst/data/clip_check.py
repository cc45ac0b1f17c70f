"""Check that the clips of all samples can be read, and measure prompts in tokens, before any weights are loaded."""

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from tqdm import tqdm

from ..errors import InputError
from ..processes import process_rank, say
from .audio import ClipError, load_audio
from .header_cache import know_headers
from .layouts import read_samples
from .samples import AudioQASample


def measure_lengths(
    samples: list[AudioQASample],
    length_of: Callable[[AudioQASample], int],
    place: str,
    allow_unreadable: bool,
    remedy: str,
    decode_up_to: float | None = None,
) -> tuple[dict[str, int], dict[str, str]]:
    """Two dicts by sample id: the length in tokens where `length_of` returns one, and file, line and error otherwise.

    Lengths come from the clips' headers. With `decode_up_to` (seconds) every clip is also decoded, which finds files that
    are broken after an intact header. Raises `InputError` with `place`, the first such rows and `remedy`, unless
    `allow_unreadable`.
    """
    broken = (
        {} if decode_up_to is None else _undecodable({clip for sample in samples for clip in sample.clips}, decode_up_to)
    )

    def measure(sample: AudioQASample) -> int | str:
        try:
            for clip in sample.clips:
                if clip in broken:
                    raise InputError(broken[clip])
            return length_of(sample)
        except InputError as error:
            return f"{os.path.basename(sample.place)}: {error}" if sample.place else str(error)

    with ThreadPoolExecutor() as pool:
        results = _with_progress(pool.map(measure, samples), len(samples), "rows measured")
        result_of = dict(zip((sample.id for sample in samples), results, strict=True))
    unreadable = {key: value for key, value in result_of.items() if isinstance(value, str)}
    if unreadable and not allow_unreadable:
        raise InputError(
            f"{place}: {len(unreadable)} of {len(samples)} rows cannot be used ({_first(unreadable)}); {remedy}"
        )
    return {key: value for key, value in result_of.items() if isinstance(value, int)}, unreadable


def read_measured(
    path: str,
    audio_root: str | None,
    length_of: Callable[[AudioQASample], int],
    allow_unreadable: bool = False,
    decode_up_to: float | None = None,
) -> list[tuple[AudioQASample, int]]:
    """The samples of a training file with their lengths in tokens; with `allow_unreadable`, samples that cannot be read
    are left out and counted in the log. Raises `InputError`."""
    samples = read_samples(path, audio_root)
    know_headers(path, {clip for sample in samples for clip in sample.clips})
    remedy = "repair or remove them, or leave them out with --allow_missing_audio"
    lengths, unreadable = measure_lengths(samples, length_of, path, allow_unreadable, remedy, decode_up_to)
    if unreadable:
        say(f"{path}: {len(unreadable)} of {len(samples)} rows left out, which cannot be used: {_first(unreadable)}")
    return [(sample, lengths[sample.id]) for sample in samples if sample.id in lengths]


@contextmanager
def explaining_broken_clips() -> Iterator[None]:
    """Add to the error of a clip that fails to decode during training how the run can be finished."""
    try:
        yield
    except ClipError as error:
        raise InputError(
            f"{error}; its header is intact: start again with --check_audio true --allow_missing_audio true, which decodes "
            "every clip first and leaves such rows out"
        ) from None


def _undecodable(paths: set[str], seconds: float) -> dict[str, str]:
    """By path, the errors of the clips whose first `seconds` cannot be decoded."""

    def decode(path: str) -> str | None:
        try:
            load_audio(path, seconds)
        except ClipError as error:
            return str(error)
        return None

    ordered = sorted(paths)
    with ThreadPoolExecutor() as pool:
        results = _with_progress(pool.map(decode, ordered), len(ordered), "clips decoded")
        return {path: error for path, error in zip(ordered, results, strict=True) if error}


def _first(unreadable: dict[str, str], count: int = 3) -> str:
    return "; ".join(list(unreadable.values())[:count]) + ("; ..." if len(unreadable) > count else "")


def _with_progress(results: Iterable, total: int, label: str) -> Iterable:
    """The results under a progress bar, shown on rank 0 after five seconds."""
    return tqdm(results, total=total, desc=label, unit="", disable=process_rank() != 0, delay=5)
