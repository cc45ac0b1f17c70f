"""Trackers get the curves by level and tables of completions with their clips; a run says the time left and its cost."""

import importlib.util
import json
import os
import sys
import types
from pathlib import Path

import fork_server
import grpo_runs
import numpy as np
import pytest
import sft_runs
import soundfile
from tiny_world import make_base, write_train_file

import grpo
import sft
from omni_clst.answering import progress
from omni_clst.data import time_left
from omni_clst.data.samples import AudioQASample
from omni_clst.data.time_left import TimeLeft, duration
from omni_clst.errors import InputError
from omni_clst.grpo.completion_table import HEADER, tabulate
from omni_clst.grpo.trackers import TRACKERS, CompletionTables
from omni_clst.training.trackers import open_trackers

DRIVER = Path(__file__).with_name("driver.py")
REWARDS = "spelling: 2.0, format: 1.0"
COLUMNS = [*HEADER, "reward/spelling", "reward/format", "advantage"]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tracked world")  # a space in every path
    make_base(folder / "base")
    write_train_file(folder, 12)
    return folder


def arguments(world: Path, run_name: str, **changes) -> list[str]:
    """Three steps of two prompts, shuffled so that levels mix; a table with the first and the third."""
    settings = {"rewards": REWARDS, "max_steps": 3, "save_steps": 3, "order": "shuffled", "completion_table_steps": 2}
    return grpo_runs.arguments(world, run_name, **settings | changes)


# The table


def sample(number: int, folder: Path) -> AudioQASample:
    path = folder / f"{number}.wav"
    soundfile.write(path, np.full(4_000 * number, 0.1), 8_000)
    return AudioQASample(f"q{number}", str(path), "what is heard ?", ("a cat", "a dog"), "a dog", level="hard")


def row(position: int, completion: str, earned: float, advantage: float) -> dict:
    rewards = {"accuracy": earned, "format": 1.0}
    of_sample = {"id": f"q{position}", "level": "hard", "position": position}
    return of_sample | {"completion": completion, "finished": True, "rewards": rewards, "advantage": advantage}


def small_table(folder: Path, max_audio_seconds: float = 30.0):
    samples = {number: sample(number, folder) for number in (1, 2)}
    rows = [
        row(2, "<think>it barks</think><answer>a dog</answer>", 1.0, 0.5),
        row(1, "<think>\n\n</think><answer>a cat</answer>", 0.0, -1.0),
        row(2, "woof", 0.0, -0.5),
    ]
    return tabulate(rows, 21, samples.__getitem__, max_audio_seconds)


def test_table_has_a_line_for_each_completion_in_the_order_of_the_curriculum(tmp_path):
    table = small_table(tmp_path)
    assert table.columns == (*HEADER, "reward/accuracy", "reward/format", "advantage")
    asked = ["hard", "what is heard ?", "a cat | a dog", "a dog"]
    assert table.lines == [
        [21, "clip_1", "q1", *asked, "", "a cat", True, 0.0, 1.0, -1.0],
        [21, "clip_2", "q2", *asked, "it barks", "a dog", True, 1.0, 1.0, 0.5],
        [21, "clip_2", "q2", *asked, "", "woof", True, 0.0, 1.0, -0.5],  # without tags: the text
    ]


def test_clips_of_a_table_are_what_the_model_gets(tmp_path):
    clips = small_table(tmp_path, max_audio_seconds=0.75).clips
    assert {name: len(clip) for name, clip in clips.items()} == {"clip_1": 8_000, "clip_2": 12_000}  # 0.5 s, 1 s cropped
    assert all(clip.dtype == np.float32 for clip in clips.values())


@pytest.mark.parametrize(
    ("every", "resumed", "steps", "expected"),
    [
        (3, 0, range(1, 9), [1, 4, 7]),
        (3, 3, range(4, 9), [4, 7]),
        (3, 4, range(5, 9), [7]),  # that of step 4 was sent before the run was resumed
        (2, 0, [1, 5, 9], [1, 5, 9]),  # generations of four steps
        (0, 0, range(1, 9), []),
    ],
    ids=["every third", "resumed", "resumed inside", "long generations", "none"],
)
def test_tables_come_with_the_first_generation_after_every_n_steps(tmp_path, monkeypatch, every, resumed, steps, expected):
    sent = []
    monkeypatch.setitem(TRACKERS, "wandb", lambda table, callbacks: sent.append(table.step))
    tables = CompletionTables(["wandb", "mlflow"], every, resumed, 30.0)
    for step in steps:
        tables.note([row(1, "woof", 0.0, 0.0)], step, lambda position: sample(position, tmp_path), [])
    assert sent == expected


# Each tracker by a stand-in that records what it gets


class Recorder(types.ModuleType):
    """Any class of the module keeps its arguments; `log` keeps its calls."""

    def __init__(self):
        super().__init__("recorder")
        self.logged: list[tuple[dict, int | None]] = []
        self.echarts = self

    def log(self, content: dict, step: int | None = None) -> None:
        self.logged.append((content, step))

    def Audio(self, clip, sample_rate=None, caption=None, format=None):
        return types.SimpleNamespace(clip=clip, sample_rate=sample_rate, caption=caption)

    def Table(self, columns=(), data=()):
        table = types.SimpleNamespace(columns=columns, data=data)
        table.add = lambda columns, data: types.SimpleNamespace(columns=columns, data=data)
        return table


@pytest.fixture
def recorded(tmp_path, monkeypatch):
    def send(name: str) -> Recorder:
        recorder = Recorder()
        monkeypatch.setitem(sys.modules, name, recorder)
        TRACKERS[name](small_table(tmp_path), [])
        return recorder

    return send


def test_wandb_has_the_clips_in_the_cells(recorded):
    [(content, step)] = recorded("wandb").logged
    assert (content.keys(), content["train/global_step"], step) == ({"completions", "train/global_step"}, 21, None)
    lines = content["completions"].data
    assert [len(line[1].clip) for line in lines] == [8_000, 16_000, 16_000]
    assert lines[1][1] is lines[2][1]  # one file for all completions of a clip
    assert [line[1].sample_rate for line in lines] == [16_000] * 3
    assert [line[2:3] + line[7:9] for line in lines] == [
        ["q1", "", "a cat"],
        ["q2", "it barks", "a dog"],
        ["q2", "", "woof"],
    ]


def test_trackio_has_the_clips_beside_the_table_and_as_loud_as_they_are(recorded):
    [(content, _)] = recorded("trackio").logged
    assert [line[1] for line in content["completions"].data] == ["clip_1", "clip_2", "clip_2"]
    clip = content["completions/clip_2"]
    assert (clip.clip.dtype, clip.sample_rate, clip.caption) == (np.int16, 16_000, "step 21: clip_2")
    assert clip.clip[8_000] == pytest.approx(0.1 * 32_767, abs=40)


def test_swanlab_has_the_clips_beside_the_table(recorded):
    [(content, step)] = recorded("swanlab").logged
    assert step == 21
    assert content["completions"].data[0][-1] == "-1.0"
    assert [clip.caption for clip in content["completions/clips"]] == ["clip_1", "clip_2"]


WANDB = '''
"""Records what a run does with W&B."""
import json, os

class Error(Exception): ...

class Named(dict):
    def update(self, *values, **more): super().update(*values)

run, config = None, Named()

def init(**settings):
    global run
    run = type("Run", (), {"summary": {}, "_label": lambda self, **labels: None})()
    note("init", settings)

def note(kind, content):
    with open(os.environ["RECORD"], "a") as file:
        file.write(json.dumps([kind, content], default=lambda value: value.content) + "\\n")

def define_metric(*names, **more): ...
def log(content): note("log", content)

class Audio:
    def __init__(self, clip, sample_rate): self.content = {"seconds": len(clip) / sample_rate}

class Table:
    def __init__(self, columns, data): self.content = {"columns": columns, "data": data}
'''


@pytest.mark.slow
def test_run_sends_its_curves_and_tables_in_order(world, tmp_path, monkeypatch):
    for name, content in {"": WANDB, "sdk": "", "sdk/lib": ""}.items():
        (tmp_path / "wandb" / name).mkdir()
        (tmp_path / "wandb" / name / "__init__.py").write_text(content, encoding="utf-8")
    (tmp_path / "wandb" / "sdk" / "lib" / "config_util.py").write_text("class ConfigError(Exception): ...\n")
    monkeypatch.setenv("RECORD", str(tmp_path / "record.jsonl"))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    result = fork_server.run(
        [DRIVER, "grpo", "spell", *arguments(world, "recorded", report_to="wandb")], processes=2, forked=False
    )
    assert result.returncode == 0, result.stderr[-3000:]
    record = [json.loads(line) for line in (tmp_path / "record.jsonl").read_text().splitlines()]
    assert record[0] == ["init", {"project": "omni-clst", "name": "recorded"}]
    assert [kind for kind, _ in record].count("init") == 1  # by rank 0 alone
    logs = [content for kind, content in record if kind == "log"]
    tables = [(content["train/global_step"], content["completions"]) for content in logs if "completions" in content]
    assert [step for step, _ in tables] == [1, 3]
    assert all(table["columns"] == COLUMNS and len(table["data"]) == 8 for _, table in tables)
    curves = [content for content in logs if "train/loss" in content]
    assert [content["train/global_step"] for content in curves] == [1, 2, 3]
    completions = grpo_runs.rows_of(world / "runs" / "recorded" / "completions.jsonl")
    for content in curves:
        check_curves(content, [row for row in completions if row["step"] == content["train/global_step"]])
    [first, *_] = tables[0][1]["data"]
    assert first[1]["seconds"] == pytest.approx(completions[0]["audio_seconds"], abs=0.02)


def check_curves(content: dict, rows: list[dict]) -> None:
    """Accuracy, think rate and length by level are those of the step's completions."""
    for level in {row["level"] for row in rows}:
        part = [row for row in rows if row["level"] == level]
        assert content[f"train/accuracy/{level}"] == pytest.approx(sum(row["correct"] for row in part) / len(part))
        assert content[f"train/think_rate/{level}"] == pytest.approx(sum(row["think"] for row in part) / len(part))
        assert content[f"train/completion_tokens/{level}"] == pytest.approx(sum(row["tokens"] for row in part) / len(part))


# The real packages, where they are installed


def test_tensorboard_has_curves_tables_and_clips(world):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    grpo_runs.reward_spelling()
    grpo.main(arguments(world, "board", report_to="tensorboard"))
    [folder] = (world / "runs" / "board" / "runs").iterdir()
    events = EventAccumulator(str(folder), size_guidance={"audio": 0, "tensors": 0}).Reload()
    rows = grpo_runs.rows_of(world / "runs" / "board" / "completions.jsonl")
    scalars = {name: {event.step: event.value for event in events.Scalars(name)} for name in events.Tags()["scalars"]}
    for step in (1, 2, 3):
        at_step = {name: values[step] for name, values in scalars.items() if step in values}
        check_curves(at_step, [row for row in rows if row["step"] == step])
    tables = events.Tensors("completions/text_summary")
    assert [event.step for event in tables] == [1, 3]
    header, _, *lines = tables[0].tensor_proto.string_val[0].decode().splitlines()
    assert header == f"| {' | '.join(COLUMNS)} |"
    assert len(lines) == 4
    [clip, _] = events.Audio("completions/clip_1")
    assert clip.sample_rate == 16_000
    assert clip.length_frames == pytest.approx(rows[0]["audio_seconds"] * 16_000, abs=160)


def require(package: str) -> None:
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")


def run_with(package: str, stage: str, world: Path, monkeypatch, **variables: str) -> Path:
    require(package)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    make = {"grpo": arguments, "sft": sft_runs.arguments}[stage]
    argv = make(world, f"{package} {stage}", report_to=package)
    result = fork_server.run([DRIVER, stage, "spell" if stage == "grpo" else "none", *argv], forked=False)
    assert result.returncode == 0, result.stderr[-3000:]
    return world / "runs" / f"{package} {stage}"


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["sft", "grpo"])
def test_wandb_keeps_an_offline_run_in_the_run_folder(world, monkeypatch, stage):
    run_dir = run_with("wandb", stage, world, monkeypatch, WANDB_MODE="offline")
    [file] = run_dir.glob("wandb/offline-run-*/*.wandb")
    content = file.read_bytes()
    assert b"train/loss" in content
    if stage == "grpo":
        assert b"train/accuracy/easy" in content
        assert len(list(run_dir.glob("wandb/offline-run-*/files/media/table/completions_*"))) == 2
        staged = [path for path in (run_dir / "artifacts" / "staging").iterdir() if path.read_bytes()[:4] == b"RIFF"]
        assert len(staged) == 4  # two prompts in each of two tables


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["sft", "grpo"])
def test_trackio_keeps_a_run(world, tmp_path, monkeypatch, stage):
    import sqlite3

    run_with("trackio", stage, world, monkeypatch, TRACKIO_DIR=str(tmp_path))
    with sqlite3.connect(tmp_path / "omni-clst.db") as database:
        rows = [json.loads(text) for (text,) in database.execute("select metrics from metrics")]
    assert any("train/loss" in row for row in rows)
    if stage == "grpo":
        assert any("train/accuracy/easy" in row for row in rows)
        tables = [row["completions"]["_value"] for row in rows if "completions" in row]
        assert [list(table[0]) for table in tables] == [COLUMNS] * 2
        assert len(list(tmp_path.glob("media/omni-clst/**/*.wav"))) == 4


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["sft", "grpo"])
def test_swanlab_keeps_an_offline_run_in_the_run_folder(world, monkeypatch, stage):
    run_dir = run_with("swanlab", stage, world, monkeypatch, SWANLAB_MODE="offline")
    [file] = run_dir.glob("swanlog/run-*/*.swanlab")
    content = file.read_bytes()
    assert b"train/loss" in content
    if stage == "grpo":
        assert b"train/accuracy/easy" in content
        tables = [json.loads(path.read_text()) for path in run_dir.glob("swanlog/run-*/media/echarts/*.json")]
        assert [[column["field"] for column in table["colDefs"]] for table in tables] == [COLUMNS] * 2
        assert len(list(run_dir.glob("swanlog/run-*/media/audio/*.wav"))) == 4


@pytest.mark.parametrize(("name", "error", "mode"), [("wandb", ValueError, "WANDB"), ("swanlab", RuntimeError, "SWANLAB")])
def test_tracker_without_a_login_is_one_line(tmp_path, monkeypatch, name, error, mode):
    def init(**settings):
        raise error("No API key configured.")

    module = types.SimpleNamespace(run=None, has_run=lambda: False, init=init, Error=error)
    monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(os, "environ", dict(os.environ))
    with pytest.raises(InputError) as caught:
        open_trackers([name], "x", tmp_path)
    assert str(caught.value) == (f"report_to {name}: No API key configured. Or set {mode}_MODE=offline in the environment")


# Time left


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.4, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min 0 s"),
        (3_599, "59 min 59 s"),
        (3_600, "1 h 0 min"),
        (86_399, "23 h 59 min"),
        (187_200, "2 d 4 h"),
    ],
)
def test_duration_in_its_two_largest_units(seconds, words):
    assert duration(seconds) == words


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass only when a test says so."""
    now = [100.0]
    for module in (time_left, progress):
        monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


def test_time_left_counts_the_parts_of_this_start(clock):
    left = TimeLeft(total=100, first=40)
    assert left.in_words(40) == ""
    clock[0] += 30
    assert left.in_words(50) == "2 min 30 s left"  # ten parts took 30 s, 50 are to come
    assert left.in_words(100) == ""


def test_answering_says_the_time_left(clock, capsys):
    said = progress.Progress(100)
    clock[0] += 8
    said.advance(20)
    clock[0] += 32
    said.advance(80)
    assert capsys.readouterr().out == "  20/100 samples, 2.5 per second, 32 s left\n  100/100 samples, 2.5 per second\n"


@pytest.mark.parametrize("stage", ["sft", "grpo"])
def test_training_says_the_time_left_and_the_cost_at_its_end(world, capsys, stage):
    if stage == "grpo":
        grpo_runs.reward_spelling()
        grpo.main(arguments(world, "lines"))
    else:
        sft.main(sft_runs.arguments(world, "lines of sft"))
    lines = capsys.readouterr().out.splitlines()
    steps = [line for line in lines if line.startswith("  step ")]
    assert len(steps) >= 3
    assert all(line.endswith(" left") for line in steps[:-1])
    assert not steps[-1].endswith(" left")
    assert [line for line in lines if line.startswith("this run cost ")]


# Cost


def test_cost_of_grpo_counts_what_was_generated(world, capsys):
    """Every prompt once with its clip, and all its completions."""
    grpo_runs.reward_spelling()
    grpo.main(arguments(world, "cost"))
    run_dir = world / "runs" / "cost"
    rows = grpo_runs.rows_of(run_dir / "completions.jsonl")
    prompts = {row["position"]: row for row in rows}.values()
    cost = json.loads((run_dir / "cost.json").read_text())
    assert cost["device_hours"] > 0
    del cost["device_hours"]
    seconds = sum(row["audio_seconds"] for row in prompts)
    assert cost == {
        "device": "cpu",
        "starts": 1,
        "samples": 6,
        "completions": 12,
        "read_tokens": sum(row["prompt_tokens"] for row in prompts),
        "generated_tokens": sum(row["tokens"] for row in rows),
        "audio_seconds": pytest.approx(seconds, abs=0.01),
    }
    words = f"12 completions of 6 samples, {cost['read_tokens']} tokens read, {cost['generated_tokens']} generated, "
    assert f"{words}{seconds:.0f} s of audio\n" in capsys.readouterr().out


def test_cost_counts_completions_that_dynamic_sampling_replaced(world):
    grpo.main(arguments(world, "redrawn", rewards="format: 1.0", dynamic_sampling="true", max_redraws=1, max_steps=1,
                        save_steps=1))  # fmt: skip
    cost = json.loads((world / "runs" / "redrawn" / "cost.json").read_text())
    assert (cost["samples"], cost["completions"]) == (4, 8)  # two groups in two rounds


def test_cost_is_that_of_all_processes(world):
    argv = arguments(world, "cost of two", per_device_train_batch_size=2)
    result = fork_server.run([DRIVER, "grpo", "spell", *argv], processes=2)
    assert result.returncode == 0, result.stderr[-3000:]
    cost = json.loads((world / "runs" / "cost of two" / "cost.json").read_text())
    assert (cost["samples"], cost["completions"]) == (6, 12)


def test_cost_of_sft_goes_on_over_starts_and_counts_repeated_steps(world):
    """Killed after step 3 of 6 with a checkpoint at 2: steps 1 to 3, and then 3 to 6; a batch has four rows."""
    name = "killed sft"
    argv = sft_runs.arguments(world, name)
    assert fork_server.run([DRIVER, "sft", "kill_after_step:3", *argv]).returncode < 0
    before = json.loads((world / "runs" / name / "cost.json").read_text())
    assert fork_server.run([DRIVER, "sft", "none", *argv]).returncode == 0
    after = json.loads((world / "runs" / name / "cost.json").read_text())
    assert (before["starts"], after["starts"]) == (1, 2)
    assert after["device_hours"] > before["device_hours"]
    assert after["samples"] == before["samples"] + 4 * 4
    assert after["audio_seconds"] > before["audio_seconds"] > 0
    assert after["read_tokens"] > before["read_tokens"] > 0
