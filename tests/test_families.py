"""Every base that can be trained, at tiny size: its own processor's inputs, its released forward, its released files."""

import json
from dataclasses import replace
from pathlib import Path

import fork_server
import numpy as np
import pytest
import torch
from hooks.computing import reward_spelling
from plain_grpo import make_inputs, score
from safetensors.torch import load_file
from tiny_families import TINY, family_named, make_tiny
from tiny_world import write_mmau, write_train_file

import grpo
import infer
import sft
from omni_clst.data.audio import MIN_SAMPLES, SAMPLING_RATE
from omni_clst.data.encoder import OmniEncoder, collate
from omni_clst.data.layouts import read_samples
from omni_clst.data.prompts import make_prompt
from omni_clst.data.samples import AudioQASample
from omni_clst.errors import InputError
from omni_clst.grpo.vllm_rollout import reach_server
from omni_clst.method.rewards import REWARDS
from omni_clst.model.checkpoints import (
    find_checkpoint,
    load_family,
    load_model_config,
    load_processor,
    load_thinker,
    save_omni,
)
from omni_clst.model.engine import HFEngine, placeholder_ids
from omni_clst.model.families.registry import FAMILIES
from omni_clst.model.lora import add_lora, make_lora
from omni_clst.model.policy_weights import policy_weights
from omni_clst.model.released import thinker_config_of
from omni_clst.model.sampling import Sampling
from omni_clst.model.vllm_engine import installed_version
from omni_clst.training.model_size import measure_model, measure_thinker
from omni_clst.training.sft import merge_checkpoint

needs_vllm = pytest.mark.skipif(installed_version() is None, reason="vLLM is not installed: bash script/setup_vllm.sh")
SYSTEM = "You are a helpful assistant."
LENGTHS = [MIN_SAMPLES, MIN_SAMPLES + 1, 15_840, 16_000, 16_001, 16_159, 40_123, 29 * SAMPLING_RATE + 7]
TOLERANCE = 1e-5  # of mel features and log-probabilities: the order of float32 sums


def noise(samples: int) -> np.ndarray:
    return np.random.default_rng(samples).normal(0, 0.1, samples).astype(np.float32)


def question(**more) -> AudioQASample:
    return AudioQASample("q", "", "which sound comes first ?", ("hiss", "drum"), "drum", **more)


@pytest.fixture(scope="module", params=TINY)
def base(request, tmp_path_factory):
    """The name and the folder of a tiny base."""
    return request.param, make_tiny(request.param, tmp_path_factory.mktemp("bases") / "base")


@pytest.fixture(scope="module")
def checkpoint(base):
    return find_checkpoint(str(base[1]))


@pytest.fixture(scope="module")
def encoder(checkpoint):
    clips = load_family(checkpoint).clips
    return OmniEncoder(load_processor(checkpoint), make_prompt("demo_selective", SYSTEM), 30.0, clips=clips)


@pytest.fixture(scope="module")
def stock(base):
    return TINY[base[0]].stock.from_pretrained(base[1], dtype=torch.float32).eval()


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    """Questions about clips of five lengths."""
    return read_samples(str(write_train_file(tmp_path_factory.mktemp("clips"), 5)), None)


def stock_inputs(encoder: OmniEncoder, waveforms: list[np.ndarray]) -> dict[str, torch.Tensor]:
    """What the stock processor makes of a conversation about these clips, and of its own chat template."""
    content = [{"type": "audio", "audio": ""} for _ in waveforms]
    content.append({"type": "text", "text": encoder.prompt.user_text(question())})
    conversation = [
        {"role": "system", "content": [{"type": "text", "text": SYSTEM}]},
        {"role": "user", "content": content},
    ]
    text = encoder.processor.apply_chat_template(conversation, add_generation_prompt=True, tokenize=False)
    return dict(encoder.processor(text=text, audio=waveforms, sampling_rate=SAMPLING_RATE, return_tensors="pt"))


def test_every_base_has_a_tiny_one():
    assert {family.name for family in FAMILIES} == set(TINY)


@pytest.mark.parametrize("samples", LENGTHS)
def test_ids_and_features_of_a_clip_equal_the_stock_processors(encoder, samples):
    waveform = noise(samples)
    example, expected = encoder.encode_waveform(question(), waveform), stock_inputs(encoder, [waveform])
    assert example.input_ids == expected["input_ids"][0].tolist()
    assert example.frames == tuple(expected["feature_attention_mask"].sum(dim=1).tolist())
    assert example.audio_tokens == example.input_ids.count(encoder.audio_token_id)
    columns = example.input_features.shape[1]
    assert columns >= example.frames[0]
    torch.testing.assert_close(example.input_features, expected["input_features"][0][:, :columns], rtol=0, atol=TOLERANCE)


def test_several_clips_give_the_stock_processors_ids(encoder):
    waveforms = [noise(16_000), noise(32_000), noise(8_000)]
    example, expected = encoder.encode_waveforms(question(), waveforms), stock_inputs(encoder, waveforms)
    assert example.input_ids == expected["input_ids"][0].tolist()
    assert example.frames == tuple(expected["feature_attention_mask"].sum(dim=1).tolist())


def test_lengths_from_headers_equal_those_of_encoded_samples(encoder, samples):
    for sample in samples:
        assert encoder.length(sample, "drum") == len(encoder.encode(sample, "drum").input_ids)


def test_logits_equal_the_released_models(encoder, checkpoint, stock):
    ours = load_thinker(checkpoint, torch.float32)
    for waveforms in ([noise(16_001)], [noise(40_123), noise(9_000)]):
        batch = collate([encoder.encode_waveforms(question(), waveforms)], 0, "left")
        with torch.no_grad():
            torch.testing.assert_close(ours(**batch).logits, stock(**batch).logits, rtol=0, atol=TOLERANCE)


def test_loss_equals_the_released_one(encoder, checkpoint, stock, samples):
    """Of one sample: the released losses of a padded batch are means of another kind in two of the bases."""
    ours = load_thinker(checkpoint, torch.float32)
    batch = collate([encoder.encode(samples[2], "drum drum")], 0, "right")
    assert torch.allclose(ours(**batch).loss, stock(**batch).loss, atol=1e-6)


@pytest.mark.parametrize("tuning", ["full", "lora"])
def test_log_probs_of_a_shared_prefix_equal_those_of_rows(encoder, checkpoint, samples, tuning):
    model = trained = load_thinker(checkpoint, torch.float32)
    if tuning == "lora":
        trained = with_adapter(model)
    samples = samples[2:]  # of a second or more: see the next test
    copies, tokens = 3, 6
    ids = torch.randint(0, 400, (copies * len(samples), tokens), generator=torch.Generator().manual_seed(1))
    lengths = torch.arange(len(ids)) % tokens + 1
    mask = (torch.arange(tokens) < lengths.unsqueeze(-1)).long()
    suppressed = placeholder_ids(model)
    with torch.no_grad():
        prompts = collate([encoder.encode(sample) for sample in samples], 0, "left")
        packed = trained(
            **prompts, completion_ids=ids, completion_mask=mask, sampling=Sampling(tokens, 1.2), suppressed=suppressed
        ).log_probs
        for number, sample in enumerate(samples):
            text = encoder.prompt_text(sample, *(1 for _ in sample.clips))
            rows = slice(copies * number, copies * (number + 1))
            inputs = make_inputs(encoder.processor, text, encoder.load(sample), copies)
            expected = score(model, inputs, ids[rows], mask[rows], 1.2, suppressed)
            torch.testing.assert_close(packed[rows], expected, rtol=0, atol=2e-5)


def test_encoding_of_a_clip_does_not_depend_on_its_batch(encoder, checkpoint, samples):
    """Clips under a second too, which Qwen3-Omni's release encodes otherwise beside a longer one."""
    engine = HFEngine(load_thinker(checkpoint, torch.float32), encoder, Sampling(6))
    examples = [encoder.encode(sample) for sample in samples]
    together = engine.encode_clips(examples)
    for example, expected in zip(examples, together, strict=True):
        (alone,) = engine.encode_clips([example])
        torch.testing.assert_close(alone.audio_embeddings, expected.audio_embeddings, rtol=0, atol=TOLERANCE)
    assert min(example.frames[0] for example in examples) < 100 < max(example.frames[0] for example in examples)


def test_greedy_completions_are_the_released_models(encoder, checkpoint, stock, samples):
    engine = HFEngine(load_thinker(checkpoint, torch.float32), encoder, Sampling(6))
    examples = [encoder.encode(sample) for sample in samples[2:]]  # of a second or more
    answers = engine.generate(examples, [0] * len(examples))
    for example, (answer,) in zip(examples, answers, strict=True):
        ids = list(example.input_ids)
        for token in answer.token_ids:
            batch = collate([replace(example, input_ids=ids)], 0, "left")
            with torch.no_grad():
                logits = stock(**batch).logits[0, -1]
            logits[list(encoder.placeholder_ids)] = -torch.inf
            assert int(logits.argmax()) == token
            ids.append(token)
    assert len({answer[0].token_ids for answer in answers}) > 1


def with_adapter(model, targets: str | None = None):
    """The model with a random adapter, trained as it were."""
    torch.manual_seed(0)
    adapted = add_lora(model, str(model.name_or_path), make_lora(model, 4, 8.0, targets), float32=True)
    for parameter in adapted.parameters():
        if parameter.requires_grad:
            parameter.data = 0.1 * torch.randn_like(parameter)
    return adapted


def logits_of(model, encoder) -> torch.Tensor:
    batch = collate([encoder.encode_waveform(question(), noise(16_001))], 0, "left")
    with torch.no_grad():
        return model(**batch).logits


def test_merged_weights_are_base_and_adapter_in_the_released_layout(base, encoder, checkpoint, stock, tmp_path):
    """Merged from the adapter's folder, and as a policy in training hands them over."""
    adapted = with_adapter(load_thinker(checkpoint, torch.float32))
    expected = logits_of(adapted, encoder)
    adapted.save_pretrained(tmp_path / "adapter")
    merge_checkpoint(find_checkpoint(str(tmp_path / "adapter")), tmp_path / "merged", torch.float32, keep_talker=False)

    reloaded, report = TINY[base[0]].stock.from_pretrained(
        tmp_path / "merged", output_loading_info=True, dtype=torch.float32
    )
    assert not report["missing_keys"] and not report["unexpected_keys"]
    torch.testing.assert_close(logits_of(reloaded.eval(), encoder), expected, rtol=0, atol=1e-4)
    ours = load_thinker(find_checkpoint(str(tmp_path / "merged")), torch.float32)
    torch.testing.assert_close(logits_of(ours, encoder), expected, rtol=0, atol=1e-4)
    assert (expected - logits_of(stock, encoder)).abs().max() > 0.01

    handed_over = dict(policy_weights(adapted, in_pieces=False))
    assert handed_over.keys() == ours.state_dict().keys()
    for name, weight in ours.state_dict().items():
        torch.testing.assert_close(handed_over[name], weight, rtol=0, atol=1e-5)


EXPERTS = r"model\.layers\.\d+\.(self_attn\.\w+_proj|mlp\.experts\.\w+_proj)"


def test_adapter_of_experts_is_counted_trained_and_merged(tmp_path):
    base = make_tiny("Qwen3-Omni", tmp_path / "base")
    checkpoint = find_checkpoint(str(base))
    model = load_thinker(checkpoint, torch.float32)
    for targets, named in ((None, 0), (EXPERTS, 4)):
        assert len(make_lora(model, 4, 8.0, targets).target_parameters or ()) == named
    ids = torch.arange(40, 60).unsqueeze(0)
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": ids}
    before = model(**batch).loss.item()
    adapted = with_adapter(model, EXPERTS)
    trained = {name: parameter for name, parameter in adapted.named_parameters() if parameter.requires_grad}
    assert sum(map(torch.numel, trained.values())) == measure_model(str(base), EXPERTS, 4).lora
    assert not [name for name in trained if ".model.layers." not in name]  # no layer of a tower has such a name's end

    expected = adapted(**batch).loss
    expected.backward()
    assert all(parameter.grad is not None for parameter in trained.values())
    assert abs(expected.item() - before) > 0.01
    adapted.save_pretrained(tmp_path / "adapter")
    merged = load_thinker(find_checkpoint(str(tmp_path / "adapter")), torch.float32)
    assert merged(**batch).loss.item() == pytest.approx(expected.item(), abs=1e-4)
    handed_over = dict(policy_weights(adapted, in_pieces=False))
    assert handed_over.keys() == merged.state_dict().keys()
    for name, weight in merged.state_dict().items():
        torch.testing.assert_close(handed_over[name], weight, rtol=0, atol=1e-5)
    with pytest.raises(InputError, match="lora_dropout 0.1: LoRA on experts has none"):
        make_lora(merged, 4, 8.0, EXPERTS, dropout=0.1)


def test_adapter_of_attention_leaves_the_towers_alone(base, checkpoint):
    """Their layers have the same last names."""
    adapted = with_adapter(load_thinker(checkpoint, torch.float32))
    trained = [name for name, parameter in adapted.named_parameters() if parameter.requires_grad]
    assert trained and not [name for name in trained if "audio_tower" in name or "visual" in name]
    assert sum(adapted.get_parameter(name).numel() for name in trained) == measure_model(str(base[1]), None, 4).lora


def test_released_shapes_are_counted():
    """Billions of parameters, from the sizes of the released configurations; a token meets 3 of 30 in the mixture."""
    found = {name: measure_thinker(thinker_config_of(name), None, 8)
             for name in ("Qwen/Qwen2-Audio-7B-Instruct", "Qwen3-Omni-30B-A3B")}  # fmt: skip
    audio, omni3 = found.values()
    assert (round(audio.total / 1e9, 1), audio.idle) == (8.4, 0)
    assert round(omni3.total / 1e9, 1) == 31.7
    assert round((omni3.language - omni3.idle) / 1e9, 1) == 3.4
    assert (omni3.audio_rate, omni3.cached) == (13.0, 2 * 4 * 128)


RELEASED_NAMES = {  # some of every part
    "Qwen2.5-Omni": ["thinker.lm_head.weight", "thinker.model.layers.1.mlp.up_proj.weight",
                     "thinker.audio_tower.layers.0.fc1.weight"],
    "Qwen2-Audio": ["language_model.lm_head.weight", "language_model.model.layers.1.mlp.up_proj.weight",
                    "audio_tower.layers.0.fc1.weight", "multi_modal_projector.linear.bias"],
    "Qwen3-Omni": ["thinker.lm_head.weight", "thinker.model.layers.1.mlp.experts.3.up_proj.weight",
                   "thinker.model.layers.0.mlp.gate.weight", "thinker.audio_tower.conv2d1.weight"],
}  # fmt: skip


def test_saved_folder_has_the_released_names(base):
    name, folder = base
    weights = load_file(folder / "model.safetensors")
    assert set(RELEASED_NAMES[name]) <= weights.keys()
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    assert config["model_type"] == family_named(name).model_type
    assert config["architectures"] == [family_named(name).architecture]


def test_thinker_saved_alone_is_found_and_saved_whole(base, stock, encoder, tmp_path):
    """A folder of transformers' own class, as other trainers write it."""
    stock.save_pretrained(tmp_path / "thinker")
    encoder.processor.save_pretrained(tmp_path / "thinker")
    alone = find_checkpoint(str(tmp_path / "thinker"))
    assert load_family(alone).name == base[0]
    model = load_thinker(alone, torch.float32)
    save_omni(tmp_path / "whole", model.state_dict(), load_model_config(alone.source), alone.source)
    assert load_file(tmp_path / "whole" / "model.safetensors").keys() == load_file(base[1] / "model.safetensors").keys()


def test_clips_over_the_processors_limit_are_refused_before_they_are_cut(encoder, checkpoint):
    family = load_family(checkpoint)
    limit = family.clips.max_seconds
    if limit == float("inf"):
        longer = encoder.encode_waveform(question(), noise(40 * SAMPLING_RATE))
        assert longer.frames == tuple(
            stock_inputs(encoder, [noise(40 * SAMPLING_RATE)])["feature_attention_mask"].sum(dim=1).tolist()
        )
        return
    with pytest.raises(InputError, match=f"{family.name} takes clips of at most {limit:g} s; set max_audio_seconds"):
        OmniEncoder(encoder.processor, encoder.prompt, limit + 0.5, clips=family.clips)


def test_what_a_base_lacks_is_refused_by_name(base, checkpoint, tmp_path):
    family = load_family(checkpoint)
    with pytest.raises(InputError, match="keep_talker: .* has no talker|keep_talker: .* no talker weights"):
        merge_checkpoint(checkpoint, tmp_path / "merged", torch.float32, keep_talker=True)
    if not family.vllm_server:
        config = type("Config", (), {"vllm_server": "http://localhost:1", "max_prompt_length": 10,
                                     "max_completion_length": 10})  # fmt: skip
        with pytest.raises(InputError, match=f"vllm_server: a server is not given the mel features of {family.name}"):
            reach_server(config, str(base[1]), torch.float32)


def words(**settings) -> list[str]:
    return [word for key, value in settings.items() for word in (f"--{key}", str(value))]


@pytest.mark.slow
def test_whole_pipeline_from_sft_to_scores(base, tmp_path):
    """Stage 1 with its merge, stage 2 from the merged model, and a benchmark, through the entry points."""
    _, folder = base
    reward_spelling()
    data = {"train_file": write_train_file(tmp_path, 12), "runs_dir": tmp_path / "runs"}
    prompt = {"prompt": "demo_selective", "system_prompt": "", "max_audio_seconds": 30}
    common = {"device": "cpu", "report_to": "none", "dataloader_num_workers": 0, "logging_steps": 1, "save_steps": 2,
              "max_steps": 2, "learning_rate": 0.01, "gradient_checkpointing": "true"}  # fmt: skip
    sft.main(words(model=folder, run_name="sft", **data, **prompt, **common, per_device_train_batch_size=4,
                   gradient_accumulation_steps=1))  # fmt: skip
    merged = tmp_path / "runs" / "sft" / "merged"
    try:
        grpo.main(words(model=merged, run_name="grpo", **data, **prompt, **common, rewards="spelling: 1.0",
                        num_generations=2, per_device_train_batch_size=4, gradient_accumulation_steps=1,
                        max_completion_length=6, beta=0.1, tuning="lora"))  # fmt: skip
    finally:
        REWARDS.pop("spelling"), REWARDS.pop("seldom")
    metrics = [json.loads(line) for line in (tmp_path / "runs" / "grpo" / "metrics.jsonl").read_text().splitlines()]
    assert max(row.get("sampling/logp_difference", 0.0) for row in metrics) < 1e-4

    write_mmau(tmp_path / "data", 6)
    infer.main([str(tmp_path / "runs" / "grpo"), *words(
        data_root=tmp_path / "data", benchmarks="mmau-mini", output=tmp_path / "out", max_new_tokens=6, num_workers=0,
        device="cpu", max_audio_seconds=30)])  # fmt: skip
    scores = json.loads((tmp_path / "out" / "mmau-mini" / "scores.json").read_text())
    assert (scores["total"], scores["answered"]) == (6, 6)


@needs_vllm
@pytest.mark.slow
@pytest.mark.parametrize("name", TINY)
def test_vllm_answers_like_transformers_and_takes_other_weights(name, tmp_path):
    """With clips from one second to 29; that the prompts' token ids are ours is required of every answer."""
    bases = [make_tiny(name, tmp_path / f"base{seed}", seed, hidden=128, gain=1.2) for seed in (0, 1)]
    output = tmp_path / "checks.json"
    result = fork_server.run([Path(__file__).with_name("vllm_family_checks.py"), *bases, output])
    assert result.returncode == 0, result.stderr[-3000:]
    checks = json.loads(output.read_text())
    assert checks["base"] and checks["odd"]
    assert checks["other"] is True or (not family_named(name).vllm_reload and "use --engine hf" in checks["other"])
    assert checks["distinct"] > 1
