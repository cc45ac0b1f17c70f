"""`src/score.py` from the command line: its output, files and errors."""

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_world import write_mmau

REPOSITORY = Path(__file__).resolve().parents[1]
SCORE = REPOSITORY / "src" / "score.py"
OUTPUT_KEYS = ("model_output", "model_prediction", "answer_prediction")
# Every answer is "drum": q000 is right by all rules, q001 by all but the strict one, q002 is wrong, q003 not parsed.
SAID = ["drum", "the drum", "beep", ""]
HALF_OF_4 = "50.00 [15.0, 85.0]"


@pytest.fixture(scope="module")
def meta(tmp_path_factory) -> Path:
    return write_mmau(tmp_path_factory.mktemp("score command"), 4)


def write_predictions(path: Path, said: list[str], key: str = "model_output", array: bool = False) -> Path:
    rows = [{"id": f"q{number:03d}", key: text} for number, text in enumerate(said)]
    path.write_text(json.dumps(rows) if array else "".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def run_score(meta: Path, predictions: Path, *options: object, cwd: Path | None = None) -> subprocess.CompletedProcess:
    command = [sys.executable, SCORE, "--benchmark", "mmau-mini", "--meta", meta, "--predictions", predictions, *options]
    return subprocess.run([str(word) for word in command], capture_output=True, text=True, cwd=cwd)


def test_json_is_one_object_on_standard_output_and_nothing_else(meta, tmp_path):
    result = run_score(meta, write_predictions(tmp_path / "p.jsonl", SAID), "--json")
    assert (result.returncode, result.stderr) == (0, "")
    assert len(result.stdout.splitlines()) == 1
    scores = json.loads(result.stdout)
    assert list(scores) == [
        "benchmark", "meta", "meta_sha256", "release", "total", "answered", "missing", "parse_failed", "cut_off",
        "think_rate", "mean_tokens", "output_keys", "origin", "official", "strict", "extracted",
    ]  # fmt: skip
    counts = [scores[key] for key in ("benchmark", "total", "answered", "missing", "parse_failed")]
    assert counts == ["mmau-mini", 4, 4, 0, 1]
    assert (scores["official"]["accuracy"], scores["strict"]["accuracy"]) == (50.0, 25.0)
    by_task = scores["official"]["by"]["task"]
    assert {name: (cell["correct"], cell["total"], cell["accuracy"]) for name, cell in by_task.items()} == {
        "music": (1, 1, 100.0),
        "sound": (1, 2, 50.0),
        "speech": (0, 1, 0.0),
    }
    assert scores["official"]["interval"] == pytest.approx([15.0, 85.0], abs=0.05)


def test_table_is_for_reading(meta, tmp_path):
    result = run_score(meta, write_predictions(tmp_path / "p.jsonl", SAID))
    assert (result.returncode, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert lines[0].startswith("mmau-mini (unknown release, ")
    assert lines[0].endswith("): 4 questions, 0 missing, 1 not parsed, 0 odd rows; answers read from model_output")
    assert [re.split(r"  +", line.strip()) for line in lines[1:]] == [
        ["questions", *(f"{rule} % [95 %]" for rule in ("official", "strict", "extracted"))],
        ["all", "4", HALF_OF_4, "25.00 [4.6, 69.9]", HALF_OF_4],
        ["task: music", "1", "100.00 [20.7, 100.0]", "0.00 [0.0, 79.3]", "100.00 [20.7, 100.0]"],
        ["task: sound", "2", *["50.00 [9.5, 90.5]"] * 3],
        ["task: speech", "1", *["0.00 [0.0, 79.3]"] * 3],
        ["difficulty: easy", "4", HALF_OF_4, "25.00 [4.6, 69.9]", HALF_OF_4],
        ["sub-category: first", "4", HALF_OF_4, "25.00 [4.6, 69.9]", HALF_OF_4],
        ["the rules disagree on 1 rows: q001"],
    ]
    assert len({len(line) for line in lines[1:8]}) == 1  # columns stand under each other


def test_row_that_is_odd_twice_is_one_odd_row(meta, tmp_path):
    rows = json.loads(meta.read_text())
    rows[1] |= {"category": ["c", "d"], "task": ""}
    other = tmp_path / "m.json"
    other.write_text(json.dumps(rows))
    lines = run_score(other, write_predictions(tmp_path / "p.jsonl", SAID)).stdout.splitlines()
    assert lines[0].endswith(": 4 questions, 0 missing, 1 not parsed, 1 odd rows; answers read from model_output")
    (of_unknown,) = [line.split() for line in lines if line.startswith("task: unknown")]
    assert of_unknown[:4] == ["task:", "unknown", "1", "100.00"]


def test_output_holds_the_object_and_verdicts_a_line_a_row(meta, tmp_path):
    predictions = write_predictions(tmp_path / "p.jsonl", SAID[::-1])
    out = tmp_path / "new folder"
    result = run_score(meta, predictions, "--json", "--output", out / "scores.json", "--verdicts", "v.jsonl", cwd=tmp_path)
    assert result.returncode == 0
    assert json.loads((out / "scores.json").read_text()) == json.loads(result.stdout)
    verdicts = [json.loads(line) for line in (tmp_path / "v.jsonl").read_text().splitlines()]
    rules = ("official", "strict", "extracted")
    assert [tuple(verdict[rule] for rule in rules) for verdict in verdicts] == [(0, 0, 0), (0, 0, 0), (1, 0, 1), (1, 1, 1)]
    assert [verdict["id"] for verdict in verdicts] == ["q000", "q001", "q002", "q003"]


def test_files_are_written_also_when_nobody_reads_the_table(meta, tmp_path):
    """As in `score.py ... --output scores.json | head -1`."""
    predictions = write_predictions(tmp_path / "p.jsonl", SAID)
    command = [sys.executable, SCORE, "--benchmark", "mmau-mini", "--meta", meta, "--predictions", predictions]
    command += ["--output", tmp_path / "s.json", "--verdicts", tmp_path / "v.jsonl"]
    reader, writer = os.pipe()
    os.close(reader)
    subprocess.run(command, stdout=writer, stderr=subprocess.DEVNULL, env={**os.environ, "PYTHONUNBUFFERED": "1"})
    os.close(writer)
    assert json.loads((tmp_path / "s.json").read_text())["official"]["accuracy"] == 50.0
    assert len((tmp_path / "v.jsonl").read_text().splitlines()) == 4


def test_missing_prediction_is_one_line_on_stderr_and_writes_nothing(meta, tmp_path):
    predictions = write_predictions(tmp_path / "p.jsonl", SAID[:2])
    result = run_score(meta, predictions, "--json", "--output", tmp_path / "s.json", "--verdicts", tmp_path / "v.jsonl")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == ("error: 2 of 4 rows have no prediction: q002, q003; --allow_missing counts them as wrong\n")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["p.jsonl"]


def test_missing_predictions_that_are_allowed_are_wrong(meta, tmp_path):
    predictions = write_predictions(tmp_path / "p.jsonl", SAID[:2])
    scores = json.loads(run_score(meta, predictions, "--json", "--allow_missing").stdout)
    counts = [scores[key] for key in ("total", "answered", "missing", "parse_failed")]
    assert counts == [4, 2, 2, 0]
    assert (scores["official"]["accuracy"], scores["strict"]["accuracy"]) == (50.0, 25.0)


@pytest.mark.parametrize(("key", "array"), [(key, False) for key in OUTPUT_KEYS] + [("answer_prediction", True)])
def test_every_known_predictions_file_gives_the_same_scores(meta, tmp_path, key, array):
    predictions = write_predictions(tmp_path / "p", SAID, key, array)
    assert json.loads(run_score(meta, predictions, "--json").stdout)["official"]["accuracy"] == 50.0


def test_not_a_file_and_not_a_benchmark_end_with_status_2(meta, tmp_path):
    result = run_score(meta, tmp_path / "gone.jsonl")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == f"error: predictions {tmp_path}/gone.jsonl: no such file\n"
    result = run_score(meta, meta, "--benchmark", "mmau-test")
    assert result.returncode == 2
    names = "adqa-dev, mmar, mmau-mini, mmau-pro, mmsu, muchomusic"
    assert result.stderr == f"error: benchmark 'mmau-test' is not one of {names}\n"


def test_all_problems_of_a_command_are_reported_together(meta, tmp_path):
    result = run_score(tmp_path / "gone.json", meta, "--benchmark", "mmmu", "--prediction", "x", "--json")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.splitlines() == [
        "error: 3 problems in the settings:",
        "  command line: unknown key 'prediction' (did you mean 'predictions'?)",
        "  benchmark 'mmmu' is not one of adqa-dev, mmar, mmau-mini, mmau-pro, mmsu, muchomusic",
        f"  meta {tmp_path}/gone.json: no such file",
    ]


def test_text_outside_the_locale_is_read_and_printed(meta, tmp_path):
    """The official scripts open files in the locale's encoding."""
    rows = json.loads(meta.read_text())
    for row in rows:
        row["choices"][1] = row["answer"] = "trömmel 鼓"
        row["sub-category"] = "où"
    other = tmp_path / "m.json"
    other.write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")
    predictions = write_predictions(tmp_path / "p.jsonl", ["Trömmel 鼓"] * 4)
    command = [sys.executable, SCORE, "--benchmark", "mmau-mini", "--meta", other, "--predictions", predictions, "--json"]
    result = subprocess.run(
        command, capture_output=True, env={"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    )
    assert (result.returncode, result.stderr) == (0, b"")
    scores = json.loads(result.stdout.decode("utf-8"))
    assert scores["strict"]["accuracy"] == 100.0
    assert list(scores["strict"]["by"]["sub-category"]) == ["où"]


@pytest.mark.parametrize(
    ("name", "file", "first_choice"), [("mmau-mini", "mmau-test-mini.json", 39.8), ("mmar", "MMAR-meta.jsonl", 28.0)]
)
def test_real_benchmarks_are_scored(real_data, tmp_path, name, file, first_choice):
    path = real_data / file
    text = path.read_text(encoding="utf-8")
    rows = json.loads(text) if text.startswith("[") else [json.loads(line) for line in text.splitlines()]
    predictions = tmp_path / "p.json"
    predictions.write_text(json.dumps([row | {"answer_prediction": row["choices"][0]} for row in rows]))
    result = run_score(path, predictions, "--benchmark", name, "--json")
    assert (result.returncode, result.stderr) == (0, "")
    scores = json.loads(result.stdout)
    assert (scores["total"], scores["official"]["accuracy"]) == (1000, first_choice)
    for names in scores["official"]["by"].values():
        assert sum(cell["total"] for cell in names.values()) == 1000
        assert sum(cell["correct"] for cell in names.values()) == round(10 * first_choice)


def test_nothing_heavy_is_imported(meta, tmp_path):
    """Scoring answers in under a second on any machine: the libraries that read settings are all that it loads."""
    predictions = write_predictions(tmp_path / "p.jsonl", SAID)
    code = (
        f"import sys; before = {{name.partition('.')[0] for name in sys.modules}}; "
        f"sys.path.insert(0, {str(SCORE.parent)!r}); import score; "
        f"score.main(['--benchmark', 'mmau-mini', '--meta', {str(meta)!r}, '--predictions', {str(predictions)!r}]); "
        "print(sorted({name.partition('.')[0] for name in sys.modules} - before - set(sys.stdlib_module_names)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    loaded = set(ast.literal_eval(result.stdout.splitlines()[-1]))
    settings = {"annotated_types", "pydantic", "pydantic_core", "typing_extensions", "typing_inspection", "yaml"}
    assert loaded <= settings | {"omni_clst", "score", "cython_runtime"} | {name for name in loaded if name[0] == "_"}
