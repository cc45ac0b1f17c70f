"""`docs/your_own_data.md`: its commands, as they stand there, lead from a table with faults to a comparison."""

import json
import re
import shlex
import subprocess

import pytest
from own_table import write_table
from tiny_world import make_base

from omni_clst.settings import REPOSITORY

DOCUMENT = REPOSITORY / "docs" / "your_own_data.md"
TINY = """\
base: base
sft_lora: {prompt: prompt.txt, max_steps: 2, eval_steps: 2, save_steps: 2, per_device_train_batch_size: 2,
           gradient_accumulation_steps: 1, dataloader_num_workers: 0, report_to: [none]}
build_sft: {num_workers: 0, max_new_tokens: 8}
build_clst: {num_workers: 0, max_new_tokens: 8, size: 60}
clst_15k: {max_steps: 2, save_steps: 2, max_completion_length: 8, deepspeed: none, tuning: lora, learning_rate: 1.0e-4,
           steps_per_generation: 1, dataloader_num_workers: 0, report_to: [none]}
infer: {num_workers: 0, max_new_tokens: 8}
"""


def commands() -> list[list[str]]:
    return [shlex.split(line) for line in re.findall(r"^    (bash script/.*)$", DOCUMENT.read_text(encoding="utf-8"), re.M)]


def prompt() -> str:
    text = DOCUMENT.read_text(encoding="utf-8")
    return "\n".join(re.findall(r"^    (Frage: .*|\{choices\}|Antworte .*)$", text, re.M))


@pytest.mark.slow
def test_commands_of_the_document_run_as_they_stand(tmp_path, real_data):
    my = tmp_path / "my"
    write_table(my / "data" / "samples", real_data / "fsdd" / "recordings")
    for clip in (my / "data" / "samples" / "clips").iterdir():
        clip.rename(clip.parent.parent / clip.name)
    make_base(my / "base")
    (my / "prompt.txt").write_text(prompt(), encoding="utf-8")
    (my / "project.yaml").write_text(TINY, encoding="utf-8")
    printed = {}
    for _, script, *words in commands():
        result = subprocess.run(
            ["bash", str(REPOSITORY / script), *words], cwd=tmp_path, capture_output=True, text=True, timeout=600
        )
        assert result.returncode == 0, f"{script} {words}: {result.stdout[-1000:]} {result.stderr[-2000:]}"
        printed[script.removeprefix("script/").removesuffix(".sh")] = result.stdout
    assert "120 rows in" in printed["prepare_data"] and "held_out.jsonl: 20 samples" in printed["prepare_data"]
    assert "prompt: prompt.txt, as " in printed["CLST"]  # that of SFT, which nothing names here
    assert "speaker: george" in printed["infer"] and "depth: deep" in printed["infer"]
    for run in ("sft_lora/merged", "clst_15k"):
        scores = json.loads((my / "runs" / run / "infer" / "held_out" / "scores.json").read_text())
        assert scores["total"] == 20
    assert "McNemar" in printed["compare"]
    assert "answer   " in printed["ask"]
    assert (my / "report" / "index.html").exists()
