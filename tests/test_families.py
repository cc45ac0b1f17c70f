"""Every base that can be trained, at tiny size: its own processor's inputs, its released forward, all stages."""

import json
from dataclasses import replace
from pathlib import Path

import family_bases
import fork_server
import grpo_runs
import numpy as np
import pytest
import torch
from family_bases import SYSTEM, TOLERANCE, noise, question, with_adapter
from plain_grpo import make_inputs, score
from tiny_families import TINY, family_named, make_tiny
from tiny_world import write_mmau, write_train_file

import grpo
import infer
import sft
from omni_clst.data.audio import MIN_SAMPLES, SAMPLING_RATE
from omni_clst.data.encoder import OmniEncoder, collate
from omni_clst.errors import InputError
from omni_clst.grpo.vllm_rollout import reach_server
from omni_clst.model.checkpoints import load_family, load_thinker
from omni_clst.model.engine import HFEngine, placeholder_ids
from omni_clst.model.families.registry import FAMILIES
from omni_clst.model.sampling import Sampling
from omni_clst.model.vllm_engine import installed_version
from omni_clst.training.sft import merge_checkpoint

base, checkpoint, encoder = family_bases.base, family_bases.checkpoint, family_bases.encoder  # fixtures
stock, samples, spelling_earns = family_bases.stock, family_bases.samples, grpo_runs.spelling_earns

needs_vllm = pytest.mark.skipif(installed_version() is None, reason="vLLM is not installed: bash script/setup_vllm.sh")
LENGTHS = [MIN_SAMPLES, MIN_SAMPLES + 1, 15_840, 16_000, 16_001, 16_159, 40_123, 29 * SAMPLING_RATE + 7]


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
    data = {"train_file": write_train_file(tmp_path, 12), "runs_dir": tmp_path / "runs"}
    prompt = {"prompt": "demo_selective", "system_prompt": "", "max_audio_seconds": 30}
    common = {"device": "cpu", "report_to": "none", "dataloader_num_workers": 0, "logging_steps": 1, "save_steps": 2,
              "max_steps": 2, "learning_rate": 0.01, "gradient_checkpointing": "true"}  # fmt: skip
    sft.main(words(model=folder, run_name="sft", **data, **prompt, **common, per_device_train_batch_size=4,
                   gradient_accumulation_steps=1))  # fmt: skip
    merged = tmp_path / "runs" / "sft" / "merged"
    grpo.main(words(model=merged, run_name="grpo", **data, **prompt, **common, rewards="spelling: 1.0", num_generations=2,
                    per_device_train_batch_size=4, gradient_accumulation_steps=1, max_completion_length=6, beta=0.1,
                    tuning="lora"))  # fmt: skip
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
