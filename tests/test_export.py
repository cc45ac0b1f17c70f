"""A run's model as a folder for others: every weight, the files that its classes need, loaded by its card's lines."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import exported_runs
import grpo_runs
import pytest
import torch
from exported_runs import run_export
from safetensors.torch import load_file, save_file

import export
from omni_clst.errors import InputError
from omni_clst.export.model_folder import expected_weights, weights_in
from omni_clst.model.checkpoints import find_checkpoint, load_thinker
from omni_clst.model.vllm_engine import installed_version

spelling_earns, world = grpo_runs.spelling_earns, exported_runs.world  # fixtures


@pytest.fixture(scope="module")
def exported(world):
    return run_export(world, "grpo lora", world / "exported")


@pytest.fixture(scope="module")
def speaking(world):
    """From a GRPO run whose own start, the merged model of SFT, has no talker any more."""
    return run_export(world, "grpo full", world / "speaking", "--keep_talker")


def contents(folder: Path) -> dict[str, torch.Tensor]:
    return {name: tensor for path in folder.glob("*.safetensors") for name, tensor in load_file(path).items()}


# The folder


@pytest.mark.parametrize(
    "run",
    ["sft", "sft/checkpoint-2", "sft/merged", "sft full", "grpo lora", "grpo lora/checkpoint-2", "grpo full"],
)
def test_every_kind_of_run_is_exported_with_its_trained_weights(world, tmp_path, run):
    folder = run_export(world, run, tmp_path / "out")
    source = {"sft": "sft/merged", "sft full": "sft full/merged"}.get(run, run)
    thinker = load_thinker(find_checkpoint(str(world / "runs" / source)), torch.float32)
    weights = contents(folder)
    assert weights.keys() == {f"thinker.{name}" for name in thinker.state_dict()}
    for name, tensor in thinker.state_dict().items():
        assert torch.equal(weights[f"thinker.{name}"], tensor), name
    before = contents(world / "base")
    assert any(not torch.equal(tensor, before[name]) for name, tensor in weights.items())


def test_talker_and_token2wav_are_those_of_the_base_at_the_beginning(world, speaking):
    weights, base = contents(speaking), contents(world / "base")
    assert weights.keys() == base.keys()
    speech = [name for name in base if name.startswith(("talker.", "token2wav."))]
    assert len(speech) > 100
    assert all(torch.equal(weights[name], base[name]) for name in speech)
    assert (speaking / "spk_dict.pt").read_bytes() == (world / "base" / "spk_dict.pt").read_bytes()


def test_weights_have_the_names_and_shapes_of_the_whole_class(speaking, exported):
    for folder in (speaking, exported):
        assert weights_in(folder) == expected_weights(folder)


def test_weights_are_in_bfloat16_unless_asked_otherwise(world, tmp_path):
    export.main([str(world / "runs" / "sft"), str(tmp_path / "out")])
    assert {tensor.dtype for tensor in contents(tmp_path / "out").values()} == {torch.bfloat16}
    assert json.loads((tmp_path / "out" / "config.json").read_text())["dtype"] == "bfloat16"


@pytest.mark.parametrize(
    ("name", "tensor", "problem"),
    [
        ("talker.codec_head.weight", None, "1 weights missing: talker.codec_head.weight"),
        ("talker.codec_head.weight", torch.zeros(3, 32), "1 weights of another shape: talker.codec_head.weight"),
        ("token2wav.extra", torch.zeros(3), "1 weights not of the model: token2wav.extra"),
    ],
    ids=["missing", "shape", "unknown"],
)
def test_base_whose_speech_weights_do_not_fit_is_an_error_and_nothing_is_written(world, tmp_path, name, tensor, problem):
    base = tmp_path / "base"
    shutil.copytree(world / "base", base)
    speech = load_file(base / "speech.safetensors")
    speech.pop(name, None)
    save_file(speech if tensor is None else speech | {name: tensor}, base / "speech.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match=re.escape(problem)):
        run_export(world, "sft", tmp_path / "out", "--keep_talker", "--base", str(base))
    assert not (tmp_path / "out").exists()


def test_talker_of_a_base_without_one_is_an_error(world, tmp_path):
    merged = str(world / "runs" / "sft" / "merged")
    with pytest.raises(InputError, match="keep_talker: .* has no talker weights; set keep_talker false"):
        run_export(world, "sft", tmp_path / "out", "--keep_talker", "--base", merged)


def test_speakers_file_that_the_whole_class_needs_is_there_without_one_in_the_base(world, tmp_path):
    base, run = tmp_path / "base", tmp_path / "runs" / "sft"
    shutil.copytree(world / "base", base)
    (base / "spk_dict.pt").unlink()
    shutil.copytree(world / "runs" / "sft", run)
    (run / "merged" / "spk_dict.pt").unlink()
    export.main([str(run), str(tmp_path / "out")])
    assert torch.load(tmp_path / "out" / "spk_dict.pt") == {}


# The folder loads by the lines of its card, each in a fresh process

ASK = """
import numpy, torch
clip = numpy.sin(numpy.arange(16000) / 20).astype("float32")
text = "<|im_start|>user\\n<|audio_bos|><|AUDIO|><|audio_eos|>what sound comes first ?<|im_end|>\\n<|im_start|>assistant\\n"
"""
GENERATE = """
inputs = processor(text=text, audio=[clip], sampling_rate=16000, return_tensors="pt")
output = model.generate(**inputs, max_new_tokens=6, do_sample=False)
print("tokens", output[0, inputs["input_ids"].shape[1]:].tolist())
"""
BY_VLLM = """
from vllm import SamplingParams
question = {"prompt": text, "multi_modal_data": {"audio": [(clip, 16000)]}}
[answer] = llm.generate(question, SamplingParams(temperature=0, max_tokens=6))
print("tokens", list(answer.outputs[0].token_ids))
"""
WHOLE = """
import glob, torch
from safetensors.torch import load_file
from transformers import Qwen2_5OmniForConditionalGeneration
model = Qwen2_5OmniForConditionalGeneration.from_pretrained(%r, dtype="auto")
saved = {name: tensor for file in glob.glob(%r + "/*.safetensors") for name, tensor in load_file(file).items()}
loaded = model.state_dict()
same = loaded.keys() == saved.keys() and all(torch.equal(tensor, saved[name]) for name, tensor in loaded.items())
print("loaded", model.has_talker, sorted(model.speaker_map), same)
"""


def lines_of_card(folder: Path, library: str) -> str:
    blocks = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    [block] = [block for block in blocks if f"from {library}" in block]
    return block


def in_fresh_process(folder: Path, code: str) -> str:
    """What `python -c` prints beside the folder, where the card's name is a path.

    Home is elsewhere: vLLM compiles there, and its compiler takes no space in a path.
    """
    home = folder.parents[1] / "home"
    home.mkdir(exist_ok=True)
    environment = {"PATH": "/usr/bin:/bin", "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind",
                   "OMP_NUM_THREADS": "1", "HOME": str(home), "VLLM_ENABLE_V1_MULTIPROCESSING": "0"}  # fmt: skip
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, cwd=folder.parent, env=environment, capture_output=True, text=True, timeout=1800)
    assert result.returncode == 0, result.stderr[-3000:]
    return next(line for line in result.stdout.splitlines() if line.startswith(("tokens", "loaded")))


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "talks"), [("exported", False), ("speaking", True)])
def test_whole_class_loads_all_weights(kind, talks, request):
    folder = request.getfixturevalue(kind)
    assert in_fresh_process(folder, WHOLE % (folder.name, folder.name)) == f"loaded {talks} ['Chelsie'] True"


@pytest.fixture(scope="module")
def tokens_by_transformers(exported):
    return in_fresh_process(exported, ASK + lines_of_card(exported, "transformers") + GENERATE)


@pytest.mark.slow
def test_thinker_class_answers_by_the_lines_of_the_card(tokens_by_transformers):
    assert len(json.loads(tokens_by_transformers.removeprefix("tokens "))) > 0


@pytest.mark.slow
@pytest.mark.skipif(installed_version() is None, reason="vLLM is not installed: bash script/setup_vllm.sh")
def test_vllm_answers_the_same_by_the_line_of_the_card(exported, tokens_by_transformers):
    assert in_fresh_process(exported, ASK + lines_of_card(exported, "vllm") + BY_VLLM) == tokens_by_transformers


# The command


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["{w}/base", "{t}/out"], "neither a run of SFT or GRPO nor a checkpoint of one (no config.yaml of a run)"),
        (["{w}/runs/sft", "{w}/base"], "base exists; give another folder, or overwrite true to replace it"),
        (["{w}/runs/sft", "{t}/out", "--push", "name"], "push 'name' is not OWNER/NAME"),
        (["{w}/runs/sft", "{t}/out", "more"], "more: only the run and the output come first, then --key value"),
        (["{t}/killed", "{t}/out"], "the run is not finished, start it again; or export {t}/killed/checkpoint-2"),
    ],
    ids=["no run", "output exists", "repository", "third word", "not finished"],
)
def test_wrong_commands_are_one_line(world, tmp_path, words, message):
    shutil.copytree(world / "runs" / "sft", tmp_path / "killed", ignore=shutil.ignore_patterns("merged"))
    with pytest.raises(InputError) as caught:
        export.main([word.format(w=world, t=tmp_path) for word in words])
    assert message.format(t=tmp_path) in str(caught.value)


class Hub:
    """Stands in for huggingface_hub's HfApi: keeps the calls."""

    def __init__(self):
        self.calls = []

    def create_repo(self, repository, **settings):
        self.calls.append(("create", repository, settings))

    def upload_folder(self, folder_path, repo_id, commit_message, ignore_patterns):
        left = {path.name for path in Path(folder_path).iterdir()} - set(ignore_patterns)
        self.calls.append(("upload", repo_id, left))
        return SimpleNamespace(commit_url=f"https://hub/{repo_id}")


def test_push_uploads_the_folder_to_a_private_repository(world, tmp_path, monkeypatch, capsys):
    hub = Hub()
    monkeypatch.setattr("omni_clst.export.push.HfApi", lambda: hub)
    folder = run_export(world, "sft", tmp_path / "out", "--push", "somebody/omni")
    assert hub.calls[0] == ("create", "somebody/omni", {"private": True, "exist_ok": True})
    assert hub.calls[1][2] == {path.name for path in folder.iterdir()} - {"COMPLETE"}
    assert 'from_pretrained("somebody/omni")' in (folder / "README.md").read_text(encoding="utf-8")
    assert capsys.readouterr().out.endswith("uploaded: https://hub/somebody/omni\n")


def test_push_without_a_login_is_one_line_and_the_folder_stays(world, tmp_path, monkeypatch):
    from huggingface_hub.errors import LocalTokenNotFoundError

    def refuse(self, *words, **settings):
        raise LocalTokenNotFoundError("Token is required, but no token found.")

    monkeypatch.setattr(Hub, "create_repo", refuse)
    monkeypatch.setattr("omni_clst.export.push.HfApi", Hub)
    with pytest.raises(InputError, match=r"push somebody/omni: Token is required.*hf auth login"):
        run_export(world, "sft", tmp_path / "out", "--push", "somebody/omni")
    assert (tmp_path / "out" / "README.md").exists()
