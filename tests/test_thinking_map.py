"""The map of when thinking pays: its grid is read strictly, its figures are those of the answers, its intervals honest."""

import json
import re
from pathlib import Path

import pytest

import when_thinking_pays
from omni_clst.demo import pipeline
from omni_clst.demo.thinking_grid import read_grid
from omni_clst.errors import InputError
from omni_clst.files import write_json, write_jsonl
from omni_clst.report.scores import Answer
from omni_clst.report.thinking_map import Difference, Scored, ThinkingMap, accuracy, compare, comparison_table, think_rate
from omni_clst.settings import REPOSITORY

GRIDS = sorted((REPOSITORY / "configs" / "demo" / "grids").glob("*.yaml"))
GRID = """
worlds: {plain: {}, untrue: {false_events: 0.2}}
recorded: {spoken: {events: 5}}
arms: {guided: {mode: guided}, always: {mode: keep_all}}
grpo: {shuffled: {order: shuffled}, no_easy: {order: file, curriculum: {mix: {easy: 0, medium: 0.5, hard: 0.5}}}}
conditions: [{thought: empty}, {thought: full}]
comparisons: [[guided, always], [guided + shuffled, always + shuffled]]
"""


def answers(right: str, thoughts: str = "", tokens: int = 12, depths: str = "") -> list[Answer]:
    """One answer for each letter: 1 right, 0 wrong; two questions share a clip."""
    return [
        Answer("mmar", str(n), {"strict": letter == "1"}, thoughts[n : n + 1] == "1", tokens + n,
               {"depth": {"d": "deep"}.get(depths[n : n + 1], "shallow"), "sub-category": "count"}, f"clip{n // 2}")
        for n, letter in enumerate(right)
    ]  # fmt: skip


# --- the figures


def test_difference_is_taken_question_by_question_over_all_seeds():
    before = {"0": answers("1100"), "1": answers("1010")}
    after = {"0": answers("1111"), "1": answers("1011"), "2": answers("1111")}
    found = compare(before, after)
    assert found.mean == pytest.approx(100 * 3 / 8)
    assert found.of_seeds == (50.0, 25.0)
    assert compare(before, {"7": answers("1")}) is None


def test_seeds_that_disagree_widen_the_interval_and_one_seed_says_nothing_of_others():
    worse, better = "01" * 200, "11" * 200
    agree = compare({s: answers(worse) for s in "012"}, {s: answers(better) for s in "012"})
    mixed = {"0": answers(better), "1": answers(better), "2": answers("00" * 200)}
    disagree = compare({s: answers(worse) for s in "012"}, mixed)
    assert agree.is_clear and agree.mean == pytest.approx(50.0) and agree.interval[1] - agree.interval[0] < 8
    assert disagree.mean == pytest.approx(100 * (0.5 + 0.5 - 0.5) / 3)
    assert not disagree.is_clear and disagree.interval[1] - disagree.interval[0] > 100


def test_budget_makes_longer_answers_wrong():
    scored = answers("1111", tokens=12)  # of 12, 13, 14 and 15 tokens
    assert accuracy(None, 13)(scored) == 50.0 and accuracy()(scored) == 100.0
    assert accuracy("deep")(scored) is None
    assert think_rate("deep")(answers("11", "10", depths="ds")) == 100.0


def test_share_of_deep_questions_at_which_two_models_are_equal():
    """10 points better on shallow ones and 30 worse on deep ones: equal where a quarter are deep."""
    better = Difference(10.0, (5.0, 15.0), ())
    worse = Difference(-30.0, (-35.0, -25.0), ())
    found = {("plain", "a", "b", "shallow"): better, ("plain", "a", "b", "deep"): worse}
    assert comparison_table(found).splitlines()[-1].endswith("| 25 % |")
    found["plain", "a", "b", "deep"] = better  # better on both
    assert comparison_table(found).splitlines()[-1].endswith("|  |")


def test_cutting_off_changes_who_is_better():
    """Both are right about everything; one needs 12 to 15 tokens, the other up to 19."""
    models = ThinkingMap({})
    models.models = {"plain": {name: Scored({}) for name in ("short", "long")}}
    for name, tokens in (("short", 12), ("long", 16)):
        models.models["plain"][name].by_condition["real", "free"] = {"0": answers("1111", tokens=tokens)}
    found = models.within_budgets([("short", "long")])
    assert {budget: found["plain", "short", "long", budget].mean for budget in (14, 18, 22)} == {
        14: 75.0,
        18: 25.0,
        22: 0.0,
    }
    assert models.tokens_table().splitlines()[2:] == [
        "| plain | short | 14 | 14 | 15 | 15 | 15 |",  # three of four answers fit in 14 tokens
        "| plain | long | 18 | 18 | 19 | 19 | 19 |",
    ]


# --- the grid


@pytest.mark.parametrize("file", GRIDS, ids=[file.stem for file in GRIDS])
def test_shipped_grids_are_read_and_their_settings_are_known(file):
    when_thinking_pays.require_known_settings(str(file), read_grid(str(file)))


@pytest.mark.parametrize(
    ("old", "new", "place"),
    [
        ("false_events: 0.2", "false_event: 0.2", "worlds: untrue: unknown setting 'false_event'"),
        ("mode: guided", "modus: guided", "arms: guided: unknown setting 'modus'"),
        ("order: file", "ordr: file", "grpo: no_easy: unknown setting 'ordr'"),
        ("mix: {easy", "mixture: {easy", "grpo: no_easy: unknown setting 'mixture'"),
        ("{thought: full}", "{though: full}", "conditions: {'though': 'full'}: unknown setting 'though'"),
    ],
)
def test_setting_that_a_stage_does_not_have_is_named_before_anything_runs(tmp_path, stages, old, new, place):
    (tmp_path / "grid.yaml").write_text(GRID.replace(old, new))
    with pytest.raises(InputError, match=re.escape(f"grid.yaml: {place}")):
        when_thinking_pays.main([f"--grid={tmp_path}/grid.yaml", f"--out={tmp_path}"])
    assert stages == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("worlds: {a: {}}", "recorded is not a mapping of names to settings"),
        (GRID.replace("plain: {}", "plain: 3"), "worlds: plain is 3, not a mapping of settings"),
        (GRID.replace("plain: {}", "no: {}"), "worlds: the name False is no text: write it in quotes"),
        (GRID + "world: {}", "unknown keys world"),
        (GRID.replace("[guided, always]", "[guided, never]"), r"comparisons: \['guided', 'never'\] are not two of always"),
    ],
)
def test_grid_with_a_mistake_is_refused_by_name(tmp_path, text, message):
    (tmp_path / "grid.yaml").write_text(text)
    with pytest.raises(InputError, match=f"grid.yaml: {message}"):
        read_grid(str(tmp_path / "grid.yaml"))


# --- the command


def write_answers(folder: Path, right: str, thoughts: str, settings: dict) -> None:
    """What infer.py leaves, for eight questions of the benchmark mmar."""
    given = answers(right, thoughts, depths="ddddssss")
    write_jsonl(folder / "verdicts.jsonl", [{"id": a.id, "strict": a.verdicts["strict"], "clip": a.clip} for a in given])
    predictions = [{"id": a.id, "think": "beep" if a.has_thought else "", "tokens": a.tokens, "groups": a.groups}
                   for a in given]  # fmt: skip
    write_jsonl(folder / "predictions.jsonl", predictions)
    write_json(folder / "settings.json", settings)
    write_json(folder / "scores.json", {"benchmark": "mmar", "origin": {"commit": "0123abcd"}})


@pytest.fixture
def stages(monkeypatch):
    """The stages' calls, in place of running them; GRPO's models are right more often, and think."""
    calls = []

    def run(entry, settings, subcommand=None):
        calls.append((entry, {key: str(value) for key, value in settings.items()}))
        if entry == "demo":
            (settings["out"] / "base").mkdir(parents=True, exist_ok=True)
        elif entry == "grpo":
            folder = settings["runs_dir"] / settings["run_name"]
            rows = [{"step": step, "eval_think_rate/hard": step / 10} for step in (0, 5)]
            folder.mkdir(parents=True)
            write_jsonl(folder / "metrics.jsonl", rows)
            write_jsonl(folder / "completions.jsonl", [])
        elif entry == "infer":
            thought, audio = settings.get("thought", "free"), settings.get("audio", "real")
            reinforced = "grpo" in str(settings["model"])
            name = "mmar" + "".join(f".{word}" for word in (thought, audio) if word not in ("free", "real"))
            asks = not str(settings["model"]).endswith("base")
            write_answers(
                Path(settings["model"]) / "infer" / name,
                "11101110" if reinforced else "11001100",
                "11110000" if asks and thought != "empty" else "",
                {"audio": audio, "thought": thought, "prompt": {"asks_for_tags": asks}},
            )

    monkeypatch.setattr(pipeline, "run", run)
    return calls


def test_command_runs_the_grid_and_writes_what_it_found(tmp_path, stages, capsys):
    (tmp_path / "grid.yaml").write_text(GRID)
    words = {"grid": tmp_path / "grid.yaml", "seeds": "0,1", "out": tmp_path / "runs", "results": tmp_path / "results"}
    when_thinking_pays.main([f"--{key}={value}" for key, value in words.items()])
    trained = [settings for entry, settings in stages if entry == "grpo"]
    assert len(trained) == 2 * 2 * 2 * 2  # worlds, seeds, arms, ways
    assert {s["train_file"].split("/")[-1] for s in trained} == {"CLST.jsonl", "CLST_no_easy.jsonl"}
    assert len([1 for entry, _ in stages if entry == "infer"]) == 4 * (1 + 2 * 3 * 3)  # the base once, others three times
    text = (tmp_path / "results" / "when_thinking_pays.md").read_text()
    assert "| plain | guided + shuffled | 2 | 75.0 ± 0.0 |" in text
    assert "| plain | guided | always | +0.0 [" in text and "| 14 tokens | 18 tokens |" in text
    figures = json.loads((tmp_path / "results" / "when_thinking_pays.json").read_text())
    assert figures["models"]["untrue"]["guided"]["1"]["think rate, deep"] == 100.0
    for picture in ("when_thinking_pays.png", "when_thinking_pays_plain.png"):
        assert (tmp_path / "results" / picture).stat().st_size > 10_000
    assert text in capsys.readouterr().out


def test_tables_of_what_is_finished_train_nothing(tmp_path, stages):
    (tmp_path / "grid.yaml").write_text(GRID)
    words = {"grid": tmp_path / "grid.yaml", "out": tmp_path / "runs", "results": tmp_path / "results"}
    argv = [f"--{key}={value}" for key, value in words.items()]
    with pytest.raises(InputError, match="no model of this grid is finished there"):
        when_thinking_pays.main([*argv, "--only_finished=true"])
    when_thinking_pays.main([*argv, "--seeds=1", "--worlds=spoken", "--arms=always", f"--recordings={tmp_path}"])
    when_thinking_pays.main([*argv, "--seeds=1", "--worlds=untrue", "--arms=guided", "--grpo="])
    stages.clear()
    when_thinking_pays.main([*argv, "--only_finished=true"])
    assert not stages
    text = (tmp_path / "results" / "when_thinking_pays.md").read_text()
    assert "--only_finished=true` from models of commit 0123abcd, " in text
    models = text.partition("## Models")[2].partition("##")[0].splitlines()[4:-1]
    assert [line.strip("| ").split(" | ")[:3] for line in models] == [
        ["untrue", "base", "1"], ["untrue", "guided", "1"],
        *(["spoken", name, "1"] for name in ("base", "always", "always + shuffled", "always + no_easy")),
    ]  # fmt: skip


def test_base_is_made_once_for_worlds_that_differ_in_the_thoughts_alone(tmp_path, stages, monkeypatch):
    (tmp_path / "grid.yaml").write_text(GRID)
    (tmp_path / "runs" / "plain" / "seed0" / "base").mkdir(parents=True)
    (tmp_path / "runs" / "plain" / "seed0" / "base" / "made.json").write_text("{}")
    words = {"grid": tmp_path / "grid.yaml", "seeds": "0", "out": tmp_path / "runs", "worlds": "untrue", "grpo": ""}
    when_thinking_pays.main([f"--{key}={value}" for key, value in words.items()] + [f"--results={tmp_path}"])
    assert (tmp_path / "runs" / "untrue" / "seed0" / "base" / "made.json").read_text() == "{}"
    assert not [1 for entry, _ in stages if entry == "grpo"]


def test_recordings_take_the_place_of_the_worlds(tmp_path, stages):
    (tmp_path / "grid.yaml").write_text(GRID)
    words = {"grid": tmp_path / "grid.yaml", "seeds": "0", "out": tmp_path / "runs", "results": tmp_path, "grpo": "",
             "recordings": tmp_path, "unseen_speakers": "theo"}  # fmt: skip
    when_thinking_pays.main([f"--{key}={value}" for key, value in words.items()])
    (made,) = [settings for entry, settings in stages if entry == "demo"]
    assert made["events"] == "5" and made["recordings"] == str(tmp_path) and made["unseen_speakers"] == "['theo']"


def test_unknown_name_of_an_axis_is_told_with_the_known_ones(tmp_path):
    (tmp_path / "grid.yaml").write_text(GRID)
    with pytest.raises(InputError, match="worlds 'noisy' is not one of plain, untrue, or all"):
        when_thinking_pays.main([f"--grid={tmp_path}/grid.yaml", "--worlds=noisy", f"--out={tmp_path}"])
