"""Predictions files of other programs are read as they are: lmms-eval's, and metadata rows with an answer but no id."""

import json

import pytest

from omni_clst.data.benchmark_rows import load_benchmark
from omni_clst.errors import InputError
from omni_clst.scoring.origin import OF_A_FOLDER, read_origin
from omni_clst.scoring.predictions import Predictions, read_predictions
from omni_clst.scoring.scores import score

CHOICES = ["hiss", "drum", "click", "beep"]


def benchmark_row(number: int, clip: int | None = None) -> dict:
    clip = number if clip is None else clip
    return {"id": f"q{number}", "audio_id": f"./test-mini-audios/c{clip}.wav", "question": f"what {number} ?",
            "choices": CHOICES, "answer": "drum", "dataset": "test", "task": "sound", "split": "test-mini",
            "category": "Reasoning", "sub-category": "first", "difficulty": "easy"}  # fmt: skip


def load(tmp_path, rows: list[dict]):
    (tmp_path / "meta.json").write_text(json.dumps(rows))
    return load_benchmark("mmau-mini", tmp_path / "meta.json")


def read(tmp_path, rows, lines: list[dict]) -> Predictions:
    (tmp_path / "p.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return read_predictions(tmp_path / "p.jsonl", rows.benchmark, rows.samples)


def logged(**more) -> dict:
    """A row as lmms-eval's writer leaves it: no document, no arguments."""
    return {"doc_id": 0, "target": "drum", "input": "what ?", "doc_hash": "x", "prompt_hash": "y"} | more


def submission(number: int) -> dict:
    """What the task of MMAU logs: the document, its choices as a text, and a choice drawn by lot where none is found."""
    return benchmark_row(number) | {"choices": json.dumps(CHOICES), "model_prediction": "click"}


LMMS_EVAL = [
    (logged(filtered_resps=["drum"], submission=submission(0)), "drum", None, "MMAU's task"),
    (logged(filtered_resps="drum", submission=submission(0)), "drum", None, "one request a document, flattened"),
    (logged(filtered_resps=[["drum"]], resps=[["x"]], submission=submission(0)), "drum", None, "nested lists"),
    (logged(resps=[["drum"]], doc={"id": "q0"}), "drum", None, "a writer that keeps the document"),
    (logged(filtered_resps=["B"], mmar_accuracy={"id": "q0", "prediction": "B"}), "B", None, "MMAR's task"),
    (logged(filtered_resps=["drum"], doc={"audio_id": "a/c0.wav"}), "drum", None, "a document without an id"),
    (logged(filtered_resps=["<think>t</think><answer>drum</answer>"], doc={"id": "q0"}), "drum", "t", "a thought"),
    (logged(filtered_resps=["drum"], id="q0"), "drum", None, "an id that was added by hand"),
    (logged(filtered_resps=[""], doc={"id": "q0"}), "", None, "an empty answer"),
]


@pytest.mark.parametrize(("line", "output", "think", "reason"), LMMS_EVAL, ids=[row[-1] for row in LMMS_EVAL])
def test_row_of_lmms_eval(tmp_path, line, output, think, reason):
    predictions = read(tmp_path, load(tmp_path, [benchmark_row(0)]), [line])
    assert predictions.outputs == {"q0": output}, reason
    assert predictions.keys == {"filtered_resps": 1}
    assert predictions.rows["q0"]["think"] == think


def test_letters_of_lmms_eval_are_right_by_the_extracting_rule_alone(tmp_path):
    rows = load(tmp_path, [benchmark_row(0), benchmark_row(1)])
    lines = [logged(filtered_resps=[said], submission=submission(number)) for number, said in enumerate(("B", "(C)"))]
    scores = score(rows, read(tmp_path, rows, lines))
    assert {rule: tally.correct for rule, tally in scores.tallies.items()} == {"official": 0, "strict": 0, "extracted": 1}


def test_metadata_row_without_an_id_is_joined_by_its_clip(tmp_path):
    rows = load(tmp_path, [benchmark_row(0), benchmark_row(1)])
    lines = []
    for number, key in enumerate(("answer_prediction", "model_output")):
        line = benchmark_row(number) | {key: f"said {number}"}
        del line["id"]
        lines.append(line)
    assert read(tmp_path, rows, lines).outputs == {"q0": "said 0", "q1": "said 1"}


def test_clip_of_several_questions_is_joined_by_the_question_too(tmp_path):
    rows = load(tmp_path, [benchmark_row(0), benchmark_row(1, clip=0)])
    lines = [{"audio_path": "x/c0.wav", "question": f"what {number} ?", "model_output": str(number)} for number in (1, 0)]
    assert read(tmp_path, rows, lines).outputs == {"q1": "1", "q0": "0"}


BAD = [
    ({"audio_id": "c9.wav", "model_output": "x"}, "no id in it, and 0 questions of the benchmark are about 'c9.wav'"),
    ({"audio_id": "c0.wav", "model_output": "x"}, "no id in it, and 2 questions of the benchmark are about 'c0.wav'"),
    (logged(filtered_resps=["x"]), "a row of lmms-eval whose question is known only as doc_id 0; add the benchmark's id"),
    (logged(filtered_resps=[-1.5, True], doc={"id": "q0"}), "filtered_resps -1.5 is not a text"),
    (logged(filtered_resps=[], doc={"id": "q0"}), "filtered_resps [] is not a text"),
]


@pytest.mark.parametrize(("line", "message"), BAD, ids=[row[-1][:40] for row in BAD])
def test_row_that_cannot_be_joined_is_named(tmp_path, line, message):
    rows = load(tmp_path, [benchmark_row(0), benchmark_row(1, clip=0)])
    with pytest.raises(InputError) as error:
        read(tmp_path, rows, [line])
    assert str(error.value).startswith(f"{tmp_path}/p.jsonl:1: ")
    assert message in str(error.value)


def test_scores_of_foreign_predictions_say_what_is_not_known(tmp_path):
    rows = load(tmp_path, [benchmark_row(0)])
    predictions = read(tmp_path, rows, [{"id": "q0", "model_output": "drum"}])
    found = score(rows, predictions, origin=read_origin(tmp_path / "p.jsonl")).to_json()
    assert {key: found["origin"][key] for key in OF_A_FOLDER} == dict.fromkeys(OF_A_FOLDER)
    assert found["origin"]["commit"] is None or len(found["origin"]["commit"].rstrip("+")) == 40
    assert [found[key] for key in ("think_rate", "mean_tokens", "cut_off")] == [None, None, None]


def test_scores_count_thoughts_tokens_and_answers_cut_off(tmp_path):
    rows = load(tmp_path, [benchmark_row(number) for number in range(4)])
    lines = [
        {"id": f"q{number}", "model_output": "drum", "think": think, "tokens": tokens, "finished": finished}
        for number, (think, tokens, finished) in enumerate((("a", 8, True), ("", 2, True), (None, 10, False)))
    ]
    unasked = {"id": "q3", "model_output": "", "parse_failed": True, "error": "no clip"}
    found = score(rows, read(tmp_path, rows, [*lines, unasked])).to_json()
    assert [found[key] for key in ("think_rate", "mean_tokens", "cut_off", "parse_failed")] == [25.0, 5.0, 1, 1]
