"""Which samples can be read, and how long they are: found before any weight is loaded."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from tqdm import tqdm

from ..errors import InputError
from ..processes import process_rank, say
from .audio import ClipError, load_audio
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
    """Length in tokens by id of every sample for which `length_of` tells it, and by id what is wrong with the others.

    Lengths come from the clips' headers. `decode_up_to` (seconds) also decodes every clip, which finds what is broken
    behind a whole header. Raises `InputError` with `place`, the first rows in question and `remedy`, unless rows that
    cannot be read are allowed.
    """
    broken = {} if decode_up_to is None else _undecodable({sample.audio_path for sample in samples}, decode_up_to)

    def measure(sample: AudioQASample) -> int | str:
        try:
            return broken.get(sample.audio_path) or length_of(sample)
        except InputError as error:
            return str(error)

    with ThreadPoolExecutor() as pool:
        results = _shown(pool.map(measure, samples), len(samples), "rows measured")
        found = dict(zip((sample.id for sample in samples), results, strict=True))
    unreadable = {key: value for key, value in found.items() if isinstance(value, str)}
    if unreadable and not allow_unreadable:
        raise InputError(
            f"{place}: {len(unreadable)} of {len(samples)} rows cannot be used ({_first(unreadable)}); {remedy}"
        )
    return {key: value for key, value in found.items() if isinstance(value, int)}, unreadable


def read_measured(
    path: str,
    audio_root: str | None,
    length_of: Callable[[AudioQASample], int],
    allow_unreadable: bool = False,
    decode_up_to: float | None = None,
) -> list[tuple[AudioQASample, int]]:
    """The samples of a training file with their lengths in tokens; those that cannot be read are left out, and counted,
    where that is allowed. Raises `InputError`."""
    samples = read_samples(path, audio_root)
    remedy = "mend or remove them, or leave them out with --allow_missing_audio"
    lengths, unreadable = measure_lengths(samples, length_of, path, allow_unreadable, remedy, decode_up_to)
    if unreadable:
        say(f"{path}: {len(unreadable)} of {len(samples)} rows left out, which cannot be used: {_first(unreadable)}")
    return [(sample, lengths[sample.id]) for sample in samples if sample.id in lengths]


@contextmanager
def explaining_broken_clips() -> Iterator[None]:
    """Say of a clip that turned out broken in the middle of a training run how the run can be finished."""
    try:
        yield
    except ClipError as error:
        raise InputError(
            f"{error}; its header is whole: start again with --check_audio true --allow_missing_audio true, which decodes "
            "every clip first and leaves such rows out"
        ) from None


def _undecodable(paths: set[str], seconds: float) -> dict[str, str]:
    """What is wrong with the clips whose first `seconds` cannot be decoded, by path."""

    def decode(path: str) -> str | None:
        try:
            load_audio(path, seconds)
        except ClipError as error:
            return str(error)
        return None

    ordered = sorted(paths)
    with ThreadPoolExecutor() as pool:
        results = _shown(pool.map(decode, ordered), len(ordered), "clips decoded")
        return {path: wrong for path, wrong in zip(ordered, results, strict=True) if wrong}


def _first(unreadable: dict[str, str], count: int = 3) -> str:
    return "; ".join(list(unreadable.values())[:count]) + ("; ..." if len(unreadable) > count else "")


def _shown(results: Iterable, total: int, what: str) -> Iterable:
    """The results with a progress bar, on rank 0, where they take their time."""
    return tqdm(results, total=total, desc=what, unit="", disable=process_rank() != 0, delay=5)
