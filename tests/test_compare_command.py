"""`src/compare.py`: the paired difference, its interval and test, what flipped, and what cannot be compared."""

import json
import math
import subprocess
import sys

import pytest
from tiny_world import write_mmau

import compare
import score
from omni_clst.errors import InputError
from omni_clst.scoring.comparison import mcnemar
from omni_clst.settings import REPOSITORY

CHOICES = ["hiss", "drum", "click", "beep"]


@pytest.fixture(scope="module")
def meta(tmp_path_factory):
    """A benchmark of 1,000 questions in MMAU's layout, without clips; every answer is "drum"."""
    rows = [
        {"id": f"q{number:03d}", "audio_id": f"clips/{number}.wav", "question": "what ?", "choices": CHOICES,
         "answer": "drum", "dataset": "test", "task": ["sound", "music"][number % 2], "split": "test-mini",
         "category": "Reasoning", "sub-category": "first", "difficulty": "easy"}
        for number in range(1000)
    ]  # fmt: skip
    path = tmp_path_factory.mktemp("benchmark") / "meta.json"
    path.write_text(json.dumps(rows))
    return path


def write_predictions(path, right, count: int = 1000):
    """Predictions of which those with these numbers are right."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [
        {"id": f"q{number:03d}", "model_output": "drum" if number in right else "beep", "think": "t" * (number in right)}
        for number in range(count)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def write_scored(folder, meta, right, **settings):
    """A scored benchmark as inference writes it."""
    predictions = write_predictions(folder / "predictions.jsonl", right)
    prompt = {"name": "selective", "template": "{question}", "asks_for_tags": True, "system": ""}
    found = {"model": "m", "weights": "w", "prompt": prompt, "audio": "real", "limit": None, "dtype": "torch.float32",
             "max_audio_seconds": 30.0, "temperature": 0.0, "top_p": 1.0, "top_k": 0, "max_new_tokens": 256,
             "seed": 0}  # fmt: skip
    (folder / "settings.json").write_text(json.dumps(found | settings))
    score.main(["--benchmark", "mmau-mini", "--meta", str(meta), "--predictions", str(predictions),
                "--output", str(folder / "scores.json"), "--verdicts", str(folder / "verdicts.jsonl")])  # fmt: skip
    return folder


def compared(capsys, *words) -> list[dict]:
    capsys.readouterr()
    compare.main([*map(str, words), "--json"])
    return json.loads(capsys.readouterr().out)


def printed(capsys, *words) -> list[str]:
    capsys.readouterr()
    compare.main([*map(str, words)])
    return capsys.readouterr().out.splitlines()


def test_difference_is_found_when_15_of_1000_flip_one_way_and_not_when_14_flip_back(meta, tmp_path, capsys):
    files = [write_predictions(tmp_path / f"{name}.jsonl", right) for name, right in
             (("a", range(700)), ("b", range(715)), ("c", [*range(14, 700), *range(700, 715)]))]  # fmt: skip
    one_way, both_ways = compared(capsys, *files, "--benchmark", "mmau-mini", "--meta", meta)
    assert (one_way["difference"], one_way["gained"], one_way["lost"]) == (pytest.approx(1.5), 15, 0)
    assert 0.5 < one_way["interval"][0] < 1.5 < one_way["interval"][1] < 2.5
    assert one_way["mcnemar_p"] == pytest.approx(2 / 2**15)
    assert one_way["gained_ids"] == [f"q{number}" for number in range(700, 715)]
    assert (both_ways["difference"], both_ways["gained"], both_ways["lost"]) == (pytest.approx(0.1), 15, 14)
    assert both_ways["interval"][0] < 0 < both_ways["interval"][1]
    assert both_ways["mcnemar_p"] == 1.0
    assert one_way["first"]["accuracy"] == 70.0
    assert one_way["first"]["interval"] == pytest.approx([67.1, 72.8], abs=0.1)
    assert [one_way["by"]["task"][name]["gained"] for name in ("sound", "music")] == [8, 7]


@pytest.mark.parametrize(("gained", "lost"), [(0, 0), (15, 0), (3, 9), (9, 3), (20, 20), (41, 22)])
def test_mcnemar_is_the_two_sided_binomial_sum(gained, lost):
    flips = gained + lost
    tail = sum(math.comb(flips, number) for number in range(min(gained, lost) + 1)) / 2**flips
    assert mcnemar(gained, lost) == pytest.approx(min(1.0, 2 * tail))


def test_what_is_printed(meta, tmp_path, capsys):
    first = write_scored(tmp_path / "a" / "infer" / "mmau-mini", meta, range(700))
    second = write_scored(tmp_path / "b" / "infer" / "mmau-mini", meta, range(2, 715))
    lines = printed(capsys, first, second)
    assert lines[:3] == [
        "mmau-mini, official rule: 1000 questions",
        f"first   {first}",
        f"second  {second}",
    ]
    assert lines[4].split() == ["all", "1000", "70.0", "[67.1,", "72.8]", "71.3", "[68.4,", "74.0]",
                                "+1.3", "[+0.5,", "+2.1]", "15", "2"]  # fmt: skip
    assert [line.split()[:2] for line in lines[5:9]] == [
        ["task:", "music"], ["task:", "sound"], ["difficulty:", "easy"], ["sub-category:", "first"],
    ]  # fmt: skip
    assert lines[9:] == [
        "think rate %: first 70.0, second 71.3",
        "McNemar's exact test, two-sided: p = 0.0023",
        "gained: 15 (q700, q701, q702, ...)",
        "lost: 2 (q000, q001)",
        # (1.96 + 0.8416)^2 * (0.017 - 0.013^2) / 0.013^2 = 782
        "a gain of +1.3 points would need about 780 questions (power 80 %)",
    ]


def test_number_of_questions_for_a_gain_that_is_asked_for(meta, tmp_path, capsys):
    files = [write_predictions(tmp_path / name, right) for name, right in (("a", range(600)), ("b", range(10, 610)))]
    words = [*files, "--benchmark", "mmau-mini", "--meta", meta]
    assert printed(capsys, *words)[-1] == "no difference: --gain POINTS says how many questions a gain would need"
    # (1.96 + 0.8416)^2 * (0.02 - 0.01^2) / 0.01^2 = 1,562
    assert printed(capsys, *words, "--gain", 1)[-1].startswith("a gain of +1.0 points would need about 1,600 questions")


def test_flips_are_written_with_the_question_and_both_answers(meta, tmp_path, capsys):
    files = [write_predictions(tmp_path / name, right) for name, right in (("a", {1, 2}), ("b", {2, 3}))]
    compare.main([*map(str, files), "--benchmark", "mmau-mini", "--meta", str(meta), "--flips", str(tmp_path / "f.jsonl")])
    gained, lost = [json.loads(line) for line in (tmp_path / "f.jsonl").read_text().splitlines()]
    assert gained == {
        "benchmark": "mmau-mini", "id": "q003", "flip": "gained", "clip": "clips/3.wav", "question": "what ?",
        "choices": CHOICES, "answer": "drum",
        "first": {"model": str(files[0]), "output": "beep", "thought": ""},
        "second": {"model": str(files[1]), "output": "drum", "thought": "t"},
    }  # fmt: skip
    assert (lost["id"], lost["flip"]) == ("q001", "lost")


def test_runs_are_compared_on_all_benchmarks_that_both_have(meta, tmp_path, capsys):
    for model, right in (("a", range(5)), ("b", range(6))):
        for name in ("mmau-mini", "mmau-mini.silence", *(["only a"] if model == "a" else [])):
            write_scored(tmp_path / model / "infer" / name, meta, right)
    capsys.readouterr()
    compare.main([str(tmp_path / "a"), str(tmp_path / "b" / "infer"), "--json"])
    out = capsys.readouterr()
    assert [(found["benchmark"], found["gained"]) for found in json.loads(out.out)] == [("mmau-mini", 1)] * 2
    assert out.err == f"left out: only a, which only one of {tmp_path}/a and {tmp_path}/b/infer has\n"


def test_what_differs_beside_the_model_is_named(meta, tmp_path, capsys):
    other = {"name": "direct", "template": "{choices}", "asks_for_tags": False, "system": ""}
    first = write_scored(tmp_path / "a", meta, range(5))
    second = write_scored(tmp_path / "b", meta, range(6), prompt=other, temperature=1.0, max_audio_seconds=60.0,
                          thought="empty", engine="vllm 0.31.0")  # fmt: skip
    (found,) = compared(capsys, first, second)
    assert [warning.partition(":")[0] for warning in found["warnings"]] == [
        "prompt differs", "temperature differs", "thought differs", "max_audio_seconds differs", "engine differs",
    ]  # fmt: skip
    assert found["warnings"][-1] == f"engine differs: hf ({first}), vllm 0.31.0 ({second})"
    (found,) = compared(capsys, first, first)
    assert found["warnings"] == []


def test_answers_of_another_program_are_compared_with_a_warning(meta, tmp_path, capsys):
    scored = write_scored(tmp_path / "a", meta, range(5))
    foreign = write_predictions(tmp_path / "b.jsonl", range(6))
    lines = printed(capsys, scored, foreign, "--benchmark", "mmau-mini", "--meta", meta)
    assert lines[1] == f"warning: prompt, decoding and engine are not known: {foreign}"


def test_answers_to_different_files_are_refused_unless_allowed(meta, tmp_path, capsys):
    rows = json.loads(meta.read_text())
    other = tmp_path / "other.json"
    other.write_text(json.dumps([row | {"difficulty": "hard"} for row in rows]))
    first, second = write_scored(tmp_path / "a", meta, range(5)), write_scored(tmp_path / "b", other, range(7))
    with pytest.raises(InputError, match=r"b mmau-mini of unknown release \(\w{12}\); --allow_different compares them"):
        compare.main([str(first), str(second)])
    (found,) = compared(capsys, first, second, "--allow_different")
    assert (found["gained"], found["questions"]) == (2, 1000)


def test_limited_answers_are_compared_on_the_questions_that_both_have(meta, tmp_path, capsys):
    first = write_scored(tmp_path / "a", meta, range(5))
    second = write_scored(tmp_path / "b", meta, range(6))
    settings = json.loads((second / "settings.json").read_text())
    (second / "settings.json").write_text(json.dumps(settings | {"limit": 10}))
    write_predictions(second / "predictions.jsonl", range(6), count=10)
    lines = printed(capsys, first, second)
    assert lines[0] == "mmau-mini, official rule: 10 questions, 990 left out that not all have"


def test_folder_is_scored_anew_from_the_file_that_its_scores_name(meta, tmp_path):
    folder = write_scored(tmp_path / "a", meta, range(5))
    record = json.loads((folder / "scores.json").read_text())
    assert record["meta"] == str(meta)
    (folder / "scores.json").write_text(json.dumps(record | {"meta": "/gone.json"}))
    with pytest.raises(InputError, match=r"the questions of mmau-mini are not at /gone.json; give them with --meta or"):
        compare.main([str(folder), str(folder)])
    compare.main([str(folder), str(folder), "--meta", str(meta)])
    meta2 = tmp_path / "changed.json"
    meta2.write_text(meta.read_text() + "\n")
    with pytest.raises(InputError, match=r"changed.json is not the file that was answered"):
        compare.main([str(folder), str(folder), "--meta", str(meta2)])


def test_several_seeds_are_one_model(meta, tmp_path, capsys):
    """Of 1,000 questions the seeds of one model get 700, 710, 720 right, those of the other 760, 770, 780."""
    counts = (700, 710, 720, 760, 770, 780)
    files = [write_predictions(tmp_path / f"{count}.jsonl", range(count)) for count in counts]
    words = [*files, "--benchmark", "mmau-mini", "--meta", meta, "--seeds", 3]
    (found,) = compared(capsys, *words)
    assert (found["first"]["accuracy"], found["second"]["accuracy"]) == (pytest.approx(71.0), pytest.approx(77.0))
    assert found["first"]["deviation"] == found["second"]["deviation"] == pytest.approx(1.0)
    assert (found["gained"], found["lost"], found["mcnemar_p"]) == (40, 0, None)
    (alone,) = compared(capsys, files[1], files[4], *words[6:10])
    widths = [one["interval"][1] - one["interval"][0] for one in (found, alone)]
    assert widths[0] > widths[1]  # seeds that differ by a point make the mean of three less certain than these questions
    lines = printed(capsys, *words)
    assert "mean ± standard deviation over 3 seeds: first 71.0 ± 1.0, second 77.0 ± 1.0; the difference's interval " \
           "counts both" in lines  # fmt: skip
    assert "gained with every seed: 40 (q720, q721, q722, ...)" in lines
    assert printed(capsys, *words, "--gain", 0.5)[-1] == (
        "a gain of +0.5 points would need more seeds: their difference alone hides it, with any number of questions"
    )


def test_models_of_unequal_numbers_of_seeds_and_other_mistakes_are_one_line(meta, tmp_path):
    file = str(write_predictions(tmp_path / "a.jsonl", range(5)))
    for words, message in (
        ([file, file, file, "--seeds", "2"], "models: 3 of 2 seeds each: at least two models are compared"),
        ([file], "models: 1 of 1 seeds each"),
        ([file, file], f"{file}: a predictions file needs --benchmark NAME --meta FILE, or --samples FILE"),
        ([file, str(tmp_path / "gone")], "no such file or folder"),
        ([str(tmp_path), file], f"{tmp_path}: no scores in it"),
        ([file, file, "--rule", "lenient"], "rule 'lenient' is not one of official, strict, extracted"),
        (["a,b", file], "a,b: a path with a comma cannot be compared"),
    ):
        given = [] if "needs --benchmark" in message else ["--benchmark", "mmau-mini", "--meta", str(meta)]
        with pytest.raises(InputError) as error:
            compare.main([*words, *given])
        assert message in str(error.value)


def test_scores_of_another_kind_are_named(meta, tmp_path):
    folder = write_scored(tmp_path / "a" / "infer" / "mmau-mini", meta, range(5))
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "scores.json").write_text('{"accuracy": 50.0, "by": {}}')  # of score.sh --rubrics
    with pytest.raises(InputError, match="b: its scores.json is not one of infer.sh"):
        compare.main([str(folder or tmp_path / "a"), str(tmp_path / "b")])


def test_folder_of_several_models_is_refused(meta, tmp_path):
    for model in ("sft", "clst"):
        write_scored(tmp_path / model / "infer" / "mmau-mini", meta, range(5))
    with pytest.raises(InputError, match="holds the scores of several models; give one of them: .*clst, .*sft"):
        compare.main([str(tmp_path), str(tmp_path)])


def test_sample_files_have_no_official_rule(tmp_path, capsys):
    rows = [{"id": f"q{number:03d}", "audio_path": f"{number // 2}.wav", "question": f"what {number} ?", "choices": CHOICES,
             "answer": "drum", "source": "mine"} for number in range(8)]  # fmt: skip
    samples = tmp_path / "held_out.jsonl"
    samples.write_text("".join(json.dumps(row) + "\n" for row in rows))
    files = [str(write_predictions(tmp_path / name, right, 8)) for name, right in (("a", {1}), ("b", {1, 2, 3}))]
    (found,) = compared(capsys, *files, "--samples", samples)
    assert (found["rule"], found["gained"], list(found["by"]["source"])) == ("strict", 2, ["mine"])
    with pytest.raises(InputError, match="held_out has no official rule; give --rule strict or extracted"):
        compare.main([*files, "--samples", str(samples), "--rule", "official"])


def test_launcher_prints_an_error_as_one_line(meta, tmp_path):
    meta = write_mmau(tmp_path, 4)
    command = ["bash", REPOSITORY / "script" / "compare.sh", tmp_path / "a.jsonl", "b.jsonl", "--benchmark", "mmau-mini"]
    write_predictions(tmp_path / "a.jsonl", range(3), 4)
    result = subprocess.run([*map(str, command), "--meta", str(meta)], cwd=tmp_path, capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (2, "error: b.jsonl: no such file or folder\n")
    write_predictions(tmp_path / "b.jsonl", range(4), 4)
    result = subprocess.run([*map(str, command), "--meta", str(meta)], cwd=tmp_path, capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (0, "")
    assert "gained: 1 (q003)" in result.stdout


def test_nothing_heavy_is_imported_for_the_help():
    code = "import sys, compare\ntry: compare.main(['--help'])\nexcept SystemExit: pass\n" \
           "assert not {'torch', 'scipy', 'numpy'} & set(sys.modules)"  # fmt: skip
    subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY / "src", check=True, capture_output=True)
