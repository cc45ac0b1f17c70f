"""Prepare all known data sets below a data folder, then join the training sets into one source file."""

from pathlib import Path

from ..data.benchmarks.registry import BENCHMARKS
from ..data.layouts import read_samples
from ..data.samples import AudioQASample, write_samples
from ..errors import InputError
from ..processes import say
from .clips import Inspection
from .columns import OWN
from .comparisons import Comparisons
from .config import PrepareAllConfig, PrepareConfig
from .folders import files_below
from .page import audit_table
from .readers import NoRows
from .run import SPLIT_FILES, Preparation
from .shared_sound import SharedSound, find_shared_sound
from .splits import connected, question_key, split

FOLDERS = {OWN: "samples", "avqa": "AVQA", "audsem": "AudSem", "audiomcq": "AudioMCQ"}
FOLDERS |= {name: benchmark.folder for name, benchmark in BENCHMARKS.items()}
OUTPUTS = {"train": "source.jsonl", "valid": "valid.jsonl", "held_out": "held_out.jsonl"}


def prepare_usual(settings: PrepareAllConfig) -> None:
    """Prepare the sets that are below `data_root`."""
    root = Path(settings.data_root)
    sources = [source for source in FOLDERS if _exists(root, source)]
    if not sources:
        folders = ", ".join(f"{folder}/" for folder in dict.fromkeys(FOLDERS.values()))
        raise InputError(f"{root}: has none of {folders}; data/README.md says what goes there")
    configs = [_config_of(source, root, settings) for source in sources]
    training, empty = [], []
    for config in configs:
        say(f"== {config.source}, from {config.input}")
        try:
            preparation = Preparation(config)
            summary = preparation.run()
        except NoRows as reason:
            say(f"{reason}\n")
            empty.append(config.source)
            continue
        say(audit_table(summary) + "\n")
        if preparation.is_benchmark:
            continue
        if summary.kept:
            training.append(preparation)
        else:
            empty.append(config.source)
    if training:
        join(training, root, settings)
    if empty:
        say(f"no row remains of {', '.join(empty)}: see above, and dropped.jsonl in {root / 'prepared'}/<set>")
    if empty and not training:
        raise InputError(f"{root}: no set has a row to train on")


def _exists(root: Path, source: str) -> bool:
    folder = root / FOLDERS[source]
    if source not in BENCHMARKS:
        return folder.is_dir()
    names = {Path(file).name for file in BENCHMARKS[source].meta_files}
    return folder.is_dir() and any(Path(file).name in names for file in files_below(folder))


def _config_of(source: str, root: Path, settings: PrepareAllConfig) -> PrepareConfig:
    folder, shared = str(root), settings.model_dump(exclude={"data_root", "valid_share", "held_out"})
    return PrepareConfig(
        source=source,
        input=str(root / FOLDERS[source]),
        output=str(root / "prepared" / source),
        audio_root=folder,
        against=folder,
        **shared,
    )


def join(training: list[Preparation], root: Path, settings: PrepareAllConfig) -> None:
    """Write the samples of all sets to source.jsonl, and their splits beside it.

    A question about a clip that is in several sets is taken once; clips and questions that sets share are in one split.
    """
    config = training[0].config
    shared = _shared_sound(training, root)
    samples: dict[tuple[str, str], tuple[AudioQASample, list[bytes]]] = {}
    rows = 0
    for preparation in training:
        for sample in read_samples(preparation.output / SPLIT_FILES["train"], config.audio_root):
            rows += 1
            clip = shared.first_name[sample.audio_path]
            links_of = preparation.links_of(question_key(sample.question, sample.choices))
            samples.setdefault((clip, question_key(sample.question, sample.choices)), (sample, links_of))
    links = [(shared.together.get(clip, clip), *links_of) for (clip, _), (_, links_of) in samples.items()]
    sizes = {"held_out": settings.held_out, "valid": round(settings.valid_share * len(samples))}
    parts = split(connected(links), sizes, settings.seed)
    for name, file in OUTPUTS.items():
        chosen = [sample for (sample, _), part in zip(samples.values(), parts, strict=True) if part == name]
        if chosen or name == "train":
            write_samples(root / file, chosen, config.audio_root)
            say(f"{root / file}: {len(chosen)} samples")
    if len(training) > 1:
        say(f"{rows - len(samples)} of {rows} samples were in two sets and are taken once")


def _shared_sound(training: list[Preparation], root: Path) -> SharedSound:
    """The sound that the clips of all sets share; clips are named by the path in samples."""
    inspections: dict[str, Inspection] = {}
    for preparation in training:
        for path, inspection in preparation.inspections.items():
            inspections[str(preparation.flac_folder / inspection.flac) if inspection.flac else path] = inspection
    of_sets = [preparation.work for preparation in training]
    comparisons = Comparisons(root / "prepared" / ".work", training[0].num_workers, of_sets)
    return find_shared_sound(inspections, {}, {}, comparisons)
