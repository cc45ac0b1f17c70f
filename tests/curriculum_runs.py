"""`src/curriculum.py` in tests: answers of two models to 30 samples, and its start."""

import json

import pytest

import curriculum as entry


@pytest.fixture
def world(tmp_path):
    """30 samples, 2 a clip, and both models' answers: 12 easy, 10 medium, 8 hard.

    On silence every third one (4 easy, 4 medium, 2 hard) is right half of the time, the others never.
    """
    rows = [
        {"id": f"q{n:02d}", "audio_path": f"clips/{n // 2}.wav", "question": "what ?", "choices": ["a", "b"],
         "answer": "a", "think": "because", "source": "test"}
        for n in range(30)
    ]  # fmt: skip
    write_rows(tmp_path / "source.jsonl", rows)
    for model, right in (("base", range(12)), ("sft", range(22))):
        answers = [{"id": f"q{n:02d}", "correct": [int(n in right)]} for n in range(30)]
        write_rows(tmp_path / model / "answers.jsonl", answers)
    write_rows(tmp_path / "silence" / "answers.jsonl", [
        {"id": f"q{n:02d}", "correct": [int(n % 3 == 0), 0], "audio": "silence"} for n in range(30)
    ])  # fmt: skip
    (tmp_path / "dir.jsonl").mkdir()
    return tmp_path


def write_rows(path, rows: list[dict]) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def run(world, **changes: object) -> None:
    arguments = {
        "samples": world / "source.jsonl",
        "base_answers_dir": world / "base",
        "answers_dir": world / "sft",
        "output": world / "out" / "CLST.jsonl",
        "size": 10,
    }
    values = {key: value for key, value in (arguments | changes).items() if value is not None}
    entry.main(["clst", *(word for key, value in values.items() for word in (f"--{key}", str(value)))])
