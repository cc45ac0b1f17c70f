"""The cache of clips' encodings, on sizes worked out by hand."""

import torch

from omni_clst.data.encoder import Example
from omni_clst.data.samples import AudioQASample
from omni_clst.grpo.curriculum_feed import PlacedSample
from omni_clst.grpo.encodings import EncodingCache

CPU = torch.device("cpu")


def draw(path: str, encoding: torch.Tensor | None = None):
    return PlacedSample(0, AudioQASample("id", path, "which ?", ("a", "b"), "a"), Example([1], None, None, encoding))


def held_for(cache: EncodingCache, *paths: str) -> list[bool]:
    draws = cache.encoded([draw(path) for path in paths], CPU)
    return [one.example.audio_embeddings is not None for one in draws]


def test_cached_encoding_is_returned_for_its_clip():
    cache, encoding = EncodingCache(1000), torch.randn(5, 4)
    cache.keep([draw("a", encoding), draw("b")])
    again, other = cache.encoded([draw("a"), draw("b")], CPU)
    assert torch.equal(again.example.audio_embeddings, encoding)
    assert other.example.audio_embeddings is None


def test_least_recently_used_encoding_is_removed_first():
    """Three of 80 bytes where 200 are allowed; `a` was used after `b`."""
    cache = EncodingCache(200)
    cache.keep([draw("a", torch.zeros(5, 4)), draw("b", torch.zeros(5, 4))])
    assert held_for(cache, "a") == [True]
    cache.keep([draw("c", torch.zeros(5, 4))])
    assert held_for(cache, "a", "b", "c") == [True, False, True]
    assert cache.bytes == 160


def test_a_clip_over_the_limit_is_not_kept():
    cache = EncodingCache(79)
    cache.keep([draw("a", torch.zeros(5, 4))])
    assert held_for(cache, "a") == [False] and cache.bytes == 0


def test_part_of_a_batch_does_not_keep_the_batch_in_memory():
    cache, batch = EncodingCache(1000), torch.randn(50, 4)
    cache.keep([draw("a", batch[:5])])
    assert cache.encoding_of["a"].untyped_storage().nbytes() == 80
