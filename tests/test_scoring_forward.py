"""The policy's forward: log-probabilities of completions equal those of a plain forward, one by one."""

from dataclasses import replace

import pytest
import torch
from tiny_world import make_base, write_train_file

from omni_clst.data.encoder import OmniEncoder, collate
from omni_clst.data.layouts import read_samples
from omni_clst.data.prompts import make_prompt
from omni_clst.model.checkpoints import find_checkpoint, load_processor, load_thinker
from omni_clst.model.engine import placeholder_ids
from omni_clst.model.sampling import Sampling, token_log_probs

GROUPS, COPIES, TOKENS = 3, 4, 7
SAMPLING = Sampling(TOKENS, temperature=1.2)


@pytest.fixture(scope="module")
def policy(tmp_path_factory):
    """A tiny model, the encoded prompts of samples with clips of different lengths, completions of different lengths."""
    folder = tmp_path_factory.mktemp("forward")
    checkpoint = find_checkpoint(str(make_base(folder / "base")))
    encoder = OmniEncoder(load_processor(checkpoint), make_prompt("demo_selective", ""), 30.0)
    examples = [encoder.encode(sample) for sample in read_samples(str(write_train_file(folder, GROUPS)), None)]
    model = load_thinker(checkpoint, torch.float32)
    rng = torch.Generator().manual_seed(0)
    ids = torch.randint(0, 400, (GROUPS * COPIES, TOKENS), generator=rng)
    lengths = torch.randint(1, TOKENS + 1, (GROUPS * COPIES, 1), generator=rng)
    mask = (torch.arange(TOKENS) < lengths).long()
    return model, examples, ids, mask


def score(policy, examples=None, sampling=SAMPLING, **settings):
    model, own, ids, mask = policy
    prompts = collate(examples or own, 0, "left")
    return model(
        **prompts,
        completion_ids=ids,
        completion_mask=mask,
        sampling=sampling,
        suppressed=placeholder_ids(model),
        **settings,
    )


def plain_log_probs(policy, sampling=SAMPLING) -> torch.Tensor:
    """One row at a time, unpadded, through the released forward with all its logits."""
    model, examples, ids, mask = policy
    found = torch.zeros(ids.shape)
    for row in range(len(ids)):
        example, length = examples[row // COPIES], int(mask[row].sum())
        tokens = torch.tensor(example.input_ids + ids[row, :length].tolist())
        with torch.no_grad():
            logits = (
                super(type(model), model)
                .forward(
                    input_ids=tokens[None],
                    attention_mask=torch.ones(1, len(tokens), dtype=torch.long),
                    input_features=example.input_features[None],
                    feature_attention_mask=torch.ones(1, example.input_features.shape[1], dtype=torch.long),
                )
                .logits[0]
            )
        prompt = len(example.input_ids)
        log_probs = token_log_probs(logits[prompt - 1 : -1], sampling, placeholder_ids(model), tokens[prompt:])
        found[row, :length] = log_probs.gather(-1, tokens[prompt:, None]).squeeze(-1)
    return found


@pytest.mark.parametrize("filters", [{}, {"top_k": 20}, {"top_p": 0.9}], ids=["all tokens", "top-k", "top-p"])
def test_log_probs_equal_a_plain_forward_row_by_row(policy, filters):
    sampling = Sampling(TOKENS, temperature=1.2, **filters)
    found = score(policy, sampling=sampling).log_probs
    assert torch.allclose(found, plain_log_probs(policy, sampling), atol=1e-5)
    assert found[policy[3] == 0].eq(0).all()


def test_other_clip_changes_its_group_and_no_other(policy):
    _, examples, _, mask = policy
    before = score(policy).log_probs
    deaf = [*examples]
    deaf[1] = replace(examples[1], input_features=torch.zeros_like(examples[1].input_features))
    moved = (score(policy, deaf).log_probs - before).abs().view(GROUPS, COPIES, TOKENS).amax(dim=(1, 2))
    assert moved[1] > 1e-3
    assert moved[[0, 2]].max() < 1e-6


def test_groups_do_not_attend_to_each_other(policy):
    """A group alone scores as it does among others, whose prompts are longer."""
    model, examples, ids, mask = policy
    together = score(policy).log_probs[COPIES : 2 * COPIES]
    own = slice(COPIES, 2 * COPIES)
    alone = score((model, examples[1:2], ids[own], mask[own])).log_probs
    assert torch.allclose(alone, together, atol=1e-5)


@pytest.mark.parametrize("completions_at_once", [1, 3, 5])
def test_completions_in_parts_give_the_same_scores_and_gradients(policy, completions_at_once):
    model = policy[0]

    def gradients(**settings):
        model.zero_grad()
        scores = score(policy, **settings)
        (scores.log_probs.sin().sum() + scores.entropies.sum()).backward()
        return scores, [p.grad.clone() for p in model.parameters() if p.grad is not None]

    whole, expected = gradients()
    parts, found = gradients(completions_at_once=completions_at_once)
    assert torch.allclose(parts.log_probs, whole.log_probs, atol=1e-5)
    assert torch.allclose(parts.entropies, whole.entropies, atol=1e-5)
    assert len(found) == len(expected) > 10
    for own, other in zip(found, expected, strict=True):
        assert torch.allclose(own, other, rtol=1e-4, atol=1e-5 * (1 + other.abs().max()))


def test_entropy_is_that_of_the_distribution_that_tokens_are_drawn_from(policy):
    model, examples, ids, _ = policy
    scores = score(policy)
    tokens = torch.tensor(examples[0].input_ids)
    with torch.no_grad():
        logits = (
            super(type(model), model)
            .forward(
                input_ids=tokens[None],
                attention_mask=torch.ones(1, len(tokens), dtype=torch.long),
                input_features=examples[0].input_features[None],
                feature_attention_mask=torch.ones(1, examples[0].input_features.shape[1], dtype=torch.long),
            )
            .logits[0, -1:]
        )
    log_probs = token_log_probs(logits, SAMPLING, placeholder_ids(model))
    expected = torch.distributions.Categorical(log_probs.exp()).entropy()
    assert scores.entropies[0, 0].item() == pytest.approx(expected.item(), abs=1e-4)
