"""`infer.sh RUN --checkpoints all` scores every checkpoint of a run, once, and the report compares them by step."""

import json
import os
import subprocess

import pytest
from tiny_world import make_base, write_mmau

import infer
from omni_clst.errors import InputError
from omni_clst.model.checkpoints import mark_complete
from omni_clst.settings import REPOSITORY


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("a run")
    write_mmau(folder / "data", 6)
    for step in (4, 12):
        make_base(folder / "run" / f"checkpoint-{step}", seed=step)
        mark_complete(folder / "run" / f"checkpoint-{step}")
    make_base(folder / "run" / "checkpoint-20")  # killed while it was saved
    return folder


def sweep(world) -> subprocess.CompletedProcess:
    command = ["bash", str(REPOSITORY / "script" / "infer.sh"), "run", "--checkpoints", "all", "--data_root", "data"]
    command += ["--max_new_tokens", "4", "--num_workers", "0", "--device", "cpu", "--benchmarks", "mmau-mini"]
    environment = os.environ | {"NPROC_PER_NODE": "1"}
    result = subprocess.run(command, cwd=world, env=environment, capture_output=True, text=True, timeout=600)
    assert result.returncode == 0, result.stderr[-2000:]
    return result


@pytest.mark.slow
def test_every_complete_checkpoint_is_scored_and_a_second_start_answers_nothing_again(world):
    first = sweep(world).stdout
    assert [line for line in first.splitlines() if line.startswith("== ")] == [
        f"== {world}/run/checkpoint-4", f"== {world}/run/checkpoint-12"
    ]  # fmt: skip
    assert first.count("engine hf") == 2
    accuracies = [
        json.loads((world / "run" / f"checkpoint-{step}" / "infer" / "mmau-mini" / "scores.json").read_text())["official"]
        for step in (4, 12)
    ]
    report = (world / "run" / "report" / "report.md").read_text()
    assert "Checkpoints of run:" in report
    rows = [line.split("|")[1:5] for line in report.splitlines() if line.startswith("| mmau-mini |")]
    assert [(row[1].strip(), row[2].strip(), row[3].split()[0]) for row in rows] == [
        (str(step), "6", f"{one['accuracy']:.1f}") for step, one in zip((4, 12), accuracies, strict=True)
    ]
    assert (world / "run" / "report" / "checkpoints-run.png").stat().st_size > 10_000
    second = sweep(world).stdout
    assert second.count("engine hf") == 0  # no weights were loaded
    assert report == (world / "run" / "report" / "report.md").read_text()


def test_folder_without_checkpoints_is_one_error(world):
    with pytest.raises(InputError, match="data has no complete checkpoint-"):
        infer.main([str(world / "data"), "--checkpoints", "all"])
