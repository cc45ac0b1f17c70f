"""The numbers of GRPO are those of a plain computation, whatever saves memory or time."""

import json
import math
from pathlib import Path

import grpo_runs
import pytest
import torch
from grpo_runs import arguments, completions, losses, metric
from safetensors.torch import load_file

import grpo

spelling_earns, world, undisturbed = grpo_runs.spelling_earns, grpo_runs.world, grpo_runs.undisturbed  # fixtures


@pytest.mark.parametrize("filters", [{}, {"top_k": 10}, {"top_p": 0.8}], ids=["all tokens", "top-k", "top-p"])
def test_sampling_and_log_probs_agree(world, filters):
    name = "agrees " + "".join(filters)
    grpo.main(arguments(world, name, temperature=1.2, **filters))
    apart = metric(world / "runs" / name, "sampling/logp_difference")
    assert len(apart) == 4
    assert max(apart) < 1e-3


def test_advantages_kl_and_loss_equal_a_plain_computation(world, monkeypatch):
    """GRPO (arXiv 2402.03300, equations 3 and 4) from the log-probabilities alone, by hand."""
    from omni_clst.grpo.trainer import AudioGRPOTrainer

    seen = []
    compute = AudioGRPOTrainer._compute_loss

    def spy(self, model, inputs):
        loss = compute(self, model, inputs)
        mask = inputs["completion_mask"]
        ids = torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], dim=1)
        full = torch.cat([inputs["prompt_mask"], mask], dim=1)
        with torch.no_grad(), self.computing_on([inputs["micro_batch"]]):
            policy = self._get_per_token_logps_and_entropies(model, ids, full, mask.shape[1])[0]
            with model.disable_adapter():
                reference = self._get_per_token_logps_and_entropies(model, ids, full, mask.shape[1])[0]
        earned = [value for group in inputs["micro_batch"].groups for value in group.totals({"spelling": 1.0})]
        seen.append((loss.item(), inputs["advantages"], policy, reference, mask, torch.tensor(earned)))
        return loss

    monkeypatch.setattr(AudioGRPOTrainer, "_compute_loss", spy)
    grpo.main(arguments(world, "plain", num_generations=4, per_device_train_batch_size=8, max_steps=3))
    assert any(earned.std() > 0 for *_, earned in seen)
    for loss, advantages, policy, reference, mask, earned in seen:
        for group, found in zip(earned.view(-1, 4), advantages.view(-1, 4), strict=True):
            expected = (group - group.mean()) / (group.std() + 1e-4)
            assert torch.allclose(found, expected, atol=1e-5)
        total = 0.0
        for row in range(len(policy)):
            terms = []
            for token in range(int(mask[row].sum())):
                ratio = (reference[row, token] - policy[row, token]).item()
                kl = torch.tensor(ratio).exp().item() - ratio - 1
                terms.append(-advantages[row].item() + 0.1 * kl)  # the ratio to the sampling policy is 1
            total += sum(terms) / len(terms)
        assert loss == pytest.approx(total / len(policy), abs=1e-5)
    kl = metric(world / "runs" / "plain", "kl")
    assert kl[0] == pytest.approx(0.0, abs=1e-6)
    assert kl[2] > 1e-6


@pytest.mark.parametrize(
    "change",
    [{"completions_per_forward": 1}, {"completions_per_rollout": 1}, {"gradient_checkpointing": "true"}],
    ids=lambda change: next(iter(change)),
)
def test_what_saves_memory_does_not_change_the_losses(world, undisturbed, change):
    name = f"with {next(iter(change))}"
    grpo.main(arguments(world, name, **change))
    assert completions(world / "runs" / name) == completions(undisturbed)
    assert losses(world / "runs" / name) == pytest.approx(losses(undisturbed), abs=1e-5)


TRL_SETTINGS = [
    *({"loss_type": name} for name in ("dr_grpo", "dapo", "bnpo", "cispo", "sapo", "vespo")),
    {"loss_type": "luspo", "importance_sampling_level": "sequence"},
    {"epsilon_high": 0.28},
    {"delta": 2.0},
    {"beta": 0.0},
    {"scale_rewards": "batch"},
    {"scale_rewards": "none"},
    {"multi_objective_aggregation": "normalize_then_sum"},
    {"mask_truncated_completions": "true"},
    {"top_entropy_quantile": 0.5},
    {"entropy_coef": 0.01},
    {"off_policy_mask_threshold": 0.5},
    {"disable_dropout": "true"},
    {"log_completions": "true"},
    {"tuning": "full", "sync_ref_model": "true", "ref_model_sync_steps": 1},
]


@pytest.mark.parametrize("settings", TRL_SETTINGS, ids=str)
def test_settings_of_trl_stay_usable(world, settings):
    """Two updates a generation, so that what depends on the ratio to the sampling policy is used as well."""
    name = "trl " + " ".join(f"{key} {value}" for key, value in settings.items())
    grpo.main(arguments(world, name, num_iterations=2, max_steps=2, save_steps=2, **settings))
    found = losses(world / "runs" / name)
    assert len(found) == 2
    assert all(math.isfinite(value) for value in found.values())


def test_lora_has_no_second_model_for_the_reference(world, monkeypatch):
    from omni_clst.grpo.trainer import AudioGRPOTrainer

    found = {}

    def look(self, *_, **__):
        tensors = {p.data_ptr(): p for p in self.model.parameters()}
        found.update(
            reference=self.ref_model,
            frozen=sum(p.numel() for p in tensors.values() if not p.requires_grad),
            learnt=sum(p.numel() for p in tensors.values() if p.requires_grad),
            adapters=list(self.model.peft_config),
        )

    monkeypatch.setattr(AudioGRPOTrainer, "train", look)
    with pytest.raises((AttributeError, TypeError)):  # no checkpoint was made
        grpo.main(arguments(world, "lean"))
    weights = load_file(world / "base" / "model.safetensors")
    assert found["frozen"] == sum(tensor.numel() for tensor in weights.values())
    assert found["adapters"] == ["default"]
    assert found["reference"] is None
    assert 0 < found["learnt"] < found["frozen"]


def test_static_decoding_and_a_merged_adapter_train_like_the_plain_loop(world, undisturbed):
    grpo.main(arguments(world, "static", decoding="static", merge_adapter="true"))
    run_dir = world / "runs" / "static"
    assert completions(run_dir) == completions(undisturbed)
    assert losses(run_dir) == pytest.approx(losses(undisturbed), abs=1e-5)
    found, expected = (load_file(run / "checkpoint-4" / "adapter_model.safetensors") for run in (run_dir, undisturbed))
    for key, tensor in expected.items():
        assert torch.allclose(found[key], tensor, atol=1e-6), key
    assert max(metric(run_dir, "sampling/logp_difference")) < 1e-4
    engines = [json.loads((folder / "environment.json").read_text())["engine"] for folder in (run_dir, undisturbed)]
    assert engines == ["hf, static decoding", "hf"]


@pytest.mark.slow
def test_reference_off_the_device_gives_the_same_losses(world):
    def run(name: str, **changes) -> Path:
        grpo.main(arguments(world, name, tuning="full", learning_rate=0.001, max_steps=2, save_steps=2, **changes))
        return world / "runs" / name

    here, away = run("reference here"), run("reference away", offload_reference="true")
    assert losses(away) == pytest.approx(losses(here), rel=1e-5)
    assert metric(away, "kl") == pytest.approx(metric(here, "kl"), rel=1e-4, abs=1e-7)
    assert metric(here, "kl")[1] > 0
