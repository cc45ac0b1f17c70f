"""Preparations in tests: their start, and what they wrote."""

import json
from pathlib import Path

from foreign_sets import CHOICES

import prepare
from omni_clst.data.layouts import read_samples
from omni_clst.data.samples import AudioQASample

DRIVER = Path(__file__).with_name("driver.py")


def run(source: str, path: Path, output: Path, **settings) -> dict:
    """Prepare in this process; returns report/audit.json."""
    prepare.main(words(source, path, output, **settings))
    return json.loads((output / "report" / "audit.json").read_text(encoding="utf-8"))


def words(source: str, path: Path, output: Path, **settings) -> list[str]:
    given = {"input": path, "output": output, "audio_root": output.parent, "against": "none", "num_workers": 2} | settings
    return [source, *(word for key, value in given.items() if value is not None for word in (f"--{key}", str(value)))]


def samples(output: Path, name: str = "samples") -> list[AudioQASample]:
    return read_samples(output / f"{name}.jsonl", output.parent)


def rows_of(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def by_rule(report: dict) -> dict[str, int]:
    return {count["rule"]: count["rows"] for count in report["rules"]}


def adds_up(report: dict) -> bool:
    dropped = sum(count["rows"] for count in report["rules"] if count["action"] == "dropped")
    return dropped + sum(report["rows_out"].values()) == report["rows_in"]


def tree(folder: Path) -> dict[str, bytes]:
    """Every file that was made, but for the memory of what is done already, which notes times of change."""
    files = {str(path.relative_to(folder)): path for path in sorted(folder.rglob("*")) if path.is_file()}
    return {name: path.read_bytes() for name, path in files.items() if not name.startswith(".work/")}


def write_benchmark(root: Path, question: str, clip: bytes) -> None:
    folder = root / "MMAU" / "test-mini-audios"
    folder.mkdir(parents=True)
    (folder / "x.wav").write_bytes(clip)
    row = {"id": "x", "audio_id": "./test-mini-audios/x.wav", "question": question, "choices": CHOICES, "answer": "rain",
           "task": "sound", "difficulty": "easy", "sub-category": "a", "category": "b"}  # fmt: skip
    (root / "MMAU" / "mmau-test-mini.json").write_text(json.dumps([row]))
