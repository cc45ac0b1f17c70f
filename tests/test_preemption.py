"""A notice of preemption loses nothing beyond the step under way, and the run goes on as if there had been none."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import fork_server
import grpo_runs
import pytest
import sft_runs
from grpo_runs import completions
from test_clst_launcher import inference
from tiny_world import make_base, write_mmau, write_train_file

from omni_clst.model.checkpoints import CHOSEN_FILE, MARKER
from omni_clst.preemption import PREEMPTED_STATUS
from omni_clst.settings import REPOSITORY

DRIVER = Path(__file__).with_name("driver.py")
pytestmark = pytest.mark.slow
spelling_earns, undisturbed = grpo_runs.spelling_earns, grpo_runs.undisturbed  # fixtures


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("notice world")  # a space in every path
    make_base(folder / "base")
    write_train_file(folder, 24)
    return folder


@pytest.fixture(scope="module")
def undisturbed_sft(world):
    require_success(drive("sft", "none", sft_runs.arguments(world, "sft")))
    return world / "runs" / "sft"


def drive(entry: str, hook: str, argv: list[str], processes: int = 1) -> subprocess.CompletedProcess:
    return fork_server.run([DRIVER, entry, hook, *argv], processes)


def drive_by_launcher(entry: str, hook: str, argv: list[str]) -> subprocess.CompletedProcess:
    """In two processes of src/launch.py, as a launcher starts them."""
    words = ["--standalone", "--local_addr", "127.0.0.1", "--nproc_per_node", "2", DRIVER, entry, hook, *argv]
    command = [sys.executable, REPOSITORY / "src" / "launch.py", *words]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)


def require_preempted(result: subprocess.CompletedProcess, run_dir: Path, step: int) -> None:
    """Ended with the status and one line, behind a complete checkpoint of `step`, and not finished."""
    assert result.returncode == PREEMPTED_STATUS, result.stderr[-9000:]
    assert "Traceback" not in result.stderr
    lines = [line for line in result.stdout.splitlines() if line.startswith("preempted")]
    assert lines == [f"preempted at step {step}: checkpoint-{step} is complete, start again to go on"]
    assert (run_dir / f"checkpoint-{step}" / MARKER).exists()
    assert not (run_dir / f"checkpoint-{step + 1}").exists()
    assert not (run_dir / "merged").exists()
    assert not (run_dir / CHOSEN_FILE).exists()


def require_success(result: subprocess.CompletedProcess) -> None:
    assert result.returncode == 0, result.stderr[-9000:]


# SFT: two micro-batches a step


@pytest.mark.parametrize(
    ("notice", "step", "workers"),
    [
        ("SIGTERM:update:5:self", 3, 0),  # the first half of step 3
        ("SIGUSR1:update:6:group", 3, 2),  # the second half; data workers get it as well
        ("SIGTERM:saving:1:self", 2, 0),  # the regular checkpoint
    ],
)
def test_noticed_sft_saves_its_step_and_goes_on_like_an_undisturbed_one(world, undisturbed_sft, notice, step, workers):
    name = f"sft {notice.replace(':', ' ')}"
    argv = sft_runs.arguments(world, name, dataloader_num_workers=workers)
    run_dir = world / "runs" / name
    require_preempted(drive("sft", f"notify:{notice}", argv), run_dir, step)
    assert list(sft_runs.losses(run_dir)) == list(range(1, step + 1))
    require_success(drive("sft", "none", argv))
    assert sft_runs.losses(run_dir) == pytest.approx(sft_runs.losses(undisturbed_sft), abs=1e-6)
    merged = [folder / "merged" / "model.safetensors" for folder in (run_dir, undisturbed_sft)]
    assert merged[0].read_bytes() == merged[1].read_bytes()


def test_notice_of_one_process_ends_all_behind_one_checkpoint(world, undisturbed_sft):
    argv = sft_runs.arguments(world, "one of two", gradient_accumulation_steps=1)
    run_dir = world / "runs" / "one of two"
    require_preempted(drive_by_launcher("sft", "notify:SIGUSR1:update:3:last_rank", argv), run_dir, 3)
    require_success(drive("sft", "none", argv, processes=2))
    assert sft_runs.losses(run_dir) == pytest.approx(sft_runs.losses(undisturbed_sft), abs=1e-5)


def test_second_notice_ends_the_run_at_once(world):
    argv = sft_runs.arguments(world, "twice")
    result = drive("sft", "every_signal_counts+notify:SIGUSR1:update:5:self+notify:SIGTERM:saving:2:self", argv)
    assert result.returncode == -signal.SIGTERM
    assert "preempted at" not in result.stdout
    assert (world / "runs" / "twice" / "checkpoint-2" / MARKER).exists()
    assert not (world / "runs" / "twice" / "checkpoint-3" / MARKER).exists()


# GRPO: a generation a step


@pytest.mark.parametrize(
    ("notice", "step"),
    [("SIGTERM:rollout:3:self", 3), ("SIGUSR1:update:1:self", 1), ("SIGTERM:saving:1:self", 2)],
)
def test_noticed_grpo_saves_its_step_and_goes_on_in_the_order(world, undisturbed, notice, step):  # noqa: F811
    name = f"grpo {notice.replace(':', ' ')}"
    argv = grpo_runs.arguments(world, name)
    run_dir = world / "runs" / name
    require_preempted(drive("grpo", f"spell+notify:{notice}", argv), run_dir, step)
    require_success(drive("grpo", "spell", argv))
    assert completions(run_dir) == completions(undisturbed)
    assert grpo_runs.losses(run_dir) == pytest.approx(grpo_runs.losses(undisturbed), abs=1e-5)


def test_noticed_grpo_goes_on_to_the_end_of_its_generation(world):
    """Four steps a generation: a checkpoint inside one would need its completions."""
    settings = {"num_iterations": 2, "steps_per_generation": 2, "max_steps": 8, "save_steps": 100}
    require_success(drive("grpo", "spell", grpo_runs.arguments(world, "inner", **settings)))
    argv = grpo_runs.arguments(world, "inner noticed", **settings)
    whole, noticed = world / "runs" / "inner", world / "runs" / "inner noticed"
    require_preempted(drive("grpo", "spell+notify:SIGTERM:update:2:self", argv), noticed, 4)
    require_success(drive("grpo", "spell", argv))
    assert completions(noticed) == completions(whole)
    assert grpo_runs.losses(noticed) == pytest.approx(grpo_runs.losses(whole), abs=1e-5)


def test_launcher_passes_a_notice_on_and_waits_for_the_checkpoint(world, undisturbed):  # noqa: F811
    argv = grpo_runs.arguments(world, "launched", per_device_train_batch_size=2)
    run_dir = world / "runs" / "launched"
    require_preempted(drive_by_launcher("grpo", "spell+notify:SIGTERM:rollout:3:launcher", argv), run_dir, 3)
    require_success(drive("grpo", "spell", argv, processes=2))
    assert completions(run_dir) == completions(undisturbed)
    assert grpo_runs.losses(run_dir) == pytest.approx(grpo_runs.losses(undisturbed), abs=1e-5)


REWARD = """
import os, signal, time
from pathlib import Path
from omni_clst.preemption import NOTICE

def noticed_once(sample, completion):
    file = Path(os.environ["NOTICE_FILE"])
    if sample.id == "row2" and not file.exists():
        file.touch()
        os.kill(os.getppid(), signal.SIGTERM)
        while not NOTICE.is_given:
            time.sleep(0.01)
    return 0.5
"""


def test_preempted_training_is_followed_by_inference_only_after_it_went_on(world):
    """The notice goes to the shell that runs CLST.sh, in the rollout of the second step of three."""
    write_mmau(world / "data", 4)
    (world / "noticed.py").write_text(REWARD, encoding="utf-8")
    rewards = f"{world}/noticed.py:noticed_once: 1.0"
    argv = grpo_runs.arguments(world, "script", rewards=rewards, audio_root=world, max_steps=3, steps_per_generation=1)
    command = ["bash", REPOSITORY / "script" / "CLST.sh", *argv, *inference(world)]
    environment = os.environ | {"NPROC_PER_NODE": "1", "NOTICE_FILE": str(world / "noticed")}

    def start() -> subprocess.CompletedProcess:
        return subprocess.run(command, cwd=world, env=environment, capture_output=True, text=True, timeout=600)

    run_dir = world / "runs" / "script"
    require_preempted(start(), run_dir, 2)
    assert not (run_dir / "infer").exists()
    require_success(start())
    assert (run_dir / "infer" / "mmau-mini" / "scores.json").exists()


# Answering: resumed by sample, so that nothing has to be finished


def test_noticed_answering_ends_with_a_line_and_answers_nothing_twice(world):
    folders = [world / "answers" / name for name in ("whole", "noticed")]
    argv = [f"--{word}" if not number % 2 else word for number, word in enumerate(
        ["samples", f"{world}/train.jsonl", "prompt", "demo_selective", "max_new_tokens", "4", "batch_tokens", "200",
         "num_workers", "2", "device", "cpu", "answers_dir"])]  # fmt: skip
    whole, noticed = ([str(world / "base"), *argv, str(folder)] for folder in folders)
    require_success(drive("answer", "none", whole))
    result = drive("answer", "notify:SIGTERM:rollout:3:self", noticed)
    assert result.returncode == PREEMPTED_STATUS
    assert result.stderr == ""
    assert result.stdout.splitlines()[-1] == "preempted: start again to go on"
    before = (folders[1] / "parts" / "rank0.jsonl").read_bytes()
    require_success(drive("answer", "none", noticed))
    assert before and (folders[1] / "parts" / "rank0.jsonl").read_bytes().startswith(before)
    assert (folders[1] / "answers.jsonl").read_bytes() == (folders[0] / "answers.jsonl").read_bytes()
