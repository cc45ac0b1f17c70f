"""Bad input through the real entry points: one line with place and value, before anything is written or deleted."""

import hashlib
import json
import shutil
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import save_file
from tiny_world import make_base, write_mmau, write_train_file

import infer
import report
import score
import sft
from omni_clst import devices
from omni_clst.errors import InputError, run_main

ROWS = 4


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bad inputs")
    make_base(folder / "base")
    write_train_file(folder, ROWS)
    write_mmau(folder / "data", ROWS)
    predictions = [json.dumps({"id": f"q{number:03d}", "model_output": "drum"}) + "\n" for number in range(ROWS)]
    (folder / "predictions.jsonl").write_text("".join(predictions))
    return folder


@pytest.fixture
def world(original, tmp_path):
    """A copy to spoil: base/, train.jsonl with clips/, data/MMAU/, predictions.jsonl."""
    shutil.copytree(original, tmp_path / "w")
    return tmp_path / "w"


ARGUMENTS = {  # entry point -> (its main, good arguments)
    "sft": (sft.main, {
        "model": "{w}/base", "train_file": "{w}/train.jsonl", "runs_dir": "{w}/runs", "run_name": "x", "device": "cpu",
        "prompt": "demo_selective", "system_prompt": "", "max_steps": 1, "per_device_train_batch_size": 2,
        "gradient_accumulation_steps": 1, "gradient_checkpointing": "false", "dataloader_num_workers": 0,
        "report_to": "none",
    }),
    "infer": (infer.main, {
        "model": "{w}/base", "data_root": "{w}/data", "benchmarks": "mmau-mini", "output": "{w}/out", "device": "cpu",
        "batch_tokens": 300, "max_new_tokens": 2, "num_workers": 0,
    }),
    "score": (score.main, {
        "benchmark": "mmau-mini", "meta": "{w}/data/MMAU/mmau-test-mini.json", "predictions": "{w}/predictions.jsonl",
        "output": "{w}/scores/s.json",
    }),
    "report": (report.main, {}),
}  # fmt: skip


def run(entry: str, world: Path, **changes: object) -> None:
    """Call an entry point as its command line would; a setting of None is left out."""
    main, arguments = ARGUMENTS[entry]
    if entry == "report":
        return main([str(world)])
    settings = {key: str(value).format(w=world) for key, value in (arguments | changes).items() if value is not None}
    return main([word for key, value in settings.items() for word in (f"--{key}", value)])


def unusable(reason: str, count: int = 1) -> str:
    """What is said of training rows whose clip or text cannot be used."""
    remedy = "repair or remove them, or leave them out with --allow_missing_audio"
    return f"{{w}}/train.jsonl: {count} of {ROWS} rows cannot be used ({reason}); {remedy}"


def change_row(file: str, index: int, **changes: object) -> Callable[[Path], None]:
    """Change fields of one row of a file."""

    def change(world: Path) -> None:
        path = world / file
        if path.suffix == ".jsonl":
            rows = [json.loads(line) for line in path.read_text().splitlines()]
        else:
            rows = json.loads(path.read_text())
        rows[index] |= changes
        path.write_text("".join(json.dumps(row) + "\n" for row in rows) if path.suffix == ".jsonl" else json.dumps(rows))

    return change


def put(file: str, content: str | bytes) -> Callable[[Path], None]:
    """Put a file there, its folders too."""

    def change(world: Path) -> None:
        path = world / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.format(w=world).encode())

    return change


def append(file: str, text: str) -> Callable[[Path], None]:
    return lambda world: (world / file).write_text((world / file).read_text() + text)


def remove(file: str) -> Callable[[Path], None]:
    return lambda world: (world / file).unlink()


def copy_base(folder: str, *left_out: str) -> Callable[[Path], None]:
    """Another folder like the base, some files left out."""
    return lambda world: shutil.copytree(world / "base", world / folder, ignore=shutil.ignore_patterns(*left_out))


def put_clip(file: str, waveform: np.ndarray) -> Callable[[Path], None]:
    return lambda world: soundfile.write(world / file, waveform, 16000, subtype="FLOAT")


def all_of(*changes: Callable[[Path], None]) -> Callable[[Path], None]:
    return lambda world: [change(world) for change in changes] and None


def config_of_another_kind(world: Path) -> None:
    file = world / "base" / "config.json"
    file.write_text(json.dumps({"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"]}))


def cut_weights(world: Path) -> None:
    file = world / "base" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-5000])


def replace_weights(world: Path) -> None:
    save_file({"x": torch.zeros(1)}, world / "base" / "model.safetensors", metadata={"format": "pt"})


def started_with_other_settings(world: Path) -> None:
    run("sft", world, merge="false", learning_rate=0.5)


def answered_with_other_settings(world: Path) -> None:
    run("infer", world)


class Case(NamedTuple):
    """`{w}` stands for the world's folder; `changes` are arguments that differ from the good ones."""

    reason: str
    entry: str
    spoil: Callable[[Path], None] | None
    changes: dict
    message: str
    written: frozenset[str] = frozenset()


OPENED = frozenset({"out/mmau-mini/settings.json"})  # the answer folder is opened before weights are read
META = "data/MMAU/mmau-test-mini.json"
CLIP = "clips/clip001.wav"
TEST_CLIP = "data/MMAU/test-mini-audios/clip001.wav"
CASES = [
    # training rows
    Case("no train file", "sft", None, {"train_file": "{w}/gone.jsonl"}, "train_file {w}/gone.jsonl: no such file"),
    Case("no valid file", "sft", None, {"valid_file": "{w}/gone.jsonl"}, "valid_file {w}/gone.jsonl: no such file"),
    Case("train file not set", "sft", None, {"train_file": None},
         "train_file is not set (--train_file VALUE, or in the YAML)"),
    Case("broken JSON", "sft", append("train.jsonl", '{"id": "row4", '), {},
         "{w}/train.jsonl:5: not JSON (Expecting property name enclosed in double quotes): '{{\"id\": \"row4\",'"),
    Case("answer is no choice", "sft", change_row("train.jsonl", 2, answer="Dog"), {},
         "{w}/train.jsonl:3: answer 'Dog' is not one of ['hiss', 'drum', 'click', 'beep']"),
    Case("id stands twice", "sft", change_row("train.jsonl", 3, id="row1"), {},
         "{w}/train.jsonl:4: id 'row1' is used already at {w}/train.jsonl:2"),
    Case("unknown layout", "sft", put("train.jsonl", '{{"text": "x"}}'), {},
         "{w}/train.jsonl:1: unknown layout with the keys ['text']"),
    Case("empty train file", "sft", put("train.jsonl", ""), {}, "{w}/train.jsonl: holds no samples"),
    Case("not UTF-8", "sft", put("train.jsonl", b"\xff\xfe"), {},
         "{w}/train.jsonl: not UTF-8 (invalid start byte at byte 0)"),
    Case("bad row in the valid file", "sft",
         all_of(lambda w: shutil.copy(w / "train.jsonl", w / "valid.jsonl"), change_row("valid.jsonl", 0, answer=None)),
         {"valid_file": "{w}/valid.jsonl"},
         "{w}/valid.jsonl:1: has no answer (one of ['hiss', 'drum', 'click', 'beep'])"),
    Case("special token in a question", "sft", change_row("train.jsonl", 0, question="is it <|AUDIO|> ?"), {},
         unusable("train.jsonl:1: sample 'row0': the text holds the special token '<|AUDIO|>'")),
    Case("special token in a thought", "sft", change_row("train.jsonl", 0, think="it is <|AUDIO|>"), {},
         unusable("train.jsonl:1: sample 'row0': the text holds the special token '<|AUDIO|>'")),
    Case("all rows too long", "sft", None, {"max_length": 5},
         "{w}/train.jsonl: all 4 rows are longer than max_length 5; raise it"),
    # clips
    Case("no such clip", "sft", remove(CLIP), {}, unusable("train.jsonl:2: {w}/" + CLIP + ": No such file or directory")),
    Case("clip of no bytes", "sft", put(CLIP, b""), {}, unusable("train.jsonl:2: {w}/" + CLIP + ": is empty (0 bytes)")),
    Case("clip of no samples", "sft", put_clip(CLIP, np.zeros(0)), {},
         unusable("train.jsonl:2: {w}/" + CLIP + ": holds no audio samples")),
    Case("clip of 10 ms", "sft", put_clip(CLIP, np.zeros(160)), {},
         unusable("train.jsonl:2: {w}/" + CLIP + ": 160 samples at 16 kHz are too short, one audio token takes 321")),
    Case("text file as a clip", "sft", put(CLIP, "no sound\n" * 99), {},
         unusable("train.jsonl:2: {w}/" + CLIP + ": not decodable as audio (Invalid data found when processing input)")),
    Case("clips elsewhere", "sft", None, {"audio_root": "{w}/elsewhere"},
         unusable("; ".join(f"train.jsonl:{n + 1}: {{w}}/elsewhere/clips/clip00{n}.wav: No such file or directory"
                            for n in range(3)) + "; ...", count=4)),
    Case("no such clip of a benchmark", "infer", remove(TEST_CLIP), {},
         "{w}/data: 1 of 4 rows cannot be used (mmau-test-mini.json: row 2: {w}/" + TEST_CLIP
         + ": No such file or directory); --allow_missing_audio answers the rest and counts these as wrong"),
    # settings
    Case("unknown key", "sft", put("c.yaml", "lora_rnk: 8\n"), {"config": "{w}/c.yaml"},
         "c.yaml: unknown key 'lora_rnk' (did you mean 'lora_rank'?)"),
    Case("value of another type", "sft", put("c.yaml", "lora_rank: many\n"), {"config": "{w}/c.yaml"},
         "c.yaml: lora_rank 'many' is not a whole number"),
    Case("broken YAML", "infer", put("c.yaml", "top_k: [1\n"), {"config": "{w}/c.yaml"},
         "{w}/c.yaml:2: not YAML (expected ',' or ']', but got '<stream end>')"),
    Case("no such YAML", "infer", None, {"config": "{w}/c.yaml"}, "{w}/c.yaml: No such file or directory"),
    Case("value out of range", "infer", None, {"batch_tokens": 0}, "batch_tokens 0 is not positive"),
    Case("unknown benchmark", "infer", None, {"benchmarks": "mmlu"},
         "benchmarks 'mmlu' is not one of all, adqa-dev, adqa-eval, mmar, mmau-mini, mmau-test, mmau-pro, mmsu, "
         "muchomusic"),
    Case("settings that contradict", "sft", None, {"train_towers": "true"},
         "train_towers needs tuning full: LoRA freezes the towers"),
    Case("prompt without places", "sft", None, {"prompt": "listen"},
         "prompt 'listen' is neither one of selective, always_think, direct, demo_selective, demo_direct "
         "nor a text with {{question}} and {{choices}}"),
    Case("lora_targets that match nothing", "sft", None, {"lora_targets": "nowhere"},
         "lora_targets 'nowhere' matches none of the model's 31 linear layers"),
    Case("no DeepSpeed file", "sft", None, {"deepspeed": "{w}/z.json"}, "deepspeed {w}/z.json: no such file"),
    Case("setting that transformers refuses", "sft", None, {"lr_scheduler_type": "bumpy"},
         "training settings: bumpy is not a valid SchedulerType, please select one of ['linear', 'cosine', "
         "'cosine_with_restarts', 'polynomial', 'constant', 'constant_with_warmup', 'inverse_sqrt', "
         "'reduce_lr_on_plateau', 'cosine_with_min_lr', 'cosine_warmup_with_min_lr', 'warmup_stable_decay', 'greedy']"),
    # checkpoints
    Case("no such checkpoint", "infer", None, {"model": "{w}/gone"},
         "{w}/gone: no such checkpoint; give a folder or a Hub id"),
    Case("checkpoint is a file", "infer", None, {"model": "{w}/base/model.safetensors"},
         "{w}/base/model.safetensors: is a file; give the checkpoint's folder"),
    Case("folder without config", "sft", remove("base/config.json"), {},
         "{w}/base: neither config.json nor adapter_config.json in it"),
    Case("folder without weights", "sft", remove("base/model.safetensors"), {},
         "{w}/base: no weights (*.safetensors) in it"),
    Case("adapter without its base", "infer",
         put("adapter/adapter_config.json", '{{"base_model_name_or_path": "{w}/gone"}}'), {"model": "{w}/adapter"},
         "{w}/adapter: the adapter's base model {w}/gone is not on this machine; write its folder or Hub id into "
         "{w}/adapter/adapter_config.json as base_model_name_or_path"),
    Case("adapter that names no base", "infer", put("adapter/adapter_config.json", "{{}}"), {"model": "{w}/adapter"},
         "{w}/adapter: the adapter names no base model; write it into {w}/adapter/adapter_config.json as "
         "base_model_name_or_path"),
    Case("broken adapter config", "infer", put("adapter/adapter_config.json", "{{"), {"model": "{w}/adapter"},
         "{w}/adapter/adapter_config.json:1: not JSON (Expecting property name enclosed in double quotes)"),
    Case("incomplete checkpoint", "infer", all_of(copy_base("runs/x/checkpoint-3", "COMPLETE"),
         put("runs/x/config.yaml", "a: 1"), put("runs/x/environment.json", "{{}}")), {"model": "{w}/runs/x/checkpoint-3"},
         "{w}/runs/x/checkpoint-3: incomplete checkpoint (no file COMPLETE: the run ended while writing it); give an "
         "earlier one"),
    Case("model of another kind, training", "sft", config_of_another_kind, {},
         "{w}/base: model type 'qwen2' is none of the bases: Qwen2.5-Omni (qwen2_5_omni), Qwen2-Audio (qwen2_audio), "
         "Qwen3-Omni (qwen3_omni_moe)"),
    Case("model of another kind, inference", "infer", config_of_another_kind, {},
         "{w}/base: model type 'qwen2' is none of the bases: Qwen2.5-Omni (qwen2_5_omni), Qwen2-Audio (qwen2_audio), "
         "Qwen3-Omni (qwen3_omni_moe)"),
    Case("broken config.json", "infer", put("base/config.json", "{{"), {},
         "{w}/base/config.json:1: not JSON (Expecting property name enclosed in double quotes)"),
    Case("broken prompt.json", "infer", put("base/prompt.json", "{{"), {},
         "{w}/base/prompt.json:1: not JSON (Expecting property name enclosed in double quotes)"),
    Case("weights cut off", "infer", cut_weights, {},
         "{w}/base/model.safetensors: incomplete (Error while deserializing header: incomplete metadata, file not fully "
         "covered); copy or download it again"),
    Case("weights of something else", "infer", replace_weights, {},
         "{w}/base: 73 weights are missing "
         "(audio_tower.audio_bos_eos_token.weight, audio_tower.conv1.bias, audio_tower.conv1.weight, ...)", OPENED),
    Case("base without a talker", "sft", None, {"keep_talker": "true"},
         "keep_talker: {w}/base has no talker weights; set keep_talker false"),
    # places to write to
    Case("file in the run directory's place", "sft", put("runs", "x"), {},
         "{w}/runs/x: cannot write there (Not a directory)"),
    Case("file in the output's place", "infer", put("out", "x"), {},
         "{w}/out/mmau-mini: cannot write there (Not a directory)"),
    Case("file in the scores' place", "score", put("scores", "x"), {}, "{w}/scores: cannot write there (File exists)"),
    Case("run directory with a broken config.yaml", "sft", put("runs/x/config.yaml", "a: [1"), {},
         "{w}/runs/x/config.yaml:1: not YAML (expected ',' or ']', but got '<stream end>')"),
    Case("run with other settings", "sft", started_with_other_settings, {},
         "{w}/runs/x: was started with other settings (learning_rate: 0.5 -> 0.0001); "
         "give another --run_name, or --overwrite to delete it"),
    Case("answers with other settings", "infer", answered_with_other_settings, {"max_new_tokens": 3},
         "{w}/out/mmau-mini: has answers with other settings (max_new_tokens: 2 -> 3); "
         "--overwrite deletes them and starts anew"),
    # benchmarks and predictions
    Case("no benchmark there", "infer", None, {"data_root": "{w}/nothing", "benchmarks": "mmau-mini,mmar"},
         "no benchmark to answer: mmau-mini: no {w}/nothing/MMAU/mmau-test-mini.json "
         "(from https://github.com/Sakshi113/MMAU); mmar: no {w}/nothing/MMAR/MMAR-meta.jsonl "
         "(from https://huggingface.co/datasets/BoJack/MMAR)"),
    Case("benchmark id stands twice", "infer", change_row(META, 2, id="q000"), {},
         "{w}/" + META + ": row 3: id 'q000' is used already at {w}/" + META + ": row 1"),
    Case("benchmark that is no JSON", "score", put(META, "[1,"), {}, "{w}/" + META + ":1: not JSON (Expecting value)"),
    Case("no such metadata", "score", None, {"meta": "{w}/gone.json"}, "meta {w}/gone.json: no such file"),
    Case("torn predictions", "score", append("predictions.jsonl", '{"id": "q0'), {},
         "{w}/predictions.jsonl:5: not JSON (Unterminated string starting at): '{{\"id\": \"q0'"),
    Case("predictions under another key", "score", put("predictions.jsonl", '{{"id": "q000", "text": "drum"}}'), {},
         "{w}/predictions.jsonl:1: none of model_output, model_prediction, answer_prediction in it"),
    Case("prediction of another benchmark", "score", change_row("predictions.jsonl", 1, id="other"), {},
         "1 predictions have ids that the benchmark does not have: other"),
    Case("missing prediction", "score", put("predictions.jsonl", '{{"id": "q002", "model_output": "drum"}}'), {},
         "3 of 4 rows have no prediction: q000, q001, q003; --allow_missing counts them as wrong"),
    Case("nothing to report", "report", None, {}, "{w}: neither scores (infer/<benchmark>/scores.json) nor a GRPO run "
         "(completions.jsonl) in it"),  # fmt: skip
]  # fmt: skip


def fingerprints(world: Path) -> dict[str, str]:
    """Every file below a folder and what is in it."""
    return {
        str(path.relative_to(world)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(world.rglob("*"))
        if path.is_file()
    }


def check(world: Path, entry: str, changes: dict, message: str, written: Iterable[str] = ()) -> None:
    """The call fails with this one line, loses nothing and writes nothing but what `written` names."""
    before = fingerprints(world)
    with pytest.raises(InputError) as caught:
        run(entry, world, **changes)
    traceback.clear_frames(caught.tb)  # data workers end now: the garbage collector would wait 10 seconds for them
    assert str(caught.value) == message.format(w=world)
    assert len(str(caught.value).splitlines()) == 1
    after = fingerprints(world)
    assert {name: after.get(name) for name in before} == before
    assert after.keys() - before.keys() == set(written)


@pytest.mark.parametrize("case", CASES, ids=[case.reason for case in CASES])
def test_bad_input_is_one_line_and_nothing_is_written(world, case):
    if case.spoil:
        case.spoil(world)
    check(world, case.entry, case.changes, case.message, case.written)


@pytest.mark.parametrize("workers", [0, 2])
def test_clip_that_only_decoding_shows_to_be_bad_is_one_line(world, workers):
    """Headers are checked first; a NaN shows when the clip is decoded, in a data worker or not."""
    waveform = np.zeros(16000)
    waveform[[7, 8000]] = np.nan
    for clip in (CLIP, TEST_CLIP):
        put_clip(clip, waveform)(world)
    reason = ": 2 sample values are not finite (NaN or infinity)"
    written = {"runs/x/config.yaml", "runs/x/environment.json"}
    finish = (
        "; its header is intact: start again with --check_audio true --allow_missing_audio true, which decodes every clip "
        "first and leaves such rows out"
    )
    check(world, "sft", {"dataloader_num_workers": workers}, "{w}/" + CLIP + reason + finish, written)
    finish = "; --allow_missing_audio continues with the others"
    check(world, "infer", {"num_workers": workers, "batch_tokens": 100_000}, "{w}/" + TEST_CLIP + reason + finish, OPENED)


def test_too_little_disk_ends_training_before_it_begins(world, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1_000_000))
    message = "{w}: this run needs 0.0 GB of disk, 0.0 GB are free"
    check(world, "sft", {}, message)


@pytest.mark.parametrize("entry", ["sft", "infer"])
def test_gpu_that_cannot_be_used_is_no_silent_cpu_run(world, monkeypatch, tmp_path, entry):
    def init():
        raise RuntimeError("The NVIDIA driver on your system is too old (found version 11040). Please update it.")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "init", init)
    monkeypatch.setattr(devices, "_DEVICE_NODE", tmp_path / "nvidia0")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    (tmp_path / "nvidia0").touch()
    message = (
        f"this machine has a GPU that torch {torch.__version__} cannot use (The NVIDIA driver on your system is too old "
        "(found version 11040)): update the driver, install torch's own build for it (pytorch.org/get-started/locally), "
        "or run with --device cpu"
    )
    check(world, entry, {"device": "auto"}, message)


def test_entry_point_prints_the_line_and_ends_with_status_2(world, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["infer.py", str(world / "gone")])
    with pytest.raises(SystemExit) as caught:
        run_main(infer.main)
    assert caught.value.code == 2
    assert capsys.readouterr().err == f"error: {world}/gone: no such checkpoint; give a folder or a Hub id\n"


def test_the_good_arguments_are_good(world):
    """Else the table would test something else than it says."""
    run("sft", world, dry_run="true")
    run("infer", world, dry_run="true")
    run("score", world)
    assert (world / "scores" / "s.json").exists()
