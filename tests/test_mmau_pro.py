"""MMAU-Pro: several clips a question, open questions exported and not scored, from its parquet to a score."""

import json
import shutil
from collections import Counter

import pytest
import torch
from benchmark_downloads import adqa_row, mmau_pro_rows, write_jsonl_download, write_mmau_pro
from tiny_world import make_base

import infer
import prepare
import score as score_entry
from omni_clst.data.audio import load_audio
from omni_clst.data.benchmark_rows import find_benchmark, load_benchmark, with_clips
from omni_clst.data.encoder import OmniEncoder
from omni_clst.data.prompts import make_prompt
from omni_clst.data.samples import check_trainable
from omni_clst.errors import InputError
from omni_clst.files import read_jsonl
from omni_clst.model.checkpoints import find_checkpoint, load_processor, load_thinker
from omni_clst.model.engine import HFEngine
from omni_clst.model.sampling import Sampling
from omni_clst.scoring.predictions import Predictions
from omni_clst.scoring.scores import format_table, score

ROWS, SEVERAL, OPEN = 60, 14, 6


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mmau-pro")
    download = write_mmau_pro(folder / "download", mmau_pro_rows(ROWS, SEVERAL, OPEN))
    words = ["--input", download, "--output", folder / "data" / "MMAU-Pro", "--num_workers", "1"]
    prepare.main(["mmau-pro", *map(str, words)])
    make_base(folder / "base")
    return folder


@pytest.fixture(scope="module")
def rows(world):
    return load_benchmark("mmau-pro", find_benchmark(world / "data", "mmau-pro")[0])


def test_every_clip_of_every_row_is_found(world, rows):
    audio = find_benchmark(world / "data", "mmau-pro")[1]
    for sample, row in zip(rows.samples, mmau_pro_rows(ROWS, SEVERAL, OPEN), strict=True):
        clips = with_clips(sample, audio).clips
        assert len(clips) == len(row["audio_path"])
        for clip, name in zip(clips, row["audio_path"], strict=True):
            assert (load_audio(clip) == load_audio(world / "download" / name)).all()


def test_oddities_are_counted_and_no_row_is_lost(rows):
    assert len(rows.samples) == ROWS
    odd = Counter(what for _, what in rows.oddities)
    lost = sum(sample.answer not in sample.choices for sample in rows.scored)
    assert odd.pop("the answer is not among the choices", 0) == lost
    assert odd == {"several clips": SEVERAL, "0 choices": OPEN}


def test_open_questions_are_asked_by_themselves_and_are_in_no_figure(rows):
    is_open = [sample for sample in rows.samples if sample not in rows.scored]
    assert [sample.prompt for sample in is_open] == [sample.question for sample in is_open]
    assert len(is_open) == OPEN
    outputs = {sample.id: sample.answer for sample in rows.samples}
    scores = score(rows, Predictions(outputs, {"model_output": ROWS}, 0))
    assert scores.tallies.keys() == {"strict", "extracted"}
    strict = scores.tallies["strict"]
    assert (strict.correct, strict.total) == (ROWS - OPEN, ROWS - OPEN)
    assert sum(cell.total for cell in strict.by["category"].values()) == ROWS - OPEN
    assert not strict.by["category"].keys() & {"open", "instruction following"}
    assert scores.to_json()["not_scored"] == OPEN
    assert f"{OPEN} more rows are not scored" in format_table(scores)
    closed = {sample.id: sample.answer for sample in rows.scored}
    assert score(rows, Predictions(closed, {"model_output": len(closed)}, 0)).missing == []


def test_every_question_is_answered_and_open_ones_are_exported(world, rows):
    words = ["--data_root", world / "data", "--output", world / "out", "--max_new_tokens", 6, "--num_workers", 2]
    infer.main([str(world / "base"), *map(str, words), "--device", "cpu", "--batch_tokens", "900"])
    folder = world / "out" / "mmau-pro"
    predictions = [row for _, row in read_jsonl(folder / "predictions.jsonl")]
    assert [row["id"] for row in predictions] == [sample.id for sample in rows.samples]
    assert json.loads((folder / "scores.json").read_text())["total"] == ROWS - OPEN
    exported = [row for _, row in read_jsonl(folder / "open_questions.jsonl")]
    assert [row["id"] for row in exported] == [sample.id for sample in rows.samples if sample not in rows.scored]
    raw = {row["id"]: row["model_output_raw"].strip() for row in predictions}
    assert [row["model_output"] for row in exported] == [raw[row["id"]] for row in exported]
    assert exported[0].keys() > mmau_pro_rows(1, 0, 0)[0].keys()


def test_first_tokens_of_a_batch_are_those_of_the_released_forward(world, rows):
    """Questions about one clip and about several in one batch; the stock processor makes the inputs of each alone."""
    place = find_checkpoint(str(world / "base"))
    model = load_thinker(place, torch.float32, "cpu", "sdpa").eval()
    encoder = OmniEncoder(load_processor(place), make_prompt("demo_direct", ""), 300.0)
    audio = find_benchmark(world / "data", "mmau-pro")[1]
    samples = [with_clips(sample, audio) for sample in (*rows.samples[:6], *rows.samples[20:24])]
    assert {len(sample.clips) for sample in samples} == {1, 2, 3, 4, 5}
    examples = [encoder.encode(sample) for sample in samples]
    completions = HFEngine(model, encoder, Sampling(6)).generate(examples, [0] * len(samples))
    assert len({completion.text for [completion] in completions}) > 3
    suppressed = [model.config.audio_token_id, model.config.image_token_id, model.config.video_token_id]
    for sample, [completion] in zip(samples, completions, strict=True):
        parts = [{"type": "audio", "audio": clip} for clip in sample.clips]
        turn = {"role": "user", "content": [*parts, {"type": "text", "text": encoder.prompt.user_text(sample)}]}
        text = encoder.processor.apply_chat_template([turn], add_generation_prompt=True, tokenize=False)
        inputs = encoder.processor(text=text, audio=[load_audio(clip) for clip in sample.clips], return_tensors="pt")
        with torch.no_grad():
            logits = model(**inputs).logits[0, -1]
        logits[suppressed] = -torch.inf
        assert logits.argmax() == completion.token_ids[0]


@pytest.mark.parametrize("audio", ["silence", "other"])
def test_questions_about_several_clips_can_be_asked_without_them(world, audio):
    words = ["--data_root", world / "data", "--output", world / audio, "--max_new_tokens", 4, "--audio", audio]
    infer.main([str(world / "base"), *map(str, words), "--device", "cpu", "--num_workers", "0", "--limit", "20"])
    folder = world / audio / f"mmau-pro.{audio}.first20"
    assert len([row for _, row in read_jsonl(folder / "predictions.jsonl")]) == 20


def test_missing_clip_of_several_is_an_error_by_name(world, tmp_path):
    shutil.copytree(world / "data", tmp_path / "data")
    (tmp_path / "data" / "MMAU-Pro" / "audio" / "00000004.wav").unlink()
    with pytest.raises(InputError, match="rows cannot be used .*00000004.wav"):
        infer.main([str(world / "base"), "--data_root", str(tmp_path / "data"), "--device", "cpu", "--dry_run", "false"])


def test_training_sample_about_any_clip_of_a_question_is_dropped(world, tmp_path):
    """The second clip of a question is as much in the benchmark as its first."""
    rows = [adqa_row(number, id=f"t{number}", question=f"which of {number} ?") for number in range(2)]
    path = write_jsonl_download(tmp_path / "AudioMCQ", "data.jsonl", rows)
    (path.parent / rows[0]["audio_path"]).write_bytes((world / "download" / "data" / "00000101.wav").read_bytes())
    words = ["--input", path, "--output", tmp_path / "out", "--against", world / "data", "--audio_root", tmp_path]
    prepare.main(["audiomcq", *map(str, words)])
    dropped = [row for _, row in read_jsonl(tmp_path / "out" / "dropped.jsonl")]
    assert [row["rule"] for row in dropped] == ["clip is in a benchmark"]
    assert "is mmau-pro 00000001-" in dropped[0]["value"]


@pytest.mark.slow
def test_set_of_the_published_size_is_converted_whole_and_its_beginning_answered(world, tmp_path):
    """5,305 rows, 456 of them about several clips and 215 open; the file is ordered, so the first ones have several."""
    download = write_mmau_pro(tmp_path / "download", mmau_pro_rows(5305, 456, 215))
    folder = tmp_path / "data" / "MMAU-Pro"
    prepare.main(["mmau-pro", "--input", str(download), "--output", str(folder), "--num_workers", "1"])
    loaded = load_benchmark("mmau-pro", folder / "mmau-pro.jsonl")
    odd = Counter(what for _, what in loaded.oddities)
    assert (len(loaded.samples), len(loaded.scored)) == (5305, 5305 - 215)
    assert (odd["several clips"], odd["0 choices"]) == (456, 215)
    words = ["--data_root", tmp_path / "data", "--output", tmp_path / "out", "--max_new_tokens", 2, "--limit", 500]
    infer.main([str(world / "base"), *map(str, words), "--device", "cpu", "--num_workers", "1"])
    scores = json.loads((tmp_path / "out" / "mmau-pro.first500" / "scores.json").read_text())
    assert (scores["total"], scores["missing"]) == (500, 0)


def test_training_refuses_a_sample_with_several_clips(rows):
    with pytest.raises(InputError, match="it is about 2 clips, training takes one: leave it out"):
        check_trainable(rows.samples[0])


EMBEDDER = """
import numpy as np

def letters(texts):
    return np.array([[text.lower().count(letter) for letter in "abcdefghijklmnopqrstuvwxyz "] for text in texts])

def broken(texts):
    return letters(texts)[:-1]

def two(texts, more):
    return letters(texts)
"""


def scored_by(world, tmp_path, function: str, outputs: dict[str, str]) -> dict:
    (tmp_path / "embed.py").write_text(EMBEDDER)
    (tmp_path / "p.json").write_text(json.dumps([{"id": key, "model_output": text} for key, text in outputs.items()]))
    meta = find_benchmark(world / "data", "mmau-pro")[0]
    words = ["--meta", meta, "--predictions", tmp_path / "p.json", "--embedder", f"{tmp_path}/embed.py:{function}"]
    score_entry.main(["--benchmark", "mmau-pro", *map(str, words), "--output", str(tmp_path / "scores.json")])
    return json.loads((tmp_path / "scores.json").read_text())


def test_nearest_choice_by_the_users_embedder_and_its_name(world, rows, tmp_path, capsys):
    """Letters in another order are as near as the choice itself; an empty answer is wrong."""
    outputs = {sample.id: (sample.answer or "")[::-1] for sample in rows.samples}
    outputs[rows.scored[0].id] = ""
    answered = [sample for sample in rows.scored[1:] if sample.answer in sample.choices]
    found = scored_by(world, tmp_path, "letters", outputs)
    assert sum(found["nearest"]["by"]["category"][name]["correct"] for name in found["nearest"]["by"]["category"]) == len(
        answered
    )
    assert found["strict"]["accuracy"] == 0.0
    assert found["embedder"] == f"{tmp_path}/embed.py:letters"
    assert f"nearest: the choice that {tmp_path}/embed.py:letters finds nearest to the answer" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("broken", r"embed.py:broken: expected finite vectors \(\d+, dimensions\), got shape"),
        ("two", r"embedder .*embed.py:two\(texts, more\) is called with \(texts\)"),
        ("leters", r"has no function 'leters' \(did you mean 'letters'\?\)"),
    ],
)
def test_embedder_that_cannot_be_used_is_named(world, rows, tmp_path, function, message):
    with pytest.raises(InputError, match=message):
        scored_by(world, tmp_path, function, {sample.id: "drum" for sample in rows.samples})
