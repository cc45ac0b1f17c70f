"""A batch: tokens padded on the side asked for, frames at their end."""

import pytest
import torch

from omni_clst.data.encoder import Example, collate


def example_of(ids: list[int], labels: list[int] | None, frames: int | None) -> Example:
    features = None if frames is None else torch.full((2, frames), float(frames))
    return Example(ids, labels, features, frames=() if frames is None else (frames,))


COLLATED = {
    "right": ([[1, 2, 3], [4, 0, 0]], [[1, 1, 1], [1, 0, 0]], [[-100, 2, 3], [4, -100, -100]]),
    "left": ([[1, 2, 3], [0, 0, 4]], [[1, 1, 1], [0, 0, 1]], [[-100, 2, 3], [-100, -100, 4]]),
}


@pytest.mark.parametrize("side", COLLATED)
def test_collate_pads_tokens_on_the_side_asked_for_and_frames_at_their_end(side):
    batch = collate([example_of([1, 2, 3], [-100, 2, 3], 2), example_of([4], [4], 3)], 0, side)
    ids, mask, labels = COLLATED[side]
    assert batch["input_ids"].tolist() == ids
    assert batch["attention_mask"].tolist() == mask
    assert batch["labels"].tolist() == labels
    assert batch["input_features"].tolist() == [[[2.0, 2.0, 0.0]] * 2, [[3.0, 3.0, 3.0]] * 2]
    assert batch["feature_attention_mask"].tolist() == [[1, 1, 0], [1, 1, 1]]


def test_collate_leaves_out_what_no_example_has():
    assert set(collate([example_of([1], None, None)], 0, "left")) == {"input_ids", "attention_mask"}
    mixed = collate([example_of([1], [1], None), example_of([2], [2], 3)], 0, "left")
    assert mixed["input_features"].shape == (1, 2, 3)  # clips in batch order, rows without one have none
