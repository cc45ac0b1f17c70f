"""The output of prepare.py goes through every stage unchanged, with the shipped settings and a tiny model."""

import json
from pathlib import Path

import pytest
from foreign_sets import audiomcq_row, audsem_row, avqa_row, write_audiomcq, write_audsem_tar, write_avqa
from tiny_world import make_base

import answer
import curriculum
import grpo
import prepare
import sft
from omni_clst.settings import REPOSITORY


def words(config: str, **settings) -> list[str]:
    given = {"config": REPOSITORY / "configs" / f"{config}.yaml", "device": "cpu"} | settings
    return [word for key, value in given.items() for word in (f"--{key}", str(value))]


def ids(path: Path) -> list[str]:
    return [json.loads(line)["id"] for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.mark.slow
def test_prepared_sets_go_through_all_stages_without_edits(tmp_path):
    base = make_base(tmp_path / "base")
    data = tmp_path / "data"
    write_avqa(data / "AVQA", [avqa_row(number) for number in range(6)])
    write_audsem_tar(data / "AudSem" / "a.tar", [audsem_row(number) for number in range(6)])
    write_audiomcq(data / "AudioMCQ", [audiomcq_row(number) for number in range(6)])
    prepare.main(["--data_root", str(data), "--held_out", "2", "--num_workers", "1"])

    source = {"samples": data / "source.jsonl", "audio_root": data}
    short = {"max_new_tokens": 4, "num_workers": 0, "batch_tokens": 1000}
    base_answers, sft_answers = tmp_path / "answers" / "base", tmp_path / "answers" / "sft"
    made = tmp_path / "sft_data"
    answer.main(words("build_sft", model=base, answers_dir=base_answers, **source, **short))
    of_answer = {"model": base, "also_for": "answer"}  # as build_sft.sh hands the same words to both commands
    building = words("build_sft", answers_dir=base_answers, output=made, valid_share=0.2, **source, **of_answer)
    curriculum.main(["sft", *building])
    training = {"audio_root": data, "runs_dir": tmp_path / "runs", "dataloader_num_workers": 0, "report_to": "none"}
    files = {"train_file": made / "train.jsonl", "valid_file": made / "valid.jsonl"}
    steps = {"max_steps": 1, "save_steps": 1, "eval_steps": 1, "per_device_train_batch_size": 2}
    sft.main(words("sft_lora", model=base, gradient_accumulation_steps=1, **files, **training, **steps))

    merged = tmp_path / "runs" / "sft_lora" / "merged"
    answer.main(words("build_clst", model=merged, answers_dir=sft_answers, **source, **short))
    clst = data / "CLST_15k.jsonl"
    answers = {"answers_dir": sft_answers, "base_answers_dir": base_answers}
    curriculum.main(["clst", *words("build_clst", output=clst, **answers, **source, also_for="answer")])
    held_out = {"train_file": clst, "valid_file": data / "held_out.jsonl"}
    steps = {"max_steps": 1, "save_steps": 1, "eval_steps": 1, "max_completion_length": 4}
    grpo.main(words("clst_15k_lora", model=merged, gradient_accumulation_steps=1, **held_out, **training, **steps))

    order = [json.loads(line)["id"] for line in clst.read_text().splitlines()]
    rows = [
        json.loads(line) for line in (tmp_path / "runs" / "clst_15k_lora" / "completions.jsonl").read_text().splitlines()
    ]
    assert [row["id"] for row in rows] == order[:1] * 4
    assert len(order) == 16
