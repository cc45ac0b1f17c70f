"""Trackers get the curves by level and tables of completions with their clips."""

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
import tracked_runs
from tracked_runs import COLUMNS, DRIVER, arguments, small_table

import grpo
from omni_clst.errors import InputError
from omni_clst.grpo.trackers import TRACKERS
from omni_clst.training.trackers import open_trackers

spelling_earns, world = grpo_runs.spelling_earns, tracked_runs.world  # fixtures


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
