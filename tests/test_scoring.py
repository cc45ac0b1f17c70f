"""The official score, row by row, and where the strict one differs."""

import json
import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omni_clst.data.benchmark_rows import load_benchmark
from omni_clst.data.benchmarks.registry import BENCHMARKS
from omni_clst.data.matching import strict_correct, token_sets_agree
from omni_clst.errors import InputError
from omni_clst.scoring.predictions import Predictions, read_predictions
from omni_clst.scoring.scores import format_table, score

OFFICIAL = [
    ("dog", "dog", ["dog", "cat"], True, "the answer"),
    ("DOG", "dog", ["dog", "cat"], True, "case does not count"),
    ("the dog", "dog", ["dog", "cat"], True, "other words do not hurt"),
    ("dog or cat", "dog", ["dog", "cat"], False, "a wrong choice's word does"),
    ("", "dog", ["dog", "cat"], False, "nothing said"),
    (None, "dog", ["dog", "cat"], False, "no text"),
    (3, "dog", ["dog", "cat"], False, "a number is no text"),
    ("B", "dog", ["dog", "cat"], False, "a letter"),
    ("near to far from", "From far to near", ["From far to near", "From near to far"], True, "word order is lost"),
    ("big dog", "dog", ["dog", "big dog"], False, "a word that only a longer choice has"),
    ("x", "?", ["?", "!"], True, "an answer without tokens is a subset of anything"),
]


@pytest.mark.parametrize(("said", "answer", "choices", "right", "reason"), OFFICIAL, ids=[r[-1] for r in OFFICIAL])
def test_official_rule(said, answer, choices, right, reason):
    assert token_sets_agree(said, answer, choices) is right, reason


def naive_official(said: str, answer: str, choices: list[str]) -> bool:
    """The rule once more, token by token."""
    words = lambda text: [w for w in re.split(r"\W+", text.lower()) if w]  # noqa: E731
    if not words(said):
        return False
    for word in words(answer):
        if word not in words(said):
            return False
    for choice in choices:
        if sorted(set(words(choice))) == sorted(set(words(answer))):
            continue
        for word in words(choice):
            if word not in words(answer) and word in words(said):
                return False
    return True


WORDS = st.lists(st.sampled_from(["dog", "Cat", "to", "a", "b2", "été"]), max_size=4).map(" ".join)


@given(said=WORDS, answer=WORDS, others=st.lists(WORDS, max_size=3))
def test_official_rule_equals_a_naive_one(said, answer, others):
    assert token_sets_agree(said, answer, [answer, *others]) == naive_official(said, answer, [answer, *others])


LETTERS = "ABCDEFGHIJ"
# construction -> (what is predicted for a sample, MMAU-mini %, MMAR %) under the official rule
CONSTRUCTED = {
    "answer": (lambda s: s.answer, 100.0, 100.0),
    "upper case": (lambda s: s.answer.upper(), 100.0, 100.0),
    "reordered": (lambda s: " ".join(reversed(re.findall(r"\w+", s.answer))), 100.0, 100.0),
    "letter only": (lambda s: LETTERS[s.choices.index(s.answer)], 0.2, 0.0),
    "letter and text": (lambda s: f"({LETTERS[s.choices.index(s.answer)]}) {s.answer}", 96.7, 98.5),
    "letter and comma": (lambda s: f"{LETTERS[s.choices.index(s.answer)]}、{s.answer}", 96.7, 98.5),
    "corner brackets": (lambda s: f"「{s.answer}」。", 100.0, 100.0),
    "bold": (lambda s: f"- **{s.answer}**", 100.0, 100.0),
    "empty": (lambda s: "", 0.0, 0.0),
    "sentence": (lambda s: f"The answer is {s.answer}.", 90.7, 91.0),
    "all choices": (lambda s: " ".join(s.choices), 0.1, 1.2),
    "first choice": (lambda s: s.choices[0], 39.8, 28.0),
    "last choice": (lambda s: s.choices[-1], 13.3, 31.0),
    "first wrong choice": (lambda s: next(c for c in s.choices if c != s.answer), 0.6, 1.1),
}


@pytest.mark.parametrize("construction", CONSTRUCTED)
@pytest.mark.parametrize(
    ("name", "file", "column"), [("mmau-mini", "mmau-test-mini.json", 1), ("mmar", "MMAR-meta.jsonl", 2)]
)
def test_constructed_predictions_give_the_official_figures(real_data, name, file, column, construction):
    rows = load_benchmark(name, real_data / file)
    predict = CONSTRUCTED[construction][0]
    outputs = {s.id: predict(s) for s in rows.samples}
    scores = score(rows, Predictions(outputs, {"model_output": len(outputs)}, 0))
    assert scores.tallies["official"].accuracy == pytest.approx(CONSTRUCTED[construction][column])
    assert sum(verdict["official"] for verdict in scores.verdicts) == scores.tallies["official"].correct
    for sample in rows.samples:
        said = outputs[sample.id]
        assert token_sets_agree(said, sample.answer, sample.choices) == naive_official(
            said, sample.answer, list(sample.choices)
        )


@pytest.mark.parametrize(
    ("name", "file", "count"), [("mmau-mini", "mmau-test-mini.json", 9), ("mmar", "MMAR-meta.jsonl", 20)]
)
def test_rows_where_the_official_rule_takes_a_wrong_choice(real_data, name, file, count):
    rows = load_benchmark(name, real_data / file)
    accepted = set()
    for sample in rows.samples:
        for choice in sample.choices:
            if choice != sample.answer and token_sets_agree(choice, sample.answer, sample.choices):
                accepted.add(sample.id)
                assert not strict_correct(choice, sample.answer, sample.choices)
    assert len(accepted) == count


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


MMAU, MMAR = BENCHMARKS["mmau-mini"], BENCHMARKS["mmar"]
RAW = "<think>cat or dog</think><answer>dog</answer>"
KEYS = [
    (MMAU, [{"model_output": "x"}], ["x"], {"model_output": 1}, "MMAU's own key"),
    (MMAR, [{"answer_prediction": "x"}], ["x"], {"answer_prediction": 1}, "MMAR's own key"),
    (MMAU, [{"answer_prediction": "x"}], ["x"], {"answer_prediction": 1}, "MMAR's key in predictions for MMAU"),
    (MMAR, [{"model_output": RAW, "answer_prediction": "dog"}], ["dog"], {"answer_prediction": 1},
     "the raw text beside MMAR's own key"),
    (MMAU, [{"model_output": "dog", "answer_prediction": RAW}], ["dog"], {"model_output": 1},
     "the same for MMAU"),
    (MMAR, [{"model_output": "x", "model_prediction": "y"}], ["y"], {"model_prediction": 1}, "MMAR's older key next"),
    (MMAU, [{"model_output": None, "model_prediction": "x"}], ["x"], {"model_prediction": 1}, "null before a text"),
    (MMAU, [{"model_output": "", "model_prediction": "x"}], ["x"], {"model_prediction": 1}, "empty before a text"),
    (MMAR, [{"answer_prediction": "", "model_output": RAW}, {"answer_prediction": "dog", "model_output": RAW}],
     ["", "dog"], {"answer_prediction": 2}, "an empty answer where other rows have one stays empty"),
    (MMAU, [{"model_output": None, "model_prediction": "x"}, {"model_output": "y"}], ["x", "y"],
     {"model_prediction": 1, "model_output": 1}, "rows of two programs in one file"),
    (MMAU, [{"model_output": None}], [None], {"model_output": 1}, "no text anywhere"),
]  # fmt: skip


@pytest.mark.parametrize(("benchmark", "rows", "outputs", "keys", "reason"), KEYS, ids=[row[-1] for row in KEYS])
def test_which_key_an_answer_is_read_from(tmp_path, benchmark, rows, outputs, keys, reason):
    lines = [json.dumps({"id": str(number)} | row) + "\n" for number, row in enumerate(rows)]
    predictions = read_predictions(write(tmp_path / "p.jsonl", "".join(lines)), benchmark)
    assert list(predictions.outputs.values()) == outputs, reason
    assert predictions.keys == keys, reason


FORMS = [
    ('{"id": "a", "model_output": "x"}\n\n{"id": "b", "model_output": "y"}\n', "JSON Lines with a blank line"),
    ('\ufeff{"id": "a", "model_output": "x"}\r\n{"id": "b", "model_output": "y"}\r\n', "byte order mark and CRLF"),
    ('[{"id": "a", "model_output": "x"},\n {"id": "b", "model_output": "y"}]', "array"),
    ('{"id": "a", "model_output": "x"}\n{"id": "b", "model_output": "y"}\n{"id": "a", "model_output": "x"}', "a row again"),
]


@pytest.mark.parametrize(("text", "reason"), FORMS, ids=[row[-1] for row in FORMS])
def test_forms_of_a_predictions_file(tmp_path, text, reason):
    predictions = read_predictions(write(tmp_path / "p", text), MMAU)
    assert predictions.outputs == {"a": "x", "b": "y"}, reason
    assert (predictions.parse_failed, predictions.repeated) == (0, int(reason == "a row again"))


def test_number_as_id_is_the_same_id_as_its_text(tmp_path):
    text = '{"id": 7, "model_output": "x"}\n{"id": "8", "model_output": "y"}'
    assert read_predictions(write(tmp_path / "p", text), MMAU).outputs == {"7": "x", "8": "y"}


BAD_PREDICTIONS = [
    ('{"id": "a", "text": "x"}\n', "{path}:1: none of model_output, model_prediction, answer_prediction in it"),
    (
        '{"id": "a", "model_output": "x"}\n{"id": "a", "model_output": "y"}\n',
        "{path}:2: id 'a' is used already at {path}:1 with another answer",
    ),
    ('{"model_output": "x"}\n', "{path}:1: no id in it; a row is {{'id': ..., 'model_output': ...}}"),
    ('{"a": "x", "b": "y"}', "{path}:1: no id in it; a row is {{'id': ..., 'model_output': ...}}"),
    ('{"results": []}', "{path}:1: no id in it; a row is {{'id': ..., 'model_output': ...}}"),
    (
        '{\n "b": "y",\n "a": "x"\n}',
        "{path}: one JSON object with the keys ['a', 'b']; a JSON array or an object a line is expected",
    ),
    ('{"id": true, "model_output": "x"}', "{path}:1: id True is not a text"),
    ('{"id": null, "model_output": "x"}', "{path}:1: id None is not a text"),
    (
        '{"id": "a", "model_output": "x"}\n{"id": "b", "mod',
        '{path}:2: not JSON (Unterminated string starting at): \'{{"id": "b", "mod\'',
    ),
    ("[1]", "{path}: row 1: expected an object, got '1'"),
]


@pytest.mark.parametrize(("text", "message"), BAD_PREDICTIONS, ids=[row[0][:40] for row in BAD_PREDICTIONS])
def test_bad_predictions_are_named(tmp_path, text, message):
    path = write(tmp_path / "p.jsonl", text)
    with pytest.raises(InputError) as caught:
        read_predictions(path, MMAU)
    assert str(caught.value) == message.format(path=path)


@pytest.fixture
def rows(tmp_path):
    from tiny_world import write_mmau

    return load_benchmark("mmau-mini", write_mmau(tmp_path, 4))


def predicted(*ids):
    return Predictions({key: "drum" for key in ids}, {"model_output": len(ids)}, 0)


def test_table_and_json_name_the_keys(rows):
    scores = score(rows, predicted("q000", "q001", "q002", "q003"))
    assert format_table(scores).splitlines()[0].endswith("; answers read from model_output")
    mixed = Predictions(scores.predictions.outputs, {"model_prediction": 3, "model_output": 1}, 0, repeated=2)
    table = format_table(score(rows, mixed)).splitlines()
    assert table[0].endswith("; answers read from model_prediction (3 rows), model_output (1 row)")
    assert "2 predictions are repeated with the same answer and count once" in table
    assert score(rows, mixed).to_json()["output_keys"] == {"model_prediction": 3, "model_output": 1}


def test_missing_predictions_are_an_error_and_else_wrong(rows):
    with pytest.raises(
        InputError, match=r"2 of 4 rows have no prediction: q001, q003; --allow_missing counts them as wrong"
    ):
        score(rows, predicted("q000", "q002"))
    scores = score(rows, predicted("q000", "q002"), allow_missing=True)
    assert (scores.tallies["official"].accuracy, scores.missing) == (50.0, ["q001", "q003"])


def test_rows_that_are_all_open_questions_have_no_score(rows):
    """As the first rows of a benchmark with open questions may be under --limit."""
    all_open = replace(rows, benchmark=replace(rows.benchmark, is_scored=lambda sample: False))
    with pytest.raises(InputError, match="mmau-mini: all 4 rows are open questions, which are not scored"):
        score(all_open, predicted("q000", "q001", "q002", "q003"))


def test_unknown_ids_are_an_error(rows):
    with pytest.raises(InputError, match="1 predictions have ids that the benchmark does not have: zzz"):
        score(rows, predicted("q000", "q001", "q002", "q003", "zzz"))


def all_of(count: int) -> dict:
    """A cell with only right answers; Wilson's lower limit is then n / (n + z^2)."""
    low = pytest.approx(100 * count / (count + 1.959964**2), abs=1e-4)
    return {"correct": count, "total": count, "accuracy": 100.0, "interval": [low, pytest.approx(100.0)]}


def test_scores_have_the_agreed_shape(rows):
    result = score(rows, predicted("q000", "q001", "q002", "q003")).to_json()
    assert result == {
        "benchmark": "mmau-mini",
        "meta": rows.meta_path,
        "meta_sha256": rows.meta_sha256,
        "release": "unknown release",
        "total": 4,
        "answered": 4,
        "missing": 0,
        "parse_failed": 0,
        "cut_off": None,
        "think_rate": None,
        "mean_tokens": None,
        "output_keys": {"model_output": 4},
        "origin": {},
        "official": result["strict"],
        "extracted": result["strict"],
        "strict": {
            "accuracy": 100.0,
            "interval": all_of(4)["interval"],
            "by": {
                "task": {"music": all_of(1), "sound": all_of(2), "speech": all_of(1)},
                "difficulty": {"easy": all_of(4)},
                "sub-category": {"first": all_of(4)},
            },
        },
    }  # fmt: skip
