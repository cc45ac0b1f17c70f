"""A tiny random model and a few clips for tests: the released classes, made in a second."""

import json
import socket
from pathlib import Path

import numpy as np
import soundfile
import torch

from omni_clst.demo.clips import compose_clip
from omni_clst.demo.knobs import Knobs
from omni_clst.demo.pretrain import save_base, tokenizer_corpus
from omni_clst.demo.scene import SAMPLING_RATE, Scene
from omni_clst.demo.sounds import SOUNDS, SynthesisedSounds
from omni_clst.demo.tiny import make_config, make_processor
from omni_clst.model.families.qwen2_5_omni import Qwen2_5OmniThinker
from omni_clst.settings import REPOSITORY


def make_base(folder: Path, seed: int = 0, hidden: int = 32, gain: float = 5.0) -> Path:
    """Save a random thinker (60 k parameters with `hidden` 32) with its processor in the full Omni layout."""
    torch.manual_seed(seed)
    processor = make_processor(tokenizer_corpus())
    config = make_config(processor, hidden=hidden, layers=2, audio_layers=1)
    model = Qwen2_5OmniThinker(config.thinker_config)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim >= 2:
                parameter.mul_(gain)  # far from uniform, so that greedy answers differ between samples
        model.audio_tower.proj.weight.mul_(30.0)  # and depend on the audio
    save_base(folder, model, config, processor)
    return folder


def write_zero_settings(folder: Path, stage: int) -> Path:
    """The shipped DeepSpeed settings with every weight partitioned: a tiny one stays whole below the usual threshold."""
    settings = json.loads((REPOSITORY / "configs" / f"zero{stage}.json").read_text(encoding="utf-8"))
    settings["zero_optimization"]["stage3_param_persistence_threshold"] = 0
    path = folder / f"zero{stage}.json"
    path.write_text(json.dumps(settings), encoding="utf-8")
    return path


def free_port() -> int:
    """A port for a launch of several processes."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def write_clips(folder: Path, count: int, seed: int = 0) -> list[str]:
    """Clips of one to four events and of different lengths; returns their file names."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    names, sounds = [], SynthesisedSounds()
    for number in range(count):
        events = tuple(str(rng.choice(SOUNDS)) for _ in range(1 + number % 4))
        clip = compose_clip(rng, Scene(events, sounds.words), sounds, Knobs())[
            : SAMPLING_RATE // 2 + number % 5 * SAMPLING_RATE // 4
        ]
        names.append(f"clip{number:03d}.wav")
        soundfile.write(folder / names[-1], clip, SAMPLING_RATE)
    return names


def write_train_file(folder: Path, count: int, seed: int = 0) -> Path:
    """A training file in our own format beside its clips: levels in thirds, every other row with an empty thought."""
    rows = []
    for number, name in enumerate(write_clips(folder / "clips", count, seed)):
        rows.append(
            {
                "id": f"row{number}",
                "audio_path": f"clips/{name}",
                "question": "what sound comes first ?",
                "choices": ["hiss", "drum", "click", "beep"],
                "answer": ["hiss", "drum", "click", "beep"][number % 4],
                "think": "" if number % 2 else "hiss drum 1",
                "source": "test",
                "level": ("easy", "medium", "hard")[3 * number // count],
            }
        )
    path = folder / "train.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def write_mmau(data_root: Path, count: int) -> Path:
    """A benchmark in MMAU's layout under `data_root`."""
    names = write_clips(data_root / "MMAU" / "test-mini-audios", count, seed=1)
    rows = [
        {
            "id": f"q{number:03d}",
            "audio_id": f"./test-mini-audios/{name}",
            "question": f"what sound comes {['first', 'last'][number % 2]} ?",
            "choices": ["hiss", "drum", "click", "beep"],
            "answer": "drum",
            "dataset": "test",
            "task": ["sound", "music", "speech"][number % 3],
            "split": "test-mini",
            "category": "Reasoning",
            "sub-category": "first",
            "difficulty": "easy",
        }
        for number, name in enumerate(names)
    ]
    path = data_root / "MMAU" / "mmau-test-mini.json"
    path.write_text(json.dumps(rows), encoding="utf-8")
    return path
