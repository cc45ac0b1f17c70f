"""Cache the encodings of clips between steps, so that a repeated clip is encoded once."""

from collections import OrderedDict
from dataclasses import replace

import torch

from .curriculum_feed import PlacedSample


class EncodingCache:
    """Encodings by clip in CPU memory, at most `limit_bytes`; the least recently used are removed first.

    Valid as long as the audio tower is not trained. Encodings from another batch differ in the last bits.
    """

    def __init__(self, limit_bytes: int):
        self.limit_bytes = limit_bytes
        self.encoding_of: OrderedDict[str, torch.Tensor] = OrderedDict()
        self.bytes = 0

    def encoded(self, places: list[PlacedSample], device: torch.device) -> list[PlacedSample]:
        """The samples, with their clips' encodings where these are cached."""
        return [self._encoded(place, device) for place in places]

    def _encoded(self, place: PlacedSample, device: torch.device) -> PlacedSample:
        encoding = self.encoding_of.get(place.sample.audio_path)
        if encoding is None:
            return place
        self.encoding_of.move_to_end(place.sample.audio_path)
        return replace(place, example=replace(place.example, audio_embeddings=encoding.to(device)))

    def keep(self, places: list[PlacedSample]) -> None:
        """Cache the encodings of these samples' clips."""
        for place in places:
            encoding, path = place.example.audio_embeddings, place.sample.audio_path
            if encoding is None or path in self.encoding_of or encoding.nbytes > self.limit_bytes:
                continue
            self.encoding_of[path] = encoding.to("cpu", copy=True)  # a view would keep its whole batch in memory
            self.bytes += encoding.nbytes
            while self.bytes > self.limit_bytes:
                self.bytes -= self.encoding_of.popitem(last=False)[1].nbytes
