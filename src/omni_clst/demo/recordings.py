"""Real recordings in place of the synthesised sounds: any folder of labelled clips.

Three layouts are read: a table with the columns `file` and `label` (`speaker` and `split` where it has them; ESC-50's
`filename`, `category` and `fold` too), a folder per label (as Speech Commands), and `<label>_<speaker>_<index>.wav` (as the
Free Spoken Digit Dataset; also `<label>_<anything>.wav`). Recordings are split by what the names tell: `testing_list.txt`,
a `split` column, fold 5 of ESC-50, index 0 to 4 of a speaker's digit; otherwise every tenth is held out, by a hash.
"""

import csv
import hashlib
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Literal

import numpy as np

from ..data.audio import load_audio
from ..errors import InputError
from ..files import sha256_of_text
from .scene import NUMBERS, NUMBERS_BESIDE_DIGITS, SAMPLING_RATE, Scene, Words

Part = Literal["train", "test", "unseen"]
ENDINGS = (".wav", ".flac", ".ogg", ".mp3")
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
EVENT_SECONDS = 0.4
QUIET = 0.05  # of a recording's peak; what is below it at the start and at the end is cut off
FADE_SECONDS = 0.01
FEWEST_LABELS, FEWEST_RECORDINGS = 4, 3
TEST_INDICES = 5  # of each speaker and digit, in the Free Spoken Digit Dataset
ESC_TEST_FOLD = "5"


@dataclass(frozen=True)
class Recording:
    """One labelled file; a held-out one is in no training clip."""

    path: Path
    label: str
    speaker: str | None
    held_out: bool


def read_recordings(place: Path) -> list[Recording]:
    """All labelled recordings of a table or a folder, sorted by path; raises `InputError` for none."""
    if place.is_file():
        found = list(_from_table(place, place.parent))
    elif (place / "meta" / "esc50.csv").is_file():
        found = list(_from_table(place / "meta" / "esc50.csv", place / "audio"))
    elif (place / "recordings").is_dir():
        found = list(_from_names(place / "recordings"))
    elif place.is_dir():
        found = list(_from_folders(place)) or list(_from_names(place))
    else:
        raise InputError(f"recordings: {place} does not exist")
    if not found:
        raise InputError(
            f"recordings: {place} holds no labelled recording: <label>_*.wav, a folder per label, or a table "
            f"with the columns file and label"
        )
    return sorted(found, key=lambda recording: recording.path)


def _from_table(table: Path, folder: Path) -> Iterator[Recording]:
    with table.open(encoding="utf-8-sig", newline="") as lines:
        for number, row in enumerate(csv.DictReader(lines), start=2):
            name, label = row.get("file") or row.get("filename"), row.get("label") or row.get("category")
            if not name or not label:
                raise InputError(f"{table}:{number}: the columns file and label are needed, found {', '.join(row)}")
            if not (folder / name).is_file():
                raise InputError(f"{table}:{number}: {folder / name} does not exist")
            split = row.get("split") or ("test" if row.get("fold") == ESC_TEST_FOLD else "train" if "fold" in row else "")
            held_out = split == "test" if split else _one_in_ten(name)
            yield Recording(folder / name, label, row.get("speaker") or None, held_out)


def _from_folders(place: Path) -> Iterator[Recording]:
    listed = place / "testing_list.txt"
    testing = set(listed.read_text(encoding="utf-8").split()) if listed.is_file() else None
    for folder in sorted(place.iterdir()):
        if folder.is_dir() and not folder.name.startswith(("_", ".")):
            for path in _audio_files(folder):
                name = f"{folder.name}/{path.name}"
                speaker = path.stem.split("_nohash_")[0] if "_nohash_" in path.stem else None
                held_out = name in testing if testing is not None else _one_in_ten(name)
                yield Recording(path, folder.name, speaker, held_out)


def _from_names(folder: Path) -> Iterator[Recording]:
    for path in _audio_files(folder):
        numbered = re.fullmatch(r"(?P<label>[^_]+)_(?P<speaker>[^_]+)_(?P<index>\d+)", path.stem)
        if numbered:
            held_out = int(numbered["index"]) < TEST_INDICES
            yield Recording(path, numbered["label"], numbered["speaker"], held_out)
        elif "_" in path.stem:
            yield Recording(path, path.stem.split("_")[0], None, _one_in_ten(path.name))


def _audio_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in ENDINGS)


def _one_in_ten(name: str) -> bool:
    return int(hashlib.sha256(name.encode()).hexdigest(), 16) % 10 == 0


def word_of(label: str) -> str:
    """The label as one word without digits, which the world's tokenizer keeps whole: "3" is three."""
    return DIGITS[int(label)] if label in map(str, range(10)) else re.sub(r"[^a-z]", "", label.lower())


@dataclass(frozen=True)
class RecordedSounds:
    """One part of the recordings as the world's events.

    `unseen_speakers` are in no training clip; `part` takes the others' training recordings, their held-out ones, or all of
    the unseen speakers'. Where no speakers are known, the unseen part is the held-out one.
    """

    recordings: tuple[Recording, ...]
    part: Part = "train"
    unseen_speakers: tuple[str, ...] = ()
    event_seconds: float = EVENT_SECONDS

    def __post_init__(self):
        if len(self.words.sounds) < FEWEST_LABELS:
            raise InputError(f"recordings: {len(self.words.sounds)} labels are too few, {FEWEST_LABELS} are needed")
        for label, files in self._files.items():
            if len(files) < FEWEST_RECORDINGS:
                raise InputError(
                    f"recordings: {label!r} has {len(files)} recordings in the part {self.part!r}, "
                    f"{FEWEST_RECORDINGS} are needed"
                )

    @cached_property
    def words(self) -> Words:
        """The labels as words; all are speech if the speakers are known."""
        labels = sorted({recording.label for recording in self.recordings})
        by_word = {word_of(label): label for label in labels}
        if len(by_word) < len(labels) or "" in by_word:
            raise InputError(f"recordings: the labels {', '.join(labels)} do not differ in their letters")
        numbers = NUMBERS_BESIDE_DIGITS if set(by_word) & set(NUMBERS) else NUMBERS
        return Words(tuple(by_word), dict.fromkeys(by_word, "speech" if self._known_speakers else "sound"), numbers)

    @cached_property
    def voices(self) -> tuple[str, ...]:
        """The speakers of this part."""
        return tuple(sorted({file.speaker for files in self._files.values() for file in files if file.speaker}))

    def voiced(self, sound: str) -> bool:
        """True if the speakers are known: every recording has one."""
        return self._known_speakers

    def event(self, rng: np.random.Generator, scene: Scene, index: int) -> np.ndarray:
        """A recording of the event at `index`, in the voice that the scene asks for: shape (samples,) at 16 kHz."""
        files = self._files[scene.events[index]]
        voice = scene.delivery.voices[index] if scene.delivery else None
        spoken = [file for file in files if voice in (None, file.speaker)] or files
        return load_event(spoken[int(rng.integers(len(spoken)))].path)

    @property
    def _known_speakers(self) -> bool:
        return all(recording.speaker for recording in self.recordings)

    @cached_property
    def _files(self) -> dict[str, list[Recording]]:
        """The recordings of this part by word; the unseen part needs no split of its own."""
        files: dict[str, list[Recording]] = defaultdict(list)
        for recording in self.recordings:
            if self._takes(recording):
                files[word_of(recording.label)].append(recording)
        return {word: files[word] for word in self.words.sounds}

    def _takes(self, recording: Recording) -> bool:
        unseen = recording.speaker in self.unseen_speakers
        if self.part == "unseen" and self.unseen_speakers:
            return unseen
        return not unseen and recording.held_out == (self.part != "train")


@lru_cache(maxsize=20_000)
def load_event(path: Path) -> np.ndarray:
    """The loud part of a recording, at most 0.4 s and with a peak of 1: float32, shape (samples,) at 16 kHz."""
    waveform = load_audio(path)
    peak = max(float(np.abs(waveform).max()), 1e-9)
    loud = np.flatnonzero(np.abs(waveform) > QUIET * peak)
    event = waveform[loud[0] : loud[-1] + 1][: round(EVENT_SECONDS * SAMPLING_RATE)] / peak
    fade = np.linspace(0.0, 1.0, round(FADE_SECONDS * SAMPLING_RATE))[: len(event)]
    event[: len(fade)] *= fade
    event[len(event) - len(fade) :] *= fade[::-1]
    event.flags.writeable = False
    return event


def describe_recordings(place: Path, recordings: list[Recording]) -> dict:
    """Where the recordings are from: the first line of their README, which names the licence, and a hash of them."""
    folder = place if place.is_dir() else place.parent
    readme = next((path for path in sorted(folder.glob("README*")) if path.is_file()), None)
    names = "\n".join(f"{file.label} {file.path.name} {file.path.stat().st_size}" for file in recordings)
    lines = readme.read_text(encoding="utf-8").splitlines() if readme else []
    return {
        "folder": str(folder.resolve()),
        "source_and_licence": next((line.strip("# ") for line in lines if line.strip()), "not stated: no README"),
        "recordings": len(recordings),
        "names_and_sizes_sha256": sha256_of_text(names),
    }
