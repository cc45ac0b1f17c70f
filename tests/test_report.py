"""The report: a row per scored benchmark, accuracy and think rate by depth of the question, and pictures."""

import itertools
import json
import os

import pytest
from PIL import Image
from tiny_world import write_mmau

import report
from omni_clst.data.benchmark_rows import find_benchmark, load_benchmark
from omni_clst.demo.dataset import WorldConfig, write_world
from omni_clst.errors import InputError
from omni_clst.report import pictures
from omni_clst.report.course_picture import make_figure
from omni_clst.report.pictures import make_groups, plot_scores
from omni_clst.report.scores import accuracy, by_clip, collect, compare, paired, pool
from omni_clst.report.style import MODEL_COLOURS, model_colour
from omni_clst.report.tables import depth_table, results_table, summary_lines
from omni_clst.scoring.predictions import Predictions
from omni_clst.scoring.scores import score

CLOCK = itertools.count(10**9)  # seconds: results are scored one after the other
# One letter an answer: r right, w wrong; in capitals with a thought, in small letters without one.
DEEP, SHALLOW = {"sub-category": "count", "depth": "deep"}, {"sub-category": "first", "depth": "shallow"}


def write_result(model, answers, groups=SHALLOW, benchmark="mmau-mini", first=0, asks=True, **settings):
    """Answers under one condition, their questions numbered from `first`; a second call adds to them."""
    words = [benchmark, *(str(value) for value in settings.values())]
    folder = model / "infer" / ".".join(words)
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "predictions.jsonl", "a") as predictions, open(folder / "verdicts.jsonl", "a") as verdicts:
        for number, answer in enumerate(answers, first):
            think = "a" if answer.isupper() else ""
            row = {"id": f"q{number}", "think": think, "tokens": 4, "groups": groups}
            predictions.write(json.dumps(row) + "\n")
            right = int(answer in "rR")
            verdicts.write(json.dumps({"id": f"q{number}", "official": right, "strict": right, "extracted": right}) + "\n")
    found = {"audio": "real", "limit": None, "prompt": {"asks_for_tags": asks}} | settings
    (folder / "settings.json").write_text(json.dumps(found))
    (folder / "scores.json").write_text(json.dumps({"benchmark": benchmark}))
    now = next(CLOCK)
    os.utime(folder / "scores.json", (now, now))
    return folder


def thrice(figure: str) -> str:
    """The cells of the three rules."""
    return " | ".join([figure] * 3)


def test_report_has_a_row_for_every_scored_benchmark_and_condition(tmp_path, capsys):
    write_result(tmp_path / "base", "rrrrwwwwww", asks=False)
    write_result(tmp_path / "sft" / "merged", "RRRRrrrrrw")
    write_result(tmp_path / "sft" / "merged", "RRWWWwwwww", audio="silence")
    write_result(tmp_path / "sft" / "merged", "rrrrrrrrww", thought="empty")
    write_result(tmp_path / "sft" / "merged", "rwwwwwwwww", audio="other", thought="empty")
    results = collect(tmp_path)
    assert results_table(results).splitlines()[2:] == [
        f"| base | mmau-mini | the clip | not asked for | 10 | {thrice('40.0 [16.8, 68.7]')} | 0 | 4.0 |",
        f"| sft/merged | mmau-mini | the clip | free | 10 | {thrice('90.0 [59.6, 98.2]')} | 40 | 4.0 |",
        f"| sft/merged | mmau-mini | silence | free | 10 | {thrice('20.0 [5.7, 51.0]')} | 50 | 4.0 |",
        f"| sft/merged | mmau-mini | the clip | forced empty | 10 | {thrice('80.0 [49.0, 94.3]')} | 0 | 4.0 |",
        f"| sft/merged | mmau-mini | another clip | forced empty | 10 | {thrice('10.0 [1.8, 40.4]')} | 0 | 4.0 |",
    ]
    assert summary_lines(pool(results)) == [
        "sft/merged: 90.0 % of 10 questions, +50.0 points [+9.3, +74.0] over base (40.0 %)",
        "sft/merged, 10 shallow questions: 90.0 % with thoughts allowed, "
        "80.0 % with the thought forced empty (-10.0 points [-30.9, +14.3])",
    ]
    report.main([str(tmp_path)])
    printed = capsys.readouterr().out
    assert "+50.0 points" in printed
    assert printed.split("\nreport: ")[0] in (tmp_path / "report" / "report.md").read_text()
    assert Image.open(tmp_path / "report" / "accuracy.png").size > (500, 300)


def test_every_table_has_as_many_cells_in_every_row(tmp_path):
    write_result(tmp_path / "base", "rw")
    results = collect(tmp_path)
    for table in (results_table(results), depth_table(pool(results))):
        assert len({line.count("|") for line in table.splitlines()}) == 1


def test_models_are_in_the_order_of_scoring_with_their_results_together(tmp_path):
    for model in ("base", "sft", "clst"):
        write_result(tmp_path / model, "r")
    for model in ("clst", "sft"):
        write_result(tmp_path / model, "r", thought="empty")
    found = [(result.condition.model, result.condition.thought) for result in collect(tmp_path)]
    assert found == [("base", "free"), ("sft", "free"), ("sft", "empty"), ("clst", "free"), ("clst", "empty")]


def test_depth_table_pools_the_benchmarks(tmp_path):
    for benchmark, shallow, deep in (("mmau-mini", "rrrW", "RRww"), ("mmar", "rw", "Rw")):
        write_result(tmp_path / "sft", shallow, SHALLOW, benchmark)
        write_result(tmp_path / "sft", deep, DEEP, benchmark, first=10)
    write_result(tmp_path / "sft", "wwww", DEEP, first=10, thought="empty")
    header, _, *rows = depth_table(pool(collect(tmp_path))).splitlines()
    assert header == (
        "| model | audio | thought | shallow/deep "
        "| shallow: accuracy % | shallow: think rate % | deep: accuracy % | deep: think rate % |"
    )
    assert rows == [
        # shallow 4 of 6 right, 1 thought; deep 3 of 6 right, 3 thoughts
        "| sft | the clip | free | 6/6 | 66.7 [30.0, 90.3] | 17 | 50.0 [18.8, 81.2] | 50 |",
        "| sft | the clip | forced empty | 0/4 | - | - | 0.0 [0.0, 49.0] | 0 |",
    ]


def test_benchmarks_that_state_no_depth_have_no_second_table(tmp_path, capsys):
    write_result(tmp_path / "base", "rw", {"sub-category": "x"})
    write_result(tmp_path / "base", "ww", {"sub-category": "x"}, thought="empty")
    report.main([str(tmp_path)])
    printed = capsys.readouterr().out
    assert "By depth" not in printed
    assert "base, 2 questions: 50.0 % with thoughts allowed, 0.0 % with the thought forced empty" in printed


def test_forced_and_free_are_compared_on_the_questions_that_both_answered(tmp_path):
    write_result(tmp_path / "sft", "RRRRwwww", DEEP)
    write_result(tmp_path / "sft", "rw", DEEP, thought="empty", limit=2)
    ways = compare(pool(collect(tmp_path)), "thought")["sft"]
    assert (accuracy(ways["free"]), accuracy(ways["empty"]), len(ways["free"])) == (100.0, 50.0, 2)


def test_models_measured_under_one_condition_are_not_compared(tmp_path):
    write_result(tmp_path / "base", "rw", asks=False)
    write_result(tmp_path / "sft", "rw", audio="silence")
    write_result(tmp_path / "sft", "rw", audio="silence", thought="empty")
    pooled = pool(collect(tmp_path))
    assert compare(pooled, "thought") == compare(pooled, "audio") == {}


def test_forced_empty_thought_of_a_model_that_was_only_asked_for_the_bare_answer_is_a_row_alone(tmp_path, capsys):
    write_result(tmp_path / "base", "rw", asks=False)
    write_result(tmp_path / "base", "ww", thought="empty")
    report.main([str(tmp_path)])
    printed = capsys.readouterr().out
    assert "| base | mmau-mini | the clip | forced empty | 2 | 0.0 [" in printed
    assert "with thoughts allowed" not in printed


def test_audio_is_compared_for_models_asked_for_the_bare_answer_too(tmp_path):
    write_result(tmp_path / "base", "rw", asks=False)
    write_result(tmp_path / "base", "ww", asks=False, audio="silence")
    ways = compare(pool(collect(tmp_path)), "audio")["base"]
    assert {way: accuracy(answers) for way, answers in ways.items()} == {"real": 50.0, "silence": 0.0}


def test_question_of_a_whole_and_a_limited_run_counts_once_and_both_are_rows(tmp_path):
    write_result(tmp_path / "sft", "rrww")
    write_result(tmp_path / "sft", "rr", limit=2)
    results = collect(tmp_path)
    assert [result.benchmark for result in results] == ["mmau-mini", "mmau-mini, first 2"]
    assert [len(answers) for answers in pool(results).values()] == [4]


def test_interval_counts_questions_about_one_clip_together(tmp_path):
    folder = write_result(tmp_path / "sft", "rrrrwwww")
    alone = results_table(collect(tmp_path))
    verdicts = [json.loads(line) for line in (folder / "verdicts.jsonl").read_text().splitlines()]
    lines = [json.dumps(verdict | {"clip": f"clip{number // 4}"}) + "\n" for number, verdict in enumerate(verdicts)]
    (folder / "verdicts.jsonl").write_text("".join(lines))
    together = results_table(collect(tmp_path))
    assert "| 50.0 [21.5, 78.5] |" in alone
    assert "| 50.0 [0.2, 99.8] |" in together  # two clips, one right and one wrong, say next to nothing
    assert {clip for clip, _ in by_clip(collect(tmp_path)[0].answers).by_clip.items()} == {
        ("mmau-mini", "clip0"), ("mmau-mini", "clip1"),
    }  # fmt: skip


def test_same_id_in_two_benchmarks_is_two_questions(tmp_path):
    write_result(tmp_path / "sft", "rr")
    write_result(tmp_path / "sft", "ww", benchmark="mmar")
    assert [len(answers) for answers in pool(collect(tmp_path)).values()] == [4]


def test_question_without_a_readable_clip_is_wrong_and_without_thought(tmp_path):
    folder = write_result(tmp_path / "sft", "r")
    with open(folder / "predictions.jsonl", "a") as predictions, open(folder / "verdicts.jsonl", "a") as verdicts:
        predictions.write('{"id": "gone", "model_output": "", "model_output_raw": "", "error": "no clip"}\n')
        verdicts.write('{"id": "gone", "official": 0, "strict": 0, "extracted": 0}\n')
    (result,) = collect(tmp_path)
    expected = f"| sft | mmau-mini | the clip | free | 2 | {thrice('50.0 [9.5, 90.5]')} | 0 | 2.0 |"
    assert results_table([result]).splitlines()[2] == expected
    plot_scores([result], tmp_path / "x.png")


def test_verdict_without_a_prediction_is_an_error_that_names_it(tmp_path):
    folder = write_result(tmp_path / "sft", "rr")
    (folder / "predictions.jsonl").write_text('{"id": "q0", "think": ""}\n')
    with pytest.raises(InputError, match=r"verdicts.jsonl:2: 'q1' is not in predictions.jsonl"):
        collect(tmp_path)


def test_report_of_a_models_own_folder_names_the_model(tmp_path):
    write_result(tmp_path / "sft", "r")
    assert collect(tmp_path / "sft")[0].condition.model == "sft"


def test_kinds_are_ordered_from_shallow_to_deep_with_sums_after_them(tmp_path):
    write_result(tmp_path / "sft", "rr", DEEP)
    write_result(tmp_path / "sft", "Rw", {"sub-category": "after", "depth": "shallow"}, first=2)
    write_result(tmp_path / "sft", "RR", {"sub-category": "after", "depth": "deep"}, first=4)
    write_result(tmp_path / "sft", "w", {"sub-category": "last", "depth": "shallow"}, first=6)
    groups = make_groups({"sft": list(collect(tmp_path)[0].answers)})
    assert [(group.label, accuracy(group.answers["sft"]), group.is_sum) for group in groups] == [
        ("last\nshallow", 0.0, False),
        ("after\n50 % deep", 75.0, False),
        ("count\ndeep", 100.0, False),
        ("all\nshallow", pytest.approx(100 / 3), True),
        ("all\ndeep", 100.0, True),
        ("all", pytest.approx(500 / 7), True),
    ]


@pytest.mark.parametrize("count", [1, 3, 12])
def test_picture_takes_any_number_of_models(tmp_path, count):
    for number in range(count):
        write_result(tmp_path / f"model{number}", "rRww", DEEP)
    write_result(tmp_path / "model0", "wwww", DEEP, thought="empty")
    write_result(tmp_path / "model0", "wwww", DEEP, audio="other")
    plot_scores(collect(tmp_path), tmp_path / "picture.png")
    width, height = Image.open(tmp_path / "picture.png").size
    assert 500 < width < 3300
    assert 500 < height < 1200


@pytest.mark.parametrize("length", [4, 30, 90])
@pytest.mark.parametrize("models", [2, 3, 7])
@pytest.mark.parametrize("is_measured_without_thought", [False, True])
def test_titles_and_names_of_models_are_inside_the_picture(tmp_path, length, models, is_measured_without_thought):
    for number in range(models):
        write_result(tmp_path / f"{number}".ljust(length, "m"), "rR", asks=number > 0)
        if is_measured_without_thought and number:
            write_result(tmp_path / f"{number}".ljust(length, "m"), "rw", thought="empty")
    figure = pictures.make_figure(collect(tmp_path))
    figure.draw_without_rendering()
    parts = [axis._left_title for axis in figure.axes] + figure.legends
    assert len(parts) >= 3
    for box in (part.get_window_extent() for part in parts):
        assert box.x0 >= -1 and box.y0 >= -1  # pixels
        assert box.x1 <= figure.bbox.x1 + 1 and box.y1 <= figure.bbox.y1 + 1


def test_models_have_colours_of_their_own():
    for count in (3, len(MODEL_COLOURS), 30):
        models = [f"m{number}" for number in range(count)]
        assert len({model_colour(models, model) for model in models}) == count


def test_depth_is_scored_where_a_benchmarks_rows_state_it_and_nowhere_else(tmp_path):
    write_world(tmp_path / "world", WorldConfig(source_clips=1, mmau_clips=8, mmar_clips=8))
    for name in ("mmau-mini", "mmar"):
        rows = load_benchmark(name, find_benchmark(tmp_path / "world", name)[0])
        scores = score(rows, Predictions({s.id: s.answer for s in rows.samples}, {"model_output": 8}, 0))
        by_depth = scores.to_json()["official"]["by"]["depth"]
        assert sum(cell["correct"] for cell in by_depth.values()) == 16
        assert set(by_depth) == {"deep", "shallow"}
    plain = load_benchmark("mmau-mini", write_mmau(tmp_path / "plain", 2))
    assert plain.groups == plain.benchmark.groups == ("task", "difficulty", "sub-category")


def write_completions(run_dir, rows) -> None:
    """Rows are (step, level, right, thinks)."""
    run_dir.mkdir(parents=True)
    lines = [{"step": step, "level": level, "correct": right, "think": thinks} for step, level, right, thinks in rows]
    (run_dir / "completions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_run_without_scores_is_reported_by_its_course(tmp_path, capsys):
    write_completions(tmp_path / "clst", [(1, "easy", 1, False), (2, "hard", 0, True)])
    report.main([str(tmp_path / "clst")])
    assert "](course-clst.png)" in (tmp_path / "clst" / "report" / "report.md").read_text()
    assert Image.open(tmp_path / "clst" / "report" / "course-clst.png").size > (500, 300)


def test_course_shows_every_level_at_its_steps_and_the_evaluations(tmp_path):
    run_dir = tmp_path / "clst"
    write_completions(run_dir, [(1, "easy", 1, False), (1, "easy", 0, False), (2, "hard", 0, True), (2, "easy", 1, False)])
    (run_dir / "metrics.jsonl").write_text(
        '{"step": 1, "loss": 0.1}\n{"step": 2, "eval_accuracy": 0.75, "eval_think_rate": 0.5}\n'
    )
    figure = make_figure(run_dir)
    accuracy_panel, thought_panel = figure.axes
    lines = {line.get_label(): line.get_xydata().tolist() for line in accuracy_panel.get_lines()}
    assert lines["easy"] == [[1, 50], [2, 100]]
    assert lines["hard"] == [[2, 0]]
    assert lines["held out, greedy"] == [[2, 75]]
    thoughts = {line.get_label(): line.get_xydata().tolist() for line in thought_panel.get_lines()}
    assert thoughts["easy"] == [[1, 0], [2, 0]]
    assert thoughts["hard"] == [[2, 100]]


def test_files_of_one_name_are_different_benchmarks(tmp_path):
    """Two runs with a held_out.jsonl of their own: no question of one is compared with that of the other."""
    for model, digest in (("a", "1" * 64), ("b", "2" * 64)):
        folder = write_result(tmp_path / model, "rw", benchmark="held_out")
        (folder / "scores.json").write_text(json.dumps({"benchmark": "held_out", "meta_sha256": digest}))
    results = collect(tmp_path)
    assert sorted(result.benchmark for result in results) == ["held_out 11111111", "held_out 22222222"]
    first, second = pool(results).values()
    assert paired(first, second) is None


def test_groups_are_those_of_the_last_start(tmp_path):
    """Answers of a first start without --group_by, and one to a clip that could not be read, have none themselves."""
    folder = write_result(tmp_path / "a", "r", groups={}, benchmark="held_out")
    (folder / "questions.jsonl").write_text(json.dumps({"id": "q0", "groups": DEEP}) + "\n")
    (result,) = collect(tmp_path)
    assert [answer.depth for answer in result.answers] == ["deep"]
