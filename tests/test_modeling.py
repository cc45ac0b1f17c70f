"""The training forward against the released one."""

import pytest
import torch
from tiny_world import make_base, write_clips
from transformers import Qwen2_5OmniThinkerForConditionalGeneration

from omni_clst.data.encoder import OmniEncoder, collate
from omni_clst.data.prompts import make_prompt
from omni_clst.data.samples import AudioQASample
from omni_clst.model.checkpoints import find_checkpoint, load_processor, load_thinker
from omni_clst.model.shared_prefix import positions_from_mask


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return make_base(tmp_path_factory.mktemp("model") / "base")


@pytest.fixture(scope="module")
def batch(base, tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    encoder = OmniEncoder(load_processor(find_checkpoint(str(base))), make_prompt("demo_selective", ""), 30.0)
    samples = [
        AudioQASample(name, str(folder / name), "what ?" * (1 + index), ("hiss", "drum"), "hiss")
        for index, name in enumerate(write_clips(folder, 3))
    ]
    examples = [
        encoder.encode(sample, "<think>a b</think><answer>hiss</answer>"[: 20 + index])
        for index, sample in enumerate(samples)
    ]
    return {side: collate(examples, encoder.tokenizer.pad_token_id, side) for side in ("left", "right")}


def test_loss_over_labelled_positions_equals_the_released_loss(base, batch):
    ours = load_thinker(find_checkpoint(str(base)), torch.float32)
    stock = Qwen2_5OmniThinkerForConditionalGeneration.from_pretrained(base).eval()
    expected = stock(**batch["right"]).loss
    assert torch.allclose(ours(**batch["right"]).loss, expected, atol=1e-6)


def test_gradients_equal_the_released_ones(base, batch):
    ours = load_thinker(find_checkpoint(str(base)), torch.float32)
    stock = Qwen2_5OmniThinkerForConditionalGeneration.from_pretrained(base).eval()
    ours(**batch["right"]).loss.backward()
    stock(**batch["right"]).loss.backward()
    for (name, mine), theirs in zip(ours.named_parameters(), stock.parameters(), strict=True):
        if theirs.grad is None:
            assert mine.grad is None, name
        else:
            assert torch.allclose(mine.grad, theirs.grad, atol=1e-6), name


def test_side_of_the_padding_does_not_change_the_loss(base, batch):
    model = load_thinker(find_checkpoint(str(base)), torch.float32)
    assert torch.allclose(model(**batch["left"]).loss, model(**batch["right"]).loss, atol=1e-6)


def test_logits_are_made_only_where_a_label_stands(base, batch):
    model = load_thinker(find_checkpoint(str(base)), torch.float32)
    labelled = int((batch["right"]["labels"] != -100).sum())
    assert model(**batch["right"]).logits.shape == (labelled, model.config.text_config.vocab_size)


def test_frozen_tower_keeps_no_graph(base, batch):
    model = load_thinker(find_checkpoint(str(base)), torch.float32)
    model.audio_tower.requires_grad_(False)
    model(**batch["right"]).loss.backward()
    assert all(parameter.grad is None for parameter in model.audio_tower.parameters())
    assert model.lm_head.weight.grad is not None


def test_loss_of_parts_with_a_common_divisor_adds_up(base, batch):
    model = load_thinker(find_checkpoint(str(base)), torch.float32)
    whole = batch["right"]
    count = int((whole["labels"][:, 1:] != -100).sum())
    parts = [
        model(**{name: tensor[index : index + 1] for name, tensor in whole.items()}, num_items_in_batch=count).loss
        for index in range(3)
    ]
    assert torch.allclose(sum(parts), model(**whole).loss, atol=1e-6)


def test_positions_count_from_each_rows_first_token():
    mask = torch.tensor([[0, 0, 1, 1], [1, 1, 1, 0]])
    assert positions_from_mask(mask).tolist() == [[0, 0, 0, 1], [0, 1, 2, 2]]
