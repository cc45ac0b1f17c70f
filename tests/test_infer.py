"""Inference: the same file whole or killed, on one process or two, from any kind of checkpoint."""

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tiny_world import free_port, make_base, write_mmau

import infer
from omni_clst.checkpoints import find_checkpoint, load_processor, load_thinker
from omni_clst.files import read_jsonl
from omni_clst.generation import HFEngine, Sampling, plan_batches
from omni_clst.inference import prediction_row
from omni_clst.processing import OmniEncoder
from omni_clst.prompts import make_prompt
from omni_clst.samples import AudioQASample

DRIVER = Path(__file__).with_name("driver.py")
QUESTIONS = 22


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("infer world")
    make_base(folder / "base")
    write_mmau(folder / "data", QUESTIONS)
    return folder


def arguments(world: Path, output: str, **changes) -> list[str]:
    settings = {
        "data_root": world / "data",
        "benchmarks": "mmau-mini",
        "output": world / output,
        "batch_size": 4,
        "max_new_tokens": 8,
        "num_workers": 0,
        "device": "cpu",
    } | changes
    return [str(world / "base")] + [word for key, value in settings.items() for word in (f"--{key}", str(value))]


@pytest.fixture(scope="module")
def undisturbed(world):
    infer.main(arguments(world, "undisturbed"))
    return world / "undisturbed" / "mmau-mini"


def rows(path: Path) -> list[dict]:
    return [row for _, row in read_jsonl(path)]


def test_every_question_is_answered_in_the_benchmarks_order(undisturbed):
    found = rows(undisturbed / "predictions.jsonl")
    assert [row["id"] for row in found] == [f"q{number:03d}" for number in range(QUESTIONS)]
    scores = json.loads((undisturbed / "scores.json").read_text())
    assert (scores["total"], scores["answered"], scores["missing"]) == (QUESTIONS, QUESTIONS, 0)
    assert len(rows(undisturbed / "verdicts.jsonl")) == QUESTIONS


def test_random_model_does_not_answer_everything_alike(undisturbed):
    """Else the equalities below would hold for any mix-up of rows."""
    assert len({row["model_output_raw"] for row in rows(undisturbed / "predictions.jsonl")}) > 5


def test_batched_answers_equal_those_one_by_one(world, undisturbed):
    infer.main(arguments(world, "one by one", batch_size=1))
    one_by_one = rows(world / "one by one" / "mmau-mini" / "predictions.jsonl")
    assert one_by_one == rows(undisturbed / "predictions.jsonl")


def run_driver(hook: str, argv: list[str], processes: int = 1) -> int:
    command = [sys.executable]
    if processes > 1:
        command += ["-m", "torch.distributed.run", "--nproc_per_node", str(processes), "--master_port", str(free_port())]
    result = subprocess.run([*command, str(DRIVER), "infer", hook, *argv], capture_output=True, text=True, timeout=120)
    if result.returncode not in (0, -signal.SIGKILL):
        raise AssertionError(result.stderr[-3000:])
    return result.returncode


@pytest.mark.slow
def test_killed_inference_goes_on_and_does_nothing_twice(world, undisturbed):
    argv = arguments(world, "killed")
    parts = world / "killed" / "mmau-mini" / "parts"
    assert run_driver("kill_before_append:2", argv) == -signal.SIGKILL
    assert len(rows(parts / "rank0.jsonl")) == 4
    assert run_driver("kill_after_append:2", argv) == -signal.SIGKILL
    assert len(rows(parts / "rank0.jsonl")) == 12
    with open(parts / "rank0.jsonl", "ab") as file:
        file.write(b'{"id": "q00')  # a torn line
    infer.main(argv)
    assert len(rows(parts / "rank0.jsonl")) == QUESTIONS
    expected = (undisturbed / "predictions.jsonl").read_bytes()
    assert (world / "killed" / "mmau-mini" / "predictions.jsonl").read_bytes() == expected


@pytest.mark.slow
def test_two_processes_answer_what_one_does(world, undisturbed):
    run_driver("none", arguments(world, "two"), processes=2)
    folder = world / "two" / "mmau-mini"
    assert {path.name for path in (folder / "parts").iterdir()} == {"rank0.jsonl", "rank1.jsonl"}
    assert (folder / "predictions.jsonl").read_bytes() == (undisturbed / "predictions.jsonl").read_bytes()


def test_adapter_folder_answers_like_its_merged_model(world, tmp_path):
    from omni_clst.checkpoints import MARKER, add_lora, write_prompt
    from omni_clst.config import LANGUAGE_MODEL_LINEAR
    from omni_clst.supervised import merge_checkpoint

    base = str(world / "base")
    model = add_lora(load_thinker(find_checkpoint(base), torch.float32), base, 4, 8.0, 0.0, LANGUAGE_MODEL_LINEAR, True)
    torch.manual_seed(3)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.3)
    adapter = tmp_path / "checkpoint-1"
    model.save_pretrained(adapter)
    write_prompt(adapter, make_prompt("demo_selective", ""))
    (adapter / MARKER).touch()
    merge_checkpoint(find_checkpoint(str(adapter)), tmp_path / "merged", torch.float32, keep_talker=False)
    outputs = []
    for checkpoint in (adapter, tmp_path / "merged"):
        infer.main([str(checkpoint), *arguments(world, f"from {checkpoint.name}")[1:]])
        outputs.append(rows(world / f"from {checkpoint.name}" / "mmau-mini" / "predictions.jsonl"))
    assert outputs[0] == outputs[1]


def test_prompt_of_the_checkpoint_is_used(world, undisturbed):
    settings = json.loads((undisturbed / "settings.json").read_text())
    assert settings["prompt"]["name"] == "demo_direct"


def test_other_hearing_changes_answers_and_goes_to_its_own_folder(world, undisturbed):
    heard = rows(undisturbed / "predictions.jsonl")
    for audio in ("silence", "other"):
        infer.main(arguments(world, "undisturbed", audio=audio))
        deaf = rows(world / "undisturbed" / f"mmau-mini.{audio}" / "predictions.jsonl")
        assert [row["id"] for row in deaf] == [row["id"] for row in heard]
        assert [row["model_output_raw"] for row in deaf] != [row["model_output_raw"] for row in heard]


def test_sampled_answers_repeat_by_seed(world):
    texts = []
    for output, seed in (("s0", 0), ("s0 again", 0), ("s1", 1)):
        infer.main(arguments(world, output, temperature=1.0, seed=seed))
        found = rows(world / output / "mmau-mini" / "predictions.jsonl")
        texts.append([row["model_output_raw"] for row in found])
    assert texts[0] == texts[1] != texts[2]


def test_rows_without_a_clip_can_be_allowed_and_count_as_wrong(world, tmp_path):
    shutil.copytree(world / "data", tmp_path / "data")
    (tmp_path / "data" / "MMAU" / "test-mini-audios" / "clip003.wav").unlink()
    infer.main(arguments(world, "gap", data_root=tmp_path / "data", allow_missing_audio="true"))
    row = rows(world / "gap" / "mmau-mini" / "predictions.jsonl")[3]
    assert (row["id"], row["model_output"], row["parse_failed"]) == ("q003", "", True)
    assert row["error"].endswith("clip003.wav: No such file or directory")


def test_benchmark_without_answers_becomes_a_submission_file(world, tmp_path):
    shutil.copytree(world / "data", tmp_path / "data")
    mmau = tmp_path / "data" / "MMAU"
    questions = json.loads((mmau / "mmau-test-mini.json").read_text())
    for question in questions:
        del question["answer"]
    (mmau / "mmau-test.json").write_text(json.dumps(questions))
    (mmau / "test-mini-audios").rename(mmau / "test-audios")
    infer.main(arguments(world, "submission", data_root=tmp_path / "data", benchmarks="mmau-test"))
    submitted = json.loads((world / "submission" / "mmau-test" / "submission.json").read_text())
    assert [row["id"] for row in submitted] == [question["id"] for question in questions]
    assert all(isinstance(row["model_output"], str) for row in submitted)
    assert not (world / "submission" / "mmau-test" / "scores.json").exists()


def test_plan_covers_every_sample_once_and_ignores_their_order():
    samples = [AudioQASample(f"s{n}", "x", "q", ("a", "b"), "a") for n in range(10)]
    lengths = [5, 3, 9, 1, 7, 7, 2, 8, 4, 6]
    plan = plan_batches(samples, lengths, 4)
    assert [len(batch.samples) for batch in plan] == [4, 4, 2]
    assert sorted(sample.id for batch in plan for sample in batch.samples) == [f"s{n}" for n in range(10)]
    turned = plan_batches(samples[::-1], lengths[::-1], 4)
    assert [[s.id for s in batch.samples] for batch in plan] == [[s.id for s in batch.samples] for batch in turned]


def test_nothing_of_the_released_generation_settings_is_inherited(world):
    checkpoint = find_checkpoint(str(world / "base"))
    model = load_thinker(checkpoint, torch.float32)
    encoder = OmniEncoder(load_processor(checkpoint), make_prompt("demo_direct", ""), 30.0)
    engine = HFEngine(model, encoder, Sampling(max_new_tokens=5))
    used = engine.generation_config
    assert (used.do_sample, used.repetition_penalty, used.max_new_tokens) == (False, 1.0, 5)
    placeholders = encoder.tokenizer.convert_tokens_to_ids(["<|AUDIO|>", "<|IMAGE|>", "<|VIDEO|>"])
    assert sorted(used.suppress_tokens) == sorted(placeholders)
    assert model.generation_config.repetition_penalty in (None, 1.0)


class TestPredictionRow:
    sample = AudioQASample("a", "x", "q", ("dog", "cat"), "dog")

    @pytest.mark.parametrize(
        ("prompt", "text", "output", "failed"),
        [
            ("selective", "<think>t</think><answer>dog</answer>", "dog", False),
            ("selective", "dog", "", True),
            ("direct", " dog\n", "dog", False),
            ("direct", "<answer>dog</answer>", "dog", False),
        ],
    )
    def test_output_without_tags_counts_only_where_none_were_asked_for(self, prompt, text, output, failed):
        from omni_clst.generation import Completion

        row = prediction_row(self.sample, Completion(text, 3, True), make_prompt(prompt, ""))
        assert (row["model_output"], row["parse_failed"]) == (output, failed)


def test_real_clips_with_all_their_hazards_are_decoded_and_answered(world, real_data):
    """MP3 named .wav, float and 32-bit samples, six channels, 1.5 to 30 s; `data_root` is MMAU's own folder here."""
    subset = real_data / "mmau_mini_subset"
    infer.main(arguments(world, "real", data_root=subset, max_new_tokens=4))
    found = rows(world / "real" / "mmau-mini" / "predictions.jsonl")
    questions = json.loads((subset / "mmau-test-mini.json").read_text(encoding="utf-8"))
    assert [row["id"] for row in found] == [question["id"] for question in questions]
    assert len(found) == 38
    assert all(row["tokens"] > 0 and "error" not in row for row in found)
