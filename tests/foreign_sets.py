"""Small data sets in the layouts of the published ones, with synthesised clips."""

import csv
import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import soundfile

CHOICES = ["dog bark", "car horn", "piano", "rain"]
ROUTES = [
    ("harbour", "station", "market", "school"),
    ("north", "south", "east", "west"),
    ("door", "window", "wall", "roof"),
]


def waveform(number: int, seconds: float = 1.5, rate: int = 16_000) -> np.ndarray:
    """A clip of its own for every number: a rhythm of bursts of tones and noise."""
    rng = np.random.default_rng(number)
    wave = 0.01 * rng.standard_normal(int(seconds * rate))
    for _ in range(8):
        start, length = int(rng.uniform(0, seconds - 0.2) * rate), int(rng.uniform(0.05, 0.2) * rate)
        time = np.arange(length) / rate
        wave[start : start + length] += rng.uniform(0.1, 0.4) * np.sin(2 * np.pi * rng.uniform(250, 3300) * time)
    return np.clip(wave, -1, 1).astype(np.float32)


def write_clip(path: Path, number: int, **how) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    rate = how.pop("rate", 16_000)
    soundfile.write(path, waveform(number, how.pop("seconds", 1.5), rate), rate, **how)
    return path


def flac_bytes(number: int, rate: int = 16_000) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, waveform(number, rate=rate), rate, format="FLAC")
    return buffer.getvalue()


def lettered(question: str, choices: list[str]) -> str:
    listed = "\n".join(f"{letter}. {choice}" for letter, choice in zip("ABCD", choices, strict=False))
    return f"{question}\nChoices:\n{listed}"


def avqa_row(number: int, **changes) -> dict:
    """AVQA's train_qa.json."""
    return {
        "id": number,
        "video_name": f"vid{number:04d}_{30:06d}",
        "video_id": number,
        "question_text": f"What is heard at place {number} in the video?",
        "multi_choice": CHOICES,
        "answer": number % 4,
        "question_relation": "Sound",
        "question_type": "Which",
    } | changes


def write_avqa(folder: Path, rows: list[dict], clips: int | None = None) -> Path:
    """train_qa.json beside audio/, whose files have the zero padding stripped; with `clips` they are used again."""
    names = {row["video_name"] for row in rows}
    for number, name in enumerate(sorted(names)[:clips]):
        write_clip(folder / "audio" / f"{name.replace('_000030', '_30')}.wav", number)
    (folder / "train_qa.json").write_text(json.dumps(rows), encoding="utf-8")
    return folder / "train_qa.json"


def audsem_row(number: int, **changes) -> dict:
    """A row of AudSem's mc_qa."""
    return {
        "file_name": f"sem{number:05d}.flac",
        "question": lettered(f"Which sound stands at place {number}?", CHOICES),
        "choices": dict(zip("ABCD", CHOICES, strict=True)),
        "thinking": f"At place {number} there is a {CHOICES[number % 4]}.",
        "answer": f"{'ABCD'[number % 4]}. {CHOICES[number % 4]}",
    } | changes


def write_audsem_csv(folder: Path, rows: list[dict]) -> Path:
    """mc_qa.csv beside the clips; choices are written as text."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, row in enumerate(rows):
        write_clip(folder / row["file_name"], 1000 + number)
    with open(folder / "mc_qa.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(row | {"choices": str(row["choices"])} for row in rows)
    return folder / "mc_qa.csv"


def write_audsem_tar(path: Path, rows: list[dict], clip_of=lambda number: number) -> Path:
    """A webdataset shard of .flac and .json members."""
    path.parent.mkdir(parents=True, exist_ok=True)
    made: dict[int, bytes] = {}
    with tarfile.open(path, "w") as shard:
        for number, row in enumerate(rows):
            key = Path(row["file_name"]).stem
            clip = clip_of(number)
            made.setdefault(clip, flac_bytes(1000 + clip, rate=32_000))
            content = json.dumps({name: value for name, value in row.items() if name != "file_name"}).encode()
            for suffix, data in ((".flac", made[clip]), (".json", content)):
                member = tarfile.TarInfo(key + suffix)
                member.size = len(data)
                shard.addfile(member, io.BytesIO(data))
    return path


def audiomcq_row(number: int, **changes) -> dict:
    """A row of AudioMCQ's data.jsonl."""
    return {
        "source_dataset": "AudioCaps",
        "question_type": "sound",
        "audio_path": f"audios/mcq{number:05d}.wav",
        "question": f"Which source dominates at place {number}?",
        "choices": CHOICES,
        "answer": CHOICES[number % 4],
        "gemini_cot": f"I listen to place {number} and hear a {CHOICES[number % 4]} first.",
    } | changes


def write_audiomcq(folder: Path, rows: list[dict]) -> Path:
    """data.jsonl beside audios/."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(sorted({row["audio_path"] for row in rows})):
        write_clip(folder / name, 2000 + number)
    (folder / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder / "data.jsonl"


def write_avqa_parquet(path: Path, numbers: list[int]) -> Path:
    """The Hub's processed AVQA: embedded audio, choices inside the question."""
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table(
        {
            "audio": [{"bytes": flac_bytes(number), "path": f"clip{number}.flac"} for number in numbers],
            "question": [lettered(f"What is heard at place {number} in the video?", CHOICES) for number in numbers],
            "answer": [f"{'ABCD'[number % 4]}. {CHOICES[number % 4]}" for number in numbers],
        }
    )
    hub = {"info": {"features": {"audio": {"_type": "Audio"}, "question": {"dtype": "string", "_type": "Value"},
                                 "answer": {"dtype": "string", "_type": "Value"}}}}  # fmt: skip
    pq.write_table(table.replace_schema_metadata({"huggingface": json.dumps(hub)}), path)
    return path
