"""Write the embedded world's files: source samples with thoughts, and two benchmarks in MMAU's and MMAR's layouts.

Every split has its own random generator, so no clip is in two of them.
"""

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import soundfile
from tqdm import tqdm

from ..data.samples import AudioQASample, make_sample_id, write_samples
from ..files import write_json, write_jsonl
from .sounds import SAMPLING_RATE, TASK_OF_SOUND, synthesise_clip
from .world import Question, Scene, ask, draw_scene


@dataclass(frozen=True)
class WorldConfig:
    """The size of the world."""

    seed: int = 0
    source_clips: int = 1500
    questions_per_clip: int = 4
    mmau_clips: int = 500  # two questions each
    mmar_clips: int = 250  # two questions each


SPLITS = ("source", "mmau", "mmar")


def write_world(folder: Path, config: WorldConfig) -> None:
    """Write clips, sample files and benchmarks under `folder`; the same config writes the same bytes."""
    questions = config.questions_per_clip
    source = _draw(folder / "clips", "source", config.source_clips, questions, config.seed)
    write_samples(folder / "source.jsonl", [_sample(*item) for item in source])
    mmau = _draw(folder / "MMAU" / "test-mini-audios", "mmau", config.mmau_clips, 2, config.seed)
    mmar = _draw(folder / "MMAR" / "audio", "mmar", config.mmar_clips, 2, config.seed)
    write_json(folder / "MMAU" / "mmau-test-mini.json", [_mmau_row(*item) for item in mmau])
    write_jsonl(folder / "MMAR" / "MMAR-meta.jsonl", [_mmar_row(*item) for item in mmar])
    write_json(folder / "world.json", asdict(config))


def _draw(folder: Path, split: str, clips: int, questions: int, seed: int) -> list[tuple[Path, Scene, Question]]:
    """Synthesise a split's clips and ask different questions about each."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng([seed, 1 + SPLITS.index(split)])
    drawn = []
    for number in tqdm(range(clips), desc=f"clips for {split}", unit="clip", delay=5):
        scene = draw_scene(rng)
        path = folder / f"{split}_{number:05d}.wav"
        soundfile.write(path, synthesise_clip(rng, list(scene.events)), SAMPLING_RATE)
        asked: dict[tuple[str, str], Question] = {}
        while len(asked) < questions:
            question = ask(rng, scene)
            asked.setdefault((question.text, question.answer), question)
        drawn += [(path, scene, question) for question in asked.values()]
    return drawn


def _sample(path: Path, scene: Scene, question: Question) -> AudioQASample:
    audio_path = f"clips/{path.name}"
    return AudioQASample(
        id=make_sample_id(audio_path, question.text, question.choices),
        audio_path=audio_path,
        question=question.text,
        choices=question.choices,
        answer=question.answer,
        think=question.think,
        source="demo",
        extra={"kind": question.kind, "depth": question.depth},
    )


def _mmau_row(path: Path, scene: Scene, question: Question) -> dict:
    return {
        "id": f"{path.stem}-{question.kind}-{make_sample_id('', question.text, question.choices)[:6]}",
        "audio_id": f"./test-mini-audios/{path.name}",
        "question": question.text,
        "choices": list(question.choices),
        "answer": question.answer,
        "dataset": "demo",
        "task": question.task,
        "split": "test-mini",
        "category": "Reasoning" if question.depth == "deep" else "Information Extraction",
        "sub-category": question.kind,
        "depth": question.depth,
        "difficulty": "easy" if question.depth == "shallow" else "medium" if len(scene.events) <= 5 else "hard",
    }


def _mmar_row(path: Path, scene: Scene, question: Question) -> dict:
    tasks = [task for task in ("sound", "music", "speech") if any(TASK_OF_SOUND[s] == task for s in scene.events)]
    return {
        "id": f"{path.stem}-{question.kind}-{make_sample_id('', question.text, question.choices)[:6]}",
        "audio_path": f"./audio/{path.name}",
        "question": question.text,
        "choices": list(question.choices),
        "answer": question.answer,
        "modality": "-".join(tasks) if len(tasks) == 1 else "mix-" + "-".join(tasks),
        "category": "Semantic Layer" if question.depth == "deep" else "Perception Layer",
        "sub-category": question.kind,
        "depth": question.depth,
        "language": None,
        "source": "demo",
        "url": "",
        "timestamp": "",
    }
