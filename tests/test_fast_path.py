"""The shared-prefix path against the plain one: the same numbers, over random batches, with less computation."""

import copy
import gc
import sys
from dataclasses import replace
from types import ModuleType

import pytest
import torch
import transformers.modeling_flash_attention_utils as flash_utils
from counts import Counts
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from plain_grpo import grpo_loss, make_inputs, score
from tiny_world import make_base, write_train_file
from torch.nn.functional import scaled_dot_product_attention

from omni_clst.data.encoder import OmniEncoder, collate
from omni_clst.data.layouts import read_samples
from omni_clst.data.prompts import make_prompt
from omni_clst.errors import InputError
from omni_clst.model.attention import FOLDED_FLASH, FOLDED_FLEX, FOLDED_SDPA, explicit_mask
from omni_clst.model.checkpoints import find_checkpoint, load_processor, load_thinker
from omni_clst.model.engine import HFEngine, placeholder_ids
from omni_clst.model.lora import add_lora, make_lora
from omni_clst.model.sampling import Sampling
from omni_clst.model.shared_prefix import SharedPrefix

CLIPS, TEMPERATURE = 5, 1.2


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A tiny model with its towers frozen, the same with an adapter, an encoder and samples with clips of five lengths."""
    folder = tmp_path_factory.mktemp("fast path")
    checkpoint = find_checkpoint(str(make_base(folder / "base")))
    encoder = OmniEncoder(load_processor(checkpoint), make_prompt("demo_selective", ""), 30.0)
    questions = ["what sound comes first ?", "how many times is the hiss heard ?"]
    samples = read_samples(str(write_train_file(folder, CLIPS)), None)
    samples = [replace(sample, question=questions[number % 2]) for number, sample in enumerate(samples)]
    models = {}
    for name in ("full", "lora"):
        model = load_thinker(checkpoint, torch.float32)
        model.audio_tower.requires_grad_(False)
        model.visual.requires_grad_(False)
        if name == "lora":
            torch.manual_seed(0)
            model = add_lora(model, str(folder), make_lora(model, 4, 8.0), float32=True)
            for parameter in model.parameters():
                if parameter.requires_grad:
                    parameter.data = 0.1 * torch.randn_like(parameter)
        models[name] = model
    return models, encoder, samples


def thinker_of(model):
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def plain_log_probs(model, encoder, samples, ids, mask, copies):
    """Group by group, one row a completion, through the released forward."""
    thinker, found = thinker_of(model), []
    for number, sample in enumerate(samples):
        rows = slice(number * copies, (number + 1) * copies)
        inputs = make_inputs(encoder.processor, encoder.prompt_text(sample, 1), encoder.load(sample), copies)
        found.append(score(thinker, inputs, ids[rows], mask[rows], TEMPERATURE, placeholder_ids(thinker)))
    return torch.cat(found)


def fast_log_probs(model, encoder, samples, ids, mask, **how):
    prompts = collate([encoder.encode(sample) for sample in samples], 0, "left")
    given_ = {"completion_ids": ids, "completion_mask": mask, "sampling": Sampling(1, TEMPERATURE)}
    return model(**prompts, **given_, suppressed=placeholder_ids(thinker_of(model)), **how).log_probs


def four_completions(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    ids = torch.randint(0, 400, (4, 7), generator=torch.Generator().manual_seed(seed))
    return ids, torch.ones_like(ids)


def gradients(model, loss) -> torch.Tensor:
    model.zero_grad()
    loss.backward()
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


@st.composite
def batches(draw):
    """(samples, lengths of their completions, G): several prompts, ragged, a completion may be empty."""
    samples = draw(st.lists(st.integers(0, CLIPS - 1), min_size=1, max_size=3))
    copies = draw(st.integers(1, 4))
    lengths = draw(st.lists(st.integers(0, 7), min_size=len(samples) * copies, max_size=len(samples) * copies))
    return samples, lengths, copies


@settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    batch=batches(),
    kind=st.sampled_from(["full", "lora"]),
    completions_at_once=st.sampled_from([None, 1, 3]),
    unrelated=st.booleans(),
)
def test_log_probs_loss_and_gradients_equal_the_plain_path(world, batch, kind, completions_at_once, unrelated):
    models, encoder, samples = world
    chosen, lengths, copies = batch
    model, samples = models[kind], [samples[number] for number in chosen]
    generator = torch.Generator().manual_seed(sum(lengths))
    ids = torch.randint(0, 400, (len(lengths), 7), generator=generator)
    mask = (torch.arange(7) < torch.tensor(lengths).unsqueeze(-1)).long()
    advantages = torch.randn(len(lengths), generator=generator)

    plain = plain_log_probs(model, encoder, samples, ids, mask, copies)
    reference = plain.detach() + 0.1 * torch.randn(plain.shape, generator=generator)
    expected_loss = grpo_loss(plain, reference, mask, advantages, 0.04)
    expected = gradients(model, expected_loss) if any(lengths) else None
    if unrelated:  # leaves rotary state behind on the module
        engine = HFEngine(model, encoder, Sampling(3))
        engine.generate([encoder.encode(samples[0])], [0])
    fast = fast_log_probs(model, encoder, samples, ids, mask, completions_at_once=completions_at_once)
    assert torch.allclose(fast, plain, atol=1e-5)
    loss = grpo_loss(fast, reference, mask, advantages, 0.04)
    assert loss.item() == pytest.approx(expected_loss.item(), rel=1e-4, abs=1e-6)
    if expected is not None:
        found = gradients(model, loss)
        assert (found - expected).norm() <= 1e-4 * expected.norm() + 1e-7


def test_logits_in_tiles_give_the_same_scores_and_gradients(world, monkeypatch):
    models, encoder, samples = world
    ids, mask = (
        torch.randint(0, 400, (4, 7), generator=torch.Generator().manual_seed(1)),
        torch.ones(4, 7, dtype=torch.long),
    )
    whole = fast_log_probs(models["full"], encoder, samples[:2], ids, mask)
    expected = gradients(models["full"], whole.sin().sum())
    monkeypatch.setattr("omni_clst.model.thinker.OmniThinker._tokens_at_once", 3)
    tiled = fast_log_probs(models["full"], encoder, samples[:2], ids, mask)
    assert torch.allclose(tiled, whole, atol=1e-6)
    assert torch.allclose(gradients(models["full"], tiled.sin().sum()), expected, rtol=1e-4, atol=1e-5)


def test_no_logits_of_a_tile_outlive_the_forward(world, monkeypatch):
    models, encoder, samples = world
    monkeypatch.setattr("omni_clst.model.thinker.OmniThinker._tokens_at_once", 3)
    scores = fast_log_probs(models["full"], encoder, samples[:2], *four_completions(1))
    assert scores.requires_grad
    vocabulary = models["full"].config.text_config.vocab_size
    tensors = [held for held in gc.get_objects() if type(held) is torch.Tensor]
    assert not [held.shape for held in tensors if held.dim() == 2 and held.shape[1] == vocabulary]


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_every_attention_that_takes_a_mask_gives_the_same(world, attention):
    models, encoder, samples = world
    ids, mask = (
        torch.randint(0, 400, (4, 7), generator=torch.Generator().manual_seed(2)),
        torch.ones(4, 7, dtype=torch.long),
    )
    model = copy.deepcopy(models["full"])
    model.set_attn_implementation(attention)
    expected = plain_log_probs(models["full"], encoder, samples[:2], ids, mask, 2)
    assert torch.allclose(fast_log_probs(model, encoder, samples[:2], ids, mask), expected, atol=1e-5)


def test_flex_attention_gives_the_same(world):
    """Forward alone: it has no backward on a CPU."""
    models, encoder, samples = world
    ids, mask = four_completions(2)
    mask[1, 3:] = 0
    model = copy.deepcopy(models["full"])
    model.config.text_config._attn_implementation = FOLDED_FLEX
    with torch.no_grad():
        expected = plain_log_probs(models["full"], encoder, samples[:2], ids, mask, 2)
        assert torch.allclose(fast_log_probs(model, encoder, samples[:2], ids, mask), expected, atol=1e-5)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_flex_attention_gives_the_same_gradients_on_a_gpu(world):
    models, encoder, samples = world
    ids, mask = (tensor.cuda() for tensor in four_completions(2))
    prompts = collate([encoder.encode(sample) for sample in samples[:2]], 0, "left")
    prompts = {name: tensor.cuda() for name, tensor in prompts.items()}
    found = []
    for attention in (FOLDED_SDPA, FOLDED_FLEX):
        model = copy.deepcopy(models["full"]).cuda()
        model.config.text_config._attn_implementation = attention
        scores = model(
            **prompts, completion_ids=ids, completion_mask=mask, sampling=Sampling(7, TEMPERATURE), suppressed=[]
        )
        found.append(gradients(model, scores.log_probs.sin().sum()))
    assert (found[1] - found[0]).norm() <= 1e-3 * found[0].norm()


@pytest.fixture
def flash_attn(monkeypatch):
    """A stand-in for the package, found by transformers' own dispatch; its calls, by function and number of tokens."""
    calls = []

    def dense(q, k, v, dropout_p=0.0, softmax_scale=None, causal=False, **_):
        """Attention (batch, tokens, heads, head size), keys and values of fewer heads."""
        calls.append(("flash_attn_func", q.shape[1]))
        q, k, v = (states.transpose(1, 2) for states in (q, k, v))
        return scaled_dot_product_attention(q, k, v, is_causal=causal, scale=softmax_scale, enable_gqa=True).transpose(1, 2)

    def ragged(q, k, v, cu_seqlens_q, cu_seqlens_k, max_seqlen_q, max_seqlen_k, softmax_scale=None, causal=False, **_):
        """As `dense` for rows that stand one after the other (tokens, heads, head size)."""
        rows = [torch.arange(*ends) for ends in zip(cu_seqlens_q[:-1], cu_seqlens_q[1:], strict=True)]
        return torch.cat([dense(q[None, r], k[None, r], v[None, r], 0.0, softmax_scale, causal)[0] for r in rows])

    package, padding = ModuleType("flash_attn"), ModuleType("flash_attn.bert_padding")
    package.flash_attn_func, package.flash_attn_varlen_func, package.flash_attn_with_kvcache = dense, ragged, None
    padding.pad_input, padding.unpad_input = flash_utils._pad_input, flash_utils._unpad_input
    monkeypatch.setitem(sys.modules, "flash_attn", package)
    monkeypatch.setitem(sys.modules, "flash_attn.bert_padding", padding)
    monkeypatch.setattr(flash_utils, "is_flash_attn_2_available", lambda: True)
    monkeypatch.setattr(flash_utils, "_loaded_implementation", None)
    return calls


def test_flash_attention_prefills_and_sdpa_decodes(world, flash_attn):
    """FlashAttention takes no free mask: what is written and scored goes through SDPA, prompts and SFT through it."""
    models, encoder, samples = world
    examples = [encoder.encode(sample) for sample in samples[:3]]
    response = "<think>hiss</think><answer>hiss</answer>"
    labelled = collate([encoder.encode(sample, response) for sample in samples[:3]], 0, "right")

    def completions_and_loss(model):
        written = HFEngine(model, encoder, Sampling(8, TEMPERATURE)).generate(examples, [0, 1, 2], 2)
        return [[completion.token_ids for completion in group] for group in written], model(**labelled).loss.item()

    expected = completions_and_loss(models["full"])
    assert not flash_attn
    model = copy.deepcopy(models["full"])
    model.config.text_config._attn_implementation = FOLDED_FLASH
    model.config.audio_config._attn_implementation = "flash_attention_2"
    assert completions_and_loss(model) == (expected[0], pytest.approx(expected[1], abs=1e-5))
    assert flash_attn and min(tokens for _, tokens in flash_attn) > 8  # whole prompts, no single tokens


def test_attention_that_takes_no_mask_is_refused():
    with pytest.raises(InputError, match="'flash_attention_2' takes no explicit mask"):
        explicit_mask(torch.ones(1, 2, 2, dtype=torch.bool), "flash_attention_2", torch.float32)


def test_positions_and_mask_of_a_packed_row_by_hand():
    """Prompt p q, completions a b and c: positions 0 1 | 2 3 | 2."""
    prefix = SharedPrefix(torch.tensor([[0, 1, 1]]), torch.tensor([[1, 1], [1, 0]]), torch.tensor([0, 0]))
    assert prefix.positions.tolist() == [[0, 1, 2, 3, 2]]
    assert prefix.predictors.tolist() == [1, 2, 1]  # a after q, b after a, c after q
    assert prefix.allowed[0].int().tolist() == [
        [1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [1, 1, 1, 0, 0],
        [1, 1, 1, 1, 0],
        [1, 1, 0, 0, 1],
    ]


# What goes through the model


def test_a_step_encodes_a_clip_once_and_prefills_a_prompt_once(world):
    models, encoder, samples = world
    model, copies = models["full"], 4
    counts = Counts(model)
    examples = [encoder.encode(sample) for sample in samples[:2]]
    frames = sum(example.input_features.shape[1] for example in examples)
    prompt = max(len(example.input_ids) for example in examples)  # padded on the left
    engine = HFEngine(model, encoder, Sampling(5, TEMPERATURE))
    engine.end_ids = [-1]
    examples = engine.encode_clips(examples)
    written = engine.generate(examples, [0, 1], copies)
    assert counts["mel frames encoded"] == frames
    assert counts["tokens through the model"] == 2 * prompt + 2 * copies * 4  # the fifth token is never read
    counts.clear()
    ids = torch.tensor([completion.token_ids for group in written for completion in group])
    prompts = collate(examples, 0, "left")
    for _ in range(2):  # reference and policy
        model(**prompts, completion_ids=ids, completion_mask=torch.ones_like(ids), sampling=Sampling(5, TEMPERATURE),
              suppressed=placeholder_ids(model))  # fmt: skip
    counts.remove()
    longest = max(len(example.input_ids) for example in examples) + copies * 5
    assert counts["mel frames encoded"] == 0
    assert counts["tokens through the model"] == 2 * 2 * longest
    assert counts["rows through the head"] == 2 * 2 * copies * 5


def test_clips_are_encoded_again_where_the_tower_is_trained(world):
    models, encoder, samples = world
    model = copy.deepcopy(models["full"])
    model.audio_tower.requires_grad_(True)
    example = encoder.encode(samples[0])
    assert HFEngine(model, encoder, Sampling(2)).encode_clips([example]) == [example]


def test_prompts_prefilled_in_parts_give_the_same_completions(world):
    models, encoder, samples = world
    examples = [encoder.encode(sample) for sample in samples]
    shortest = min(len(example.input_ids) for example in examples)
    found = []
    for prefill_tokens in (None, 2 * shortest + 20, 1):  # all, some, each alone
        engine = HFEngine(models["full"], encoder, Sampling(12, TEMPERATURE), prefill_tokens=prefill_tokens)
        found.append([[c.token_ids for c in group] for group in engine.generate(examples, list(range(CLIPS)), 3)])
    assert found[0] == found[1] == found[2]


def test_finished_completions_are_removed_from_the_batch(world):
    """Each completion ends where it would have ended alone, and no token is computed for it behind its end."""
    models, encoder, samples = world
    engine = HFEngine(models["full"], encoder, Sampling(30, 3.0))
    examples = [encoder.encode(sample) for sample in samples]
    engine.end_ids = list(range(0, 400, 10))  # one draw in ten ends
    counts = Counts(models["full"])
    together = engine.generate(examples, list(range(CLIPS)), 4)
    counts.remove()
    alone = [engine.generate([example], [seed], 4)[0] for seed, example in enumerate(examples)]
    assert [[c.token_ids for c in group] for group in together] == [[c.token_ids for c in group] for group in alone]
    written = sum(completion.tokens for group in together for completion in group)
    prompt = CLIPS * max(len(example.input_ids) for example in examples)
    decoded = counts["tokens through the model"] - prompt
    assert written - 4 * CLIPS <= decoded < 1.5 * written
    assert len({completion.tokens for group in together for completion in group}) > 3
