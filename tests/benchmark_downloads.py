"""The benchmarks as they are downloaded: their real columns, with a few rows and tiny clips."""

import csv
import io
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import soundfile
from foreign_sets import waveform

WORDS = ["hiss", "drum", "click", "beep"]


def mp3_bytes(number: int) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, waveform(number, 0.8), 16_000, format="MP3")
    return buffer.getvalue()


def mmsu_row(number: int, **changes) -> dict:
    """A row of MMSU's parquet, whose clip is embedded."""
    return {
        "id": f"sound_order_{number}",
        "audio": {"bytes": mp3_bytes(number), "path": f"sound_order_{number}.mp3"},
        "question": f"what sound comes {'last' if number % 2 else 'first'} ?",
        **{f"choice_{letter}": WORDS[(place + number) % 4] for place, letter in enumerate("abcd")},
        "answer_gt": WORDS[0],
        "task_name": f"task {number % 47}",
        "category": "Reasoning" if number % 3 else "Perception",
        "sub-category": "Paralinguistics" if number % 2 else "Linguistics",
        "sub-sub-category": "Phonology",
        "linguistics_sub_discipline": None if number % 2 else "Phonetics",
    } | changes


def write_parquet(path: Path, rows: list[dict]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def muchomusic_row(number: int, **changes) -> dict:
    """A row of MuChoMusic's CSV: lists as texts, clips by the identifiers of two other data sets."""
    of_musiccaps = number % 3 == 0
    return {
        "question": f"what sound comes first in part {number} ?",
        "correct_answer": WORDS[number % 4],
        **{f"distractor_{step}_answer": WORDS[(number + step) % 4] for step in (1, 2, 3)},
        "dataset": "musiccaps" if of_musiccaps else "sdd",
        "dataset_identifier": f"-v{number}_x_30.json" if of_musiccaps else f"{1000 + number}.json",
        "genre": "Rock" if number % 2 else "",
        "music_knowledge": ["['melody', 'harmony']", "['melody']", ""][number % 3],
        "music_reasoning": "['mood and expression']" if number % 2 else "[]",
    } | changes


def write_muchomusic(folder: Path, rows: list[dict]) -> Path:
    """muchomusic.csv, and the clips as the two data sets name them."""
    folder.mkdir(parents=True)
    with open(folder / "muchomusic.csv", "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    for number, row in enumerate(rows):
        name = row["dataset_identifier"].removesuffix(".json")
        path = f"sdd/audio/{name[-2:]}/{name}.2min.mp3"
        if row["dataset"] == "musiccaps":
            path = f"musiccaps/audio/[{name.removesuffix('_30')}]-[30-40].wav"
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(folder / path, waveform(number, 0.8), 16_000)
    return folder


def adqa_row(number: int, **changes) -> dict:
    """A row of ADQA's dev.jsonl."""
    return {
        "id": number,
        "audio_path": f"audios/{['mmau', 'mmar', 'mmsu'][number % 3]}/{number // 3:04d}.wav",
        "question": f"what sound comes {'last' if number % 2 else 'first'} ?",
        "choices": WORDS,
        "answer": WORDS[number % 4],
        "source_dataset": ["MMAU", "MMAR", "MMSU"][number % 3],
    } | changes


def write_jsonl_download(folder: Path, name: str, rows: list[dict]) -> Path:
    """A JSON Lines file beside the clips that it names, some of one name in different folders."""
    folder.mkdir(parents=True)
    (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    for number, row in enumerate(rows):
        path = folder / row["audio_path"]
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, waveform(number, 0.8), 16_000)
    return folder / name


CATEGORIES = (
    "sound", "music", "speech", "sound_music", "sound_speech", "music_speech", "sound_music_speech", "spatial_audio",
    "voice_chat", "multi", "open", "instruction following",
)  # fmt: skip


def mmau_pro_rows(count: int, several: int, without_choices: int) -> list[dict]:
    """Rows of MMAU-Pro's test.parquet, ordered by category; `several` have 2 to 5 clips, of which
    only the first is another row's first, too."""
    rows = []
    for number in range(count):
        is_open = number >= count - without_choices
        category = CATEGORIES[10 + number % 2] if is_open else CATEGORIES[10 * number // (count - without_choices)]
        clips = 2 + number % 4 if number < several else 1
        rows.append(
            {
                "id": f"{number:08d}-0000-4000-8000-000000000000",
                "audio_path": [f"data/{number % 40 + 100 * step:08d}.wav" for step in range(clips)],
                "question": f"what sound comes {'last' if number % 2 else 'first'} ?",
                "answer": "" if category == "instruction following" else WORDS[number % 4],
                "choices": [] if is_open else WORDS[: 2 + number % 3] if number % 4 < 2 else WORDS,
                "length_type": ["short", "medium", "long"][number % 3],
                "perceptual_skills": ["pitch", "timbre"][: number % 3],
                "reasoning_skills": ["temporal"] if number % 2 else None,
                "category": category,
                "transcription": None,
                "task_classification": "counting",
                "task_identifier": "t",
                "kwargs": {"keyword": "drum"} if category == "instruction following" else None,
                "sub-cat": None,
            }
        )
    return rows


def write_mmau_pro(folder: Path, rows: list[dict], seconds: float = 0.3) -> Path:
    """test.parquet beside data/, as the set unpacks."""
    write_parquet(folder / "test.parquet", rows)
    (folder / "data").mkdir()
    for name in sorted({clip for row in rows for clip in row["audio_path"]}):
        soundfile.write(folder / name, waveform(int(Path(name).stem), seconds + int(Path(name).stem) % 3 / 10), 16_000)
    return folder
