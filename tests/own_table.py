"""A table of questions as a user has it, over real recordings of spoken digits, with the faults that such tables have."""

import csv
import random
from pathlib import Path

import numpy as np
import soundfile

DIGITS = ("null", "eins", "zwei", "drei", "vier", "fünf", "sechs", "sieben", "acht", "neun")
OPTIONS = ("option_a", "option_b", "option_c", "option_d")
HEADER = ("file", "question", *OPTIONS, "answer_letter", "rationale", "speaker", "depth")
CLIPS = 60


def write_table(folder: Path, recordings: Path) -> Path:
    """120 questions in German over 60 clips of three digits each, below `folder`: samples.csv, and the clips beside it.

    Faults: a missing file, a letter out of range, an MP3 named wav, a clip under two names, CRLF, rows without a rationale.
    """
    rng = random.Random(7)
    names = sorted(path.name for path in recordings.glob("*.wav"))
    rows = []
    (folder / "clips").mkdir(parents=True)
    for number in range(CLIPS):
        speaker = rng.choice(("george", "jackson", "lucas", "nicolas", "theo", "yweweler"))
        spoken = [rng.choice([name for name in names if f"_{speaker}_" in name]) for _ in range(3)]
        waveforms = [soundfile.read(recordings / name)[0] for name in spoken]
        clip = f"clip{number:02d}.wav"
        soundfile.write(folder / "clips" / clip, np.concatenate(waveforms), 8000)
        rows += _questions(rng, clip, [int(name[0]) for name in spoken], speaker)
    _add_faults(folder, rows)
    with open(folder / "samples.csv", "w", encoding="utf-8-sig", newline="") as file:
        writer = csv.writer(file, delimiter=";", lineterminator="\r\n")
        writer.writerow(HEADER)
        writer.writerows(rows)
    return folder / "samples.csv"


def _questions(rng: random.Random, clip: str, digits: list[int], speaker: str) -> list[list[str]]:
    """Two questions about a clip: its first digit, and the sum of all three."""
    first, total = DIGITS[digits[0]], str(sum(digits))
    thought = f"Ich höre {', '.join(DIGITS[digit] for digit in digits)}, zusammen {total}."
    others = rng.sample([word for word in DIGITS if word != first], 3)
    sums = rng.sample([str(value) for value in range(28) if str(value) != total], 3)
    return [
        _row(rng, clip, "Welche Ziffer ist zuerst zu hören?", first, others, "", speaker, "shallow"),
        _row(rng, clip, "Was ist die Summe der Ziffern?", total, sums, thought, speaker, "deep"),
    ]


def _row(rng, clip, question, right, others, thought, speaker, depth) -> list[str]:
    choices = [right, *others]
    rng.shuffle(choices)
    return [clip, question, *choices, "ABCD"[choices.index(right)], thought, speaker, depth]


def _add_faults(folder: Path, rows: list[list[str]]) -> None:
    clips = folder / "clips"
    rows[4][0] = "verloren.wav"  # a missing file
    rows[9][6] = "E"  # a letter out of range
    waveform, rate = soundfile.read(clips / "clip10.wav")
    soundfile.write(clips / "clip10.wav", waveform, rate, format="MP3")  # an MP3 named wav
    (clips / "clip21.wav").write_bytes((clips / "clip20.wav").read_bytes())  # one clip under two names
    for place in (0, 1):
        rows[42 + place] = ["clip21.wav", *rows[40 + place][1:]]
