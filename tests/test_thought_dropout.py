"""Guided thought dropout: thoughts of samples answered right are dropped, and no clip is on both sides of the split."""

import json
import shutil

import pytest
from tiny_world import make_base, write_train_file

import answer
import curriculum
from omni_clst.answering.pass_rates import answer_row, read_pass_rates
from omni_clst.data.layouts import read_samples
from omni_clst.data.prompts import make_prompt
from omni_clst.data.samples import AudioQASample
from omni_clst.errors import InputError
from omni_clst.files import read_jsonl
from omni_clst.method.silence import note_silence, select_by_silence
from omni_clst.method.thought_dropout import describe, drop_thoughts, split_by_clip

SAMPLES = [
    AudioQASample(f"s{n}", f"clip{n // 2}.wav", "q", ("a", "b"), "a", think=None if n == 5 else f"thought {n}")
    for n in range(6)
]
RATES = {"s0": 1.0, "s1": 0.0, "s2": 0.5, "s3": 1.0, "s4": 0.0, "s5": 0.0}


def thoughts(mode: str, drop_from: float = 1.0, seed: int = 0) -> list[str]:
    return [sample.think for sample in drop_thoughts(SAMPLES, RATES, mode, drop_from, seed)]


@pytest.mark.parametrize(
    ("mode", "drop_from", "expected", "reason"),
    [
        ("guided", 1.0, ["", "thought 1", "thought 2", "", "thought 4", ""], "right loses it, wrong keeps it"),
        ("guided", 0.5, ["", "thought 1", "", "", "thought 4", ""], "the threshold is a pass rate"),
        ("keep_all", 1.0, ["thought 0", "thought 1", "thought 2", "thought 3", "thought 4", ""], "nothing is dropped"),
        ("drop_all", 1.0, [""] * 6, "everything is dropped"),
    ],
    ids=["guided", "threshold", "keep_all", "drop_all"],
)
def test_mode_decides_which_thoughts_stay(mode, drop_from, expected, reason):
    assert thoughts(mode, drop_from) == expected, reason


def test_random_drops_as_many_as_guided_does():
    ids = [{n for n, sample in enumerate(drop_thoughts(SAMPLES, RATES, "random", 1.0, seed)) if n != 5 and not sample.think}
           for seed in range(20)]  # fmt: skip
    assert {len(found) for found in ids} <= {1, 2}  # 2 of 6, of which the sample without a thought may be one
    assert len({frozenset(found) for found in ids}) > 3


def test_pass_rate_of_the_base_is_noted():
    rows = [sample.to_row() for sample in drop_thoughts(SAMPLES, RATES, "guided", 1.0, 0)]
    assert [row["base_pass_rate"] for row in rows] == [1.0, 0.0, 0.5, 1.0, 0.0, 0.0]
    assert [row["base_correct"] for row in rows] == [1, 0, 0, 1, 0, 0]


def test_sample_without_an_answer_is_an_error():
    with pytest.raises(InputError, match="1 of 6 samples have no answer: s4"):
        drop_thoughts(SAMPLES, {key: rate for key, rate in RATES.items() if key != "s4"}, "guided", 1.0, 0)


def test_summary_counts_every_sample():
    made = drop_thoughts(SAMPLES, RATES, "guided", 1.0, 0)
    assert describe(made, SAMPLES) == "6 samples, thoughts: 3 kept (50 %), 2 dropped (33 %), 1 had none"


def test_no_clip_is_on_both_sides_of_the_split():
    train, valid = split_by_clip(SAMPLES, 0.34, seed=3)
    assert len(valid) == 2
    assert not {sample.audio_path for sample in train} & {sample.audio_path for sample in valid}
    assert [sample.id for sample in SAMPLES if sample in train] == [sample.id for sample in train]


def test_what_is_solvable_without_audio_is_left_out_above_the_limit():
    marked = note_silence(SAMPLES, {"s0": 1.0, "s1": 0.75, "s2": 0.5, "s3": 0.25, "s4": 0.0, "s5": 0.0})

    def ids(*limits: float) -> list[str]:
        return [sample.id for sample in select_by_silence(marked, limits)[0]]

    assert ids(0.0, 0.5) == ["s2", "s3", "s4", "s5"]
    assert ids(0.0, 0.0) == ["s4", "s5"]
    assert ids(0.5, 1.0) == ["s0", "s1", "s2"]  # the other way round: those solvable without audio
    assert ids(0.25, 0.5) == ["s2", "s3"]
    assert select_by_silence(marked, (0.0, 1.0))[0] == marked
    assert select_by_silence(SAMPLES, (0.0, 1.0))[0] == SAMPLES  # without marks
    assert select_by_silence(marked, (0.3, 0.8))[1] == {
        "solvable without audio: silence pass rate above 0.8": 1,
        "not solvable without audio: silence pass rate below 0.3": 3,
    }


def test_leaving_out_every_sample_is_an_error():
    marked = note_silence(SAMPLES, {sample.id: 1.0 for sample in SAMPLES})
    with pytest.raises(InputError) as caught:
        select_by_silence(marked, (0.0, 0.5))
    assert str(caught.value) == (
        "nothing to train on: of 6 samples 6 left out (solvable without audio: silence pass rate above 0.5)"
    )


def test_row_names_the_audio_source_unless_it_is_the_clip():
    prompt = make_prompt("direct", "")
    assert "audio" not in answer_row(SAMPLES[0], ["a"], prompt, "m")
    assert answer_row(SAMPLES[0], ["a"], prompt, "m", "silence")["audio"] == "silence"


def test_answers_with_another_audio_source_are_refused_at_their_line(tmp_path):
    path = tmp_path / "answers.jsonl"
    path.write_text('{"id": "a", "correct": [1], "audio": "silence"}\n{"id": "b", "correct": [1], "audio": "other"}\n')
    with pytest.raises(InputError) as caught:
        read_pass_rates(path, "silence")
    assert str(caught.value) == f"{path}:2: audio 'other' is not 'silence'"
    with pytest.raises(InputError) as caught:
        read_pass_rates(path)
    assert str(caught.value) == f"{path}:1: audio 'silence' is not 'real'"


def test_answers_are_judged_by_the_strict_rule():
    row = answer_row(SAMPLES[0], ["a", "A.", "b", "a or b"], make_prompt("direct", ""), "m")
    assert (row["answers"], row["correct"]) == (["a", "A.", "b", "a or b"], [1, 1, 0, 0])
    row = answer_row(SAMPLES[0], ["a", "<think>t</think><answer>a</answer>"], make_prompt("selective", ""), "m")
    assert (row["answers"], row["correct"]) == ([None, "a"], [0, 1])


@pytest.mark.parametrize("correct", ["[]", "[2]", "1", "null"])
def test_bad_verdicts_are_named(tmp_path, correct):
    path = tmp_path / "answers.jsonl"
    path.write_text(f'{{"id": "a", "correct": {correct}}}\n')
    with pytest.raises(InputError) as caught:
        read_pass_rates(path)
    assert str(caught.value) == f"{path}:1: correct {json.loads(correct)!r} is not a list of 0 and 1"


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dropout world")
    make_base(folder / "base")
    write_train_file(folder, 10)
    return folder


def answer_arguments(world, out, *more: str) -> list[str]:
    argv = [str(world / "base"), "--samples", str(world / "train.jsonl"), "--answers_dir", str(out), "--device", "cpu"]
    return [*argv, "--max_new_tokens", "4", "--batch_tokens", "500", "--num_workers", "0", *more]


@pytest.mark.parametrize("count", [1, 3])
def test_model_answers_k_times_and_the_dropout_reads_it(world, count):
    out = world / f"answers {count}"
    argv = answer_arguments(world, out, "--num_completions", str(count))
    answer.main(argv)
    rows = [row for _, row in read_jsonl(out / "answers.jsonl")]
    assert [row["id"] for row in rows] == [f"row{number}" for number in range(10)]
    assert {len(row["completions"]) for row in rows} == {len(row["correct"]) for row in rows} == {count}
    if count > 1:
        assert any(len(set(row["completions"])) > 1 for row in rows)
    before = (out / "answers.jsonl").read_bytes()
    answer.main(argv)  # all is there already
    assert (out / "answers.jsonl").read_bytes() == before

    made = world / f"sft {count}"
    curriculum.main(["sft", "--samples", str(world / "train.jsonl"), "--answers_dir", str(out),
                     "--output", str(made), "--valid_share", "0.2"])  # fmt: skip
    train, valid = (read_samples(made / name) for name in ("train.jsonl", "valid.jsonl"))
    assert (len(train), len(valid)) == (8, 2)
    assert all("base_pass_rate" in sample.extra for sample in train + valid)


@pytest.fixture(scope="module")
def answered(world):
    """The same model's answers to the clips and to silence."""
    for audio in ("real", "silence"):
        answer.main(answer_arguments(world, world / audio, "--audio", audio))
    return world


def test_model_answers_silence_and_its_rows_say_so(answered):
    real, silence = ([row for _, row in read_jsonl(answered / name / "answers.jsonl")] for name in ("real", "silence"))
    assert [row["id"] for row in silence] == [row["id"] for row in real]
    assert [row["completions"] for row in silence] != [row["completions"] for row in real]
    assert {row["audio"] for row in silence} == {"silence"}
    assert not any("audio" in row for row in real)


def test_folder_of_answers_to_the_clips_takes_no_answers_to_silence(answered):
    """And neither the other way round; a folder from before there was a choice has no such setting."""
    assert "audio" not in json.loads((answered / "real" / "settings.json").read_text())
    with pytest.raises(InputError, match=r"real: has answers with other settings \(audio: None -> silence\)"):
        answer.main(answer_arguments(answered, answered / "real", "--audio", "silence"))
    with pytest.raises(InputError, match=r"silence: has answers with other settings \(audio: silence -> None\)"):
        answer.main(answer_arguments(answered, answered / "silence"))


def test_samples_get_another_clip_on_request(answered):
    answer.main(answer_arguments(answered, answered / "other", "--audio", "other"))
    assert {row["audio"] for _, row in read_jsonl(answered / "other" / "answers.jsonl")} == {"other"}


def judge_by_hand(world, right: set[int]) -> None:
    """Give the model's answers to silence verdicts by hand: sample N is right for N in `right`."""
    rows = [row | {"correct": [int(number in right)]}
            for number, (_, row) in enumerate(read_jsonl(world / "silence" / "answers.jsonl"))]  # fmt: skip
    (world / "judged").mkdir(exist_ok=True)
    (world / "judged" / "answers.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def make_sft_data(world, *more: str) -> list[AudioQASample]:
    curriculum.main(["sft", "--samples", str(world / "train.jsonl"), "--answers_dir", str(world / "real"),
                     "--output", str(world / "made"), "--valid_share", "0.2", *more])  # fmt: skip
    return [sample for name in ("train.jsonl", "valid.jsonl") for sample in read_samples(world / "made" / name)]


def test_dropout_marks_what_is_solvable_without_audio(answered, capsys):
    judge_by_hand(answered, {1, 4, 5})
    made = make_sft_data(answered, "--silence_answers_dir", str(answered / "judged"))
    assert {sample.id for sample in made if sample.extra["silence_pass_rate"]} == {"row1", "row4", "row5"}
    assert len(made) == 10
    assert "left out" not in capsys.readouterr().out


def test_dropout_leaves_out_what_is_solvable_without_audio_and_says_how_many(answered, capsys):
    judge_by_hand(answered, {1, 4, 5})
    made = make_sft_data(answered, "--silence_answers_dir", str(answered / "judged"), "--max_silence_pass_rate", "0.5")
    assert {sample.id for sample in made} == {f"row{number}" for number in (0, 2, 3, 6, 7, 8, 9)}
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == (
        f"{answered / 'train.jsonl'}: of 10 samples 3 left out (solvable without audio: silence pass rate above 0.5)"
    )


def test_dropout_keeps_only_what_is_solvable_without_audio(answered, capsys):
    judge_by_hand(answered, {1, 4, 5})
    made = make_sft_data(answered, "--silence_answers_dir", str(answered / "judged"), "--min_silence_pass_rate", "0.5")
    assert {sample.id for sample in made} == {"row1", "row4", "row5"}
    assert "7 left out (not solvable without audio: silence pass rate below 0.5)" in capsys.readouterr().out


def test_limit_on_silence_needs_answers_to_silence(answered):
    with pytest.raises(InputError, match="^max_silence_pass_rate 0.5 needs silence_answers_dir$"):
        make_sft_data(answered, "--max_silence_pass_rate", "0.5")
    shutil.copytree(answered / "real", answered / "mistaken", dirs_exist_ok=True)
    with pytest.raises(InputError, match=r"mistaken/answers\.jsonl:1: audio 'real' is not 'silence'$"):
        make_sft_data(answered, "--silence_answers_dir", str(answered / "mistaken"))
