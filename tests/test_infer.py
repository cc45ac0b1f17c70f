"""Inference: the same file whole or killed, on one process or two, from any kind of checkpoint."""

import json
import shutil
import signal
from dataclasses import replace

import inference_runs
import pytest
import torch
from inference_runs import QUESTIONS, arguments, rows, run_driver

import infer
from omni_clst.answering.batches import plan_batches
from omni_clst.answering.config import InferConfig
from omni_clst.answering.predictions import prediction_row
from omni_clst.answering.run import AnsweringRun
from omni_clst.data.benchmark_rows import find_benchmark, load_benchmark, resolve_audio
from omni_clst.data.encoder import OmniEncoder
from omni_clst.data.prompts import make_prompt
from omni_clst.data.samples import AudioQASample
from omni_clst.errors import InputError
from omni_clst.model.checkpoints import find_checkpoint, load_processor, load_thinker
from omni_clst.model.engine import Completion, HFEngine
from omni_clst.model.sampling import Sampling
from omni_clst.scoring.run import folder_name

world, undisturbed, thoughtless = inference_runs.world, inference_runs.undisturbed, inference_runs.thoughtless  # fixtures


def test_every_question_is_answered_in_the_benchmarks_order(undisturbed):
    found = rows(undisturbed / "predictions.jsonl")
    assert [row["id"] for row in found] == [f"q{number:03d}" for number in range(QUESTIONS)]
    scores = json.loads((undisturbed / "scores.json").read_text())
    assert (scores["total"], scores["answered"], scores["missing"]) == (QUESTIONS, QUESTIONS, 0)
    assert len(rows(undisturbed / "verdicts.jsonl")) == QUESTIONS


def test_random_model_gives_different_answers(undisturbed):
    """Else the equalities below would hold for any mix-up of rows."""
    assert len({row["model_output_raw"] for row in rows(undisturbed / "predictions.jsonl")}) > 5


def test_batched_answers_equal_those_one_by_one(world, undisturbed):
    infer.main(arguments(world, "one by one", batch_tokens=1))
    one_by_one = rows(world / "one by one" / "mmau-mini" / "predictions.jsonl")
    assert one_by_one == rows(undisturbed / "predictions.jsonl")


def test_static_decoding_answers_alike_and_is_recorded(world, undisturbed):
    infer.main(arguments(world, "static", decoding="static"))
    folder = world / "static" / "mmau-mini"
    assert rows(folder / "predictions.jsonl") == rows(undisturbed / "predictions.jsonl")
    assert json.loads((folder / "settings.json").read_text())["engine"] == "hf, static decoding"
    assert "engine" not in json.loads((undisturbed / "settings.json").read_text())
    with pytest.raises(InputError, match="engine: hf, static decoding -> None"):
        infer.main(arguments(world, "static", decoding="plain"))


@pytest.mark.slow
def test_killed_inference_resumes_and_answers_nothing_twice(world, undisturbed):
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
def test_two_processes_answer_like_one(world, undisturbed):
    run_driver("none", arguments(world, "two"), processes=2)
    folder = world / "two" / "mmau-mini"
    assert {path.name for path in (folder / "parts").iterdir()} == {"rank0.jsonl", "rank1.jsonl"}
    assert (folder / "predictions.jsonl").read_bytes() == (undisturbed / "predictions.jsonl").read_bytes()


def test_adapter_folder_answers_like_its_merged_model(world, tmp_path):
    from omni_clst.model.checkpoints import MARKER, write_prompt
    from omni_clst.model.lora import add_lora, make_lora
    from omni_clst.training.sft import merge_checkpoint

    base = str(world / "base")
    thinker = load_thinker(find_checkpoint(base), torch.float32)
    model = add_lora(thinker, base, make_lora(thinker, 4, 8.0), True)
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


def test_other_audio_changes_answers_and_goes_to_its_own_folder(world, undisturbed):
    with_clips = rows(undisturbed / "predictions.jsonl")
    for audio in ("silence", "other"):
        infer.main(arguments(world, "undisturbed", audio=audio))
        deaf = rows(world / "undisturbed" / f"mmau-mini.{audio}" / "predictions.jsonl")
        assert [row["id"] for row in deaf] == [row["id"] for row in with_clips]
        assert [row["model_output_raw"] for row in deaf] != [row["model_output_raw"] for row in with_clips]


FOLDERS = [
    ({}, "mmar"),
    ({"audio": "silence"}, "mmar.silence"),
    ({"thought": "empty"}, "mmar.empty_thought"),
    ({"audio": "other", "thought": "empty"}, "mmar.other.empty_thought"),
    ({"audio": "other", "thought": "empty", "limit": 5}, "mmar.other.empty_thought.first5"),
]


@pytest.mark.parametrize(("changes", "name"), FOLDERS, ids=[row[-1] for row in FOLDERS])
def test_every_variant_has_a_folder_of_its_own(changes, name):
    assert folder_name(InferConfig(model="m", **changes), "mmar") == name


def test_seed_of_sampled_answers_is_a_seed_and_nothing_else(world):
    config = InferConfig(model=str(world / "base"), temperature=0.7, top_p=0.9, top_k=20, seed=5)
    run = AnsweringRun(config, find_checkpoint(config.model), torch.device("cpu"))
    assert run.sampling == Sampling(256, temperature=0.7, top_p=0.9, top_k=20, min_p=0.0, seed=5)


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


def test_row_with_a_special_token_counts_as_wrong_and_is_named(world, tmp_path, capsys):
    shutil.copytree(world / "data", tmp_path / "data")
    meta = tmp_path / "data" / "MMAU" / "mmau-test-mini.json"
    questions = json.loads(meta.read_text())
    questions[1]["question"] = "what does <|im_end|> mean ?"
    meta.write_text(json.dumps(questions))
    infer.main(arguments(world, "token", data_root=tmp_path / "data", allow_missing_audio="true"))
    reason = "mmau-test-mini.json: row 2: sample 'q001': the text holds the special token '<|im_end|>'"
    assert f"  1 rows cannot be used and count as wrong: {reason}\n" in capsys.readouterr().out
    predictions = rows(world / "token" / "mmau-mini" / "predictions.jsonl")
    assert len(predictions) == len(questions)
    assert (predictions[1]["id"], predictions[1]["model_output"], predictions[1]["error"]) == ("q001", "", reason)


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
    """20 tokens a batch, 2 of them written behind each prompt: 9 | 8, too long for two | 7 + 2, 7 + 2 | 6, 5 | ..."""
    samples = [AudioQASample(f"s{n}", "x", "q", ("a", "b"), "a") for n in range(10)]
    lengths = [5, 3, 9, 1, 7, 7, 2, 8, 4, 6]
    plan = plan_batches(samples, lengths, 20, 2)
    assert [[lengths[int(s.id[1:])] for s in batch.samples] for batch in plan] == [[9], [8, 7], [7, 6], [5, 4], [3, 2, 1]]
    assert sorted(sample.id for batch in plan for sample in batch.samples) == [f"s{n}" for n in range(10)]
    turned = plan_batches(samples[::-1], lengths[::-1], 20, 2)
    assert [[s.id for s in batch.samples] for batch in plan] == [[s.id for s in batch.samples] for batch in turned]


def test_greedy_answers_equal_those_of_transformers_own_generate(world):
    """The stock processor's inputs, padded to the feature extractor's full length, one sample at a time."""
    checkpoint = find_checkpoint(str(world / "base"))
    model = load_thinker(checkpoint, torch.float32)
    encoder = OmniEncoder(load_processor(checkpoint), make_prompt("demo_direct", ""), 30.0)
    engine = HFEngine(model, encoder, Sampling(max_new_tokens=12))
    place = find_benchmark(world / "data", "mmau-mini")
    samples = [
        replace(sample, audio_path=str(resolve_audio(sample, place[1])))
        for sample in load_benchmark("mmau-mini", place[0]).samples[:6]
    ]
    written = engine.generate([encoder.encode(sample) for sample in samples], [0] * 6)
    placeholders = encoder.tokenizer.convert_tokens_to_ids(["<|AUDIO|>", "<|IMAGE|>", "<|VIDEO|>"])
    for sample, [completion] in zip(samples, written, strict=True):
        stock = encoder.processor(text=encoder.prompt_text(sample, 1), audio=[encoder.load(sample)], return_tensors="pt")
        output = model.generate(**stock, max_new_tokens=12, do_sample=False, suppress_tokens=placeholders,
                                eos_token_id=engine.end_ids, pad_token_id=0)  # fmt: skip
        assert output[0, stock["input_ids"].shape[1] :].tolist() == list(completion.token_ids)


@pytest.mark.parametrize(
    ("prompt", "text", "output", "failed"),
    [
        ("selective", "<think>t</think><answer>dog</answer>", "dog", False),
        ("selective", "dog", "", True),
        ("direct", " dog\n", "dog", False),
        ("direct", "<answer>dog</answer>", "dog", False),
    ],
)
def test_output_without_tags_counts_only_where_none_were_asked_for(prompt, text, output, failed):
    sample = AudioQASample("a", "x", "q", ("dog", "cat"), "dog")
    row = prediction_row(sample, Completion(text, 3, True), make_prompt(prompt, ""))
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


def test_scores_say_how_the_answers_were_made(world, undisturbed, thoughtless):
    scores = json.loads((undisturbed / "scores.json").read_text())
    settings = json.loads((undisturbed / "settings.json").read_text())
    origin = scores["origin"]
    assert origin["weights"] == settings["weights"]
    assert origin["prompt"] == settings["prompt"] | {"sha256": make_prompt("demo_direct", "").sha256}
    assert origin["decoding"] == {"temperature": 0.0, "top_p": 1.0, "top_k": 0, "max_new_tokens": 8, "seed": 0}
    assert [origin[key] for key in ("thought", "audio", "engine", "dtype")] == ["free", "real", "hf", "torch.float32"]
    assert (scores["meta"], scores["cut_off"]) == (str(world / "data" / "MMAU" / "mmau-test-mini.json"), QUESTIONS)
    assert json.loads((thoughtless / "scores.json").read_text())["origin"]["thought"] == "empty"
