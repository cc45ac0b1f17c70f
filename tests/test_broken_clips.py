"""A clip with an intact header that fails to decode: `check_audio` finds it first, and any run can be finished."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from grpo_runs import arguments as grpo_arguments
from inference_runs import arguments as infer_arguments
from sft_runs import arguments as sft_arguments
from tiny_world import make_base, write_mmau, write_train_file

import answer
import grpo
import infer
import sft
from omni_clst.errors import InputError

TRAIN_CLIP, TEST_CLIP = "clips/clip005.wav", "data/MMAU/test-mini-audios/clip003.wav"
REASON = "1 sample values are not finite"


@pytest.fixture
def world(tmp_path):
    make_base(tmp_path / "base")
    write_train_file(tmp_path, 12)
    write_mmau(tmp_path / "data", 6)
    for clip in (TRAIN_CLIP, TEST_CLIP):
        waveform, rate = soundfile.read(tmp_path / clip)
        waveform[len(waveform) // 2] = np.nan
        soundfile.write(tmp_path / clip, waveform, rate, subtype="FLOAT")
    return tmp_path


def rows_of(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize(
    ("main", "arguments"), [(sft.main, sft_arguments), (grpo.main, grpo_arguments)], ids=["sft", "grpo"]
)
def test_training_finds_it_before_the_start_and_leaves_it_out(world, capsys, main, arguments):
    changes = {"rewards": "format: 1.0"} if main is grpo.main else {}
    argv = arguments(world, "run", max_steps=4, save_steps=2, **changes)
    with pytest.raises(InputError, match=f"{TRAIN_CLIP}: {REASON}.*--check_audio true --allow_missing_audio true"):
        main(argv)  # in the middle
    with pytest.raises(InputError, match=rf"train.jsonl: 1 of 12 rows cannot be used \(.*{TRAIN_CLIP}: {REASON}"):
        main([*argv, "--check_audio"])
    capsys.readouterr()
    main([*argv, "--check_audio", "--allow_missing_audio"])  # goes on with the run that stopped
    out = capsys.readouterr().out
    assert "train.jsonl: 1 of 12 rows left out, which cannot be used:" in out
    assert "training done" in out


def test_inference_counts_it_as_wrong_and_answers_it_once_it_is_repaired(world):
    argv = infer_arguments(world, "out")
    with pytest.raises(InputError, match=f"{TEST_CLIP}: {REASON}.*; --allow_missing_audio continues with the others"):
        infer.main(argv)
    infer.main([*argv, "--allow_missing_audio"])
    file = world / "out" / "mmau-mini" / "predictions.jsonl"
    row = rows_of(file)[3]
    assert (row["id"], row["model_output"], row["parse_failed"]) == ("q003", "", True)
    assert REASON in row["error"]
    assert not any("error" in row for row in rows_of(file)[:3] + rows_of(file)[4:])
    before = rows_of(file)
    soundfile.write(world / TEST_CLIP, np.full(8000, 0.1), 16000)
    infer.main(argv)
    after = rows_of(file)
    assert "error" not in after[3]
    assert after[:3] + after[4:] == before[:3] + before[4:]


def test_answering_leaves_it_unanswered(world, capsys):
    argv = [str(world / "base"), "--samples", str(world / "train.jsonl"), "--answers_dir", str(world / "answers"),
            "--max_new_tokens", "2", "--device", "cpu", "--num_workers", "0"]  # fmt: skip
    answer.main([*argv, "--allow_missing_audio"])
    assert [row["id"] for row in rows_of(world / "answers" / "answers.jsonl")] == [
        f"row{number}" for number in range(12) if number != 5
    ]
    assert "1 samples are not answered" in capsys.readouterr().out
