"""Write a benchmark's files as `infer.sh` finds them: the metadata file, and all its clips in one folder."""

import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from ..data.benchmarks.benchmark import as_list
from ..data.benchmarks.registry import BENCHMARKS
from ..files import atomic_path, read_jsonl, write_jsonl


def lay_out(preparation) -> Path | None:
    """Write the metadata file into an output folder that has the benchmark's name below the data root, as data/MMSU has.

    Clips that are files already are linked into its `audio/` (copied to another disk); embedded ones were written there.
    Returns the metadata file; None for an output folder of any other name, which has the audit alone.
    """
    benchmark = BENCHMARKS[preparation.config.source]
    if preparation.output.resolve().name != benchmark.folder:
        return None
    path = preparation.output / Path(benchmark.meta_files[0]).name
    write_jsonl(path, _rows(preparation, path.parent / Path(benchmark.audio_folders[0]).name))
    return path


def _rows(preparation, audio: Path) -> Iterator[dict]:
    taken: dict[str, str] = {}  # name -> the clip that goes by it
    for _, spooled in read_jsonl(preparation.spool.path):
        row, clips = spooled["row"], [spooled["clip"], *spooled["more"]]
        named = as_list(row.get("audio_path")) or [""]
        paths = [
            name if clip is None else f"{audio.name}/{_place(clip, audio, taken)}"
            for name, clip in zip(named, clips, strict=True)
        ]
        yield row | {"audio_path": paths if isinstance(row.get("audio_path"), list) else paths[0]}


def _place(clip: str, audio: Path, taken: dict[str, str]) -> str:
    """The name that a clip has in the folder of clips, after it is put there."""
    name = Path(clip).name
    if taken.setdefault(name, clip) != clip:  # another clip's name in another folder
        name = f"{hashlib.sha256(clip.encode()).hexdigest()[:8]}-{name}"
        taken[name] = clip
    if not (audio / name).exists():
        with atomic_path(audio / name) as temporary:
            _link(clip, temporary)
    return name


def _link(clip: str, target: Path) -> None:
    try:
        os.link(os.path.realpath(clip), target)
    except OSError:  # on another disk, or on one without hard links
        shutil.copyfile(clip, target)
