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
from .clips import compose_clip
from .knobs import Knobs
from .recordings import RecordedSounds, Recording
from .scene import SAMPLING_RATE, Scene, Sounds
from .sounds import SynthesisedSounds
from .world import Question, ask, draw_scene, question_shares, with_false_events


@dataclass(frozen=True)
class WorldConfig:
    """The size of the world, and its knobs."""

    seed: int = 0
    knobs: Knobs = Knobs()
    source_clips: int = 1500
    questions_per_clip: int = 4
    mmau_clips: int = 500  # two questions each
    mmar_clips: int = 250  # two questions each


SPLITS = ("source", "mmau", "mmar")


@dataclass(frozen=True)
class SplitSounds:
    """Where the events of every split come from; of recordings, no two splits share one."""

    source: Sounds
    mmau: Sounds
    mmar: Sounds


def synthesised_sounds() -> SplitSounds:
    """Random sounds everywhere: no two events are the same."""
    sounds = SynthesisedSounds()
    return SplitSounds(sounds, sounds, sounds)


def recorded_sounds(recordings: list[Recording], unseen_speakers: list[str]) -> SplitSounds:
    """Training recordings for the source, held-out ones of the same speakers for MMAU, unseen speakers for MMAR."""
    common = {"recordings": tuple(recordings), "unseen_speakers": tuple(unseen_speakers)}
    return SplitSounds(
        RecordedSounds(part="train", **common),
        RecordedSounds(part="test", **common),
        RecordedSounds(part="unseen", **common),
    )


def write_world(folder: Path, config: WorldConfig, sounds: SplitSounds | None = None) -> None:
    """Write clips, sample files and benchmarks under `folder`; the same config writes the same bytes."""
    sounds = sounds or synthesised_sounds()
    source = _draw(folder / "clips", "source", config.source_clips, config.questions_per_clip, config, sounds.source)
    rng = np.random.default_rng([config.seed, 1 + len(SPLITS)])
    names = sounds.source.words.sounds
    source = [(path, scene, with_false_events(rng, question, config.knobs.false_events, names))
              for path, scene, question in source]  # fmt: skip
    write_samples(folder / "source.jsonl", [_sample(*item) for item in source])
    mmau = _draw(folder / "MMAU" / "test-mini-audios", "mmau", config.mmau_clips, 2, config, sounds.mmau)
    mmar = _draw(folder / "MMAR" / "audio", "mmar", config.mmar_clips, 2, config, sounds.mmar)
    write_json(folder / "MMAU" / "mmau-test-mini.json", [_mmau_row(*item) for item in mmau])
    write_jsonl(folder / "MMAR" / "MMAR-meta.jsonl", [_mmar_row(*item) for item in mmar])
    write_json(folder / "world.json", asdict(config))


Drawn = list[tuple[Path, Scene, Question]]


def _draw(folder: Path, split: str, clips: int, questions: int, config: WorldConfig, sounds: Sounds) -> Drawn:
    """Compose a split's clips and ask different questions about each."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng([config.seed, 1 + SPLITS.index(split)])
    shares = question_shares(config.knobs)
    drawn = []
    for number in tqdm(range(clips), desc=f"clips for {split}", unit="clip", delay=5):
        scene = draw_scene(rng, sounds, config.knobs)
        path = folder / f"{split}_{number:05d}.wav"
        soundfile.write(path, compose_clip(rng, scene, sounds, config.knobs), SAMPLING_RATE)
        asked: dict[tuple[str, str], Question] = {}
        while len(asked) < questions:
            question = ask(rng, scene, shares)
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
        "difficulty": "easy" if question.depth != "deep" else "medium" if len(scene.events) <= 5 else "hard",
    }


def _mmar_row(path: Path, scene: Scene, question: Question) -> dict:
    tasks = [task for task in ("sound", "music", "speech") if any(scene.words.task_of[s] == task for s in scene.events)]
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
